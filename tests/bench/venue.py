"""
A small deterministic venue in memory, matched synchronously, and the market that moves it.

A resting order fills whole, at its own price, when a trade prints through it. Nothing else happens:
the engine is what is measured. What has ended is forgotten after a while, so that a long run
measures the engine's memory and not this one's.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from time import perf_counter
from typing import Final

from market_maker.domain.errors import UnknownOrder
from market_maker.domain.events import (
    Balance,
    BookTopChanged,
    FillReported,
    OrderReported,
    TradePrinted,
    Update,
)
from market_maker.domain.fill import Fill, Liquidity, Side
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import CancelRequest, OrderReport, OrderRequest, OrderState
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import SendPermit
from tests.fakes.exchange import FakeExchange

REMEMBERED_MAX: Final = 2_000
START_CENTS: Final = 6_000_000
HUGE: Final = Decimal(10) ** 9
LOWEST: Final = Decimal("-Infinity")
HIGHEST: Final = Decimal("Infinity")


class BenchExchange(FakeExchange):
    """Acknowledges at once, fills what the tape trades through, and notes when orders leave."""

    def __init__(self, clock: Clock, instruments: tuple[Instrument, ...]) -> None:
        super().__init__(clock, instruments)
        assets = {asset for item in instruments for asset in (item.base_asset, item.quote_asset)}
        self.balances = tuple(
            Balance(asset=asset, free=HUGE, locked=Decimal(0)) for asset in sorted(assets)
        )
        self.signed_at: list[float] = []
        self.placed_count = self.canceled_count = self.fill_count = 0
        self._resting: dict[str, dict[str, OrderReport]] = {item.symbol: {} for item in instruments}
        self._best: dict[str, tuple[Decimal, Decimal]] = {
            item.symbol: (LOWEST, HIGHEST) for item in instruments
        }

    async def place_order(self, request: OrderRequest, permit: SendPermit) -> OrderReport:
        permit.sign()
        self.signed_at.append(perf_counter())
        self.placed_count += 1
        report = OrderReport(
            client_order_id=request.client_order_id,
            exchange_order_id=f"x{self.placed_count}",
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            cumulative_quantity=Decimal(0),
            state=OrderState.OPEN,
        )
        self._resting[request.symbol][request.client_order_id] = report
        self._keep(report)
        self._note_best(request.symbol)
        return report

    async def cancel_order(self, request: CancelRequest, permit: SendPermit) -> OrderReport:
        permit.sign()
        report = self._resting[request.symbol].pop(request.client_order_id, None)
        if report is None:
            raise UnknownOrder(f"no open order {request.client_order_id}")
        self.canceled_count += 1
        self._keep(replace(report, state=OrderState.CANCELED))
        self._note_best(request.symbol)
        return self.orders[request.client_order_id]

    async def fetch_open_orders(self, symbol: str) -> tuple[OrderReport, ...]:
        return tuple(self._resting[symbol].values())

    def best(self, symbol: str) -> tuple[Decimal, Decimal]:
        """The account's best buy and best sell."""
        return self._best[symbol]

    def trade(self, update: TradePrinted) -> list[Update]:
        """What the venue reports of a trade: a fill and an order for each that it went through."""
        buy, sell = self._best[update.symbol]
        if buy <= update.price <= sell:
            return []
        passed = [
            report
            for report in self._resting[update.symbol].values()
            if _is_through(report, update.price)
        ]
        reports = [item for report in passed for item in self._fill(report, update)]
        self._note_best(update.symbol)
        return reports

    def _fill(self, report: OrderReport, update: TradePrinted) -> tuple[Update, Update]:
        self.fill_count += 1
        del self._resting[report.symbol][report.client_order_id]
        done = replace(report, cumulative_quantity=report.quantity, state=OrderState.FILLED)
        price = report.price or update.price
        fill = Fill(
            trade_id=str(self.fill_count),
            client_order_id=report.client_order_id,
            exchange_order_id=report.exchange_order_id,
            symbol=report.symbol,
            side=report.side,
            price=price,
            quantity=report.quantity,
            fee=price * report.quantity / 10_000,
            fee_asset=self._quote_asset(report.symbol),
            liquidity=Liquidity.MAKER,
            exchange_at=update.exchange_at or update.received_at,
        )
        self._keep(done)
        self.fills.append(fill)
        if len(self.fills) > 2 * REMEMBERED_MAX:
            del self.fills[:REMEMBERED_MAX]
        return (
            FillReported(
                id=f"{fill.symbol}:f{fill.trade_id}",
                symbol=fill.symbol,
                exchange_at=fill.exchange_at,
                received_at=update.received_at,
                fill=fill,
            ),
            OrderReported(
                id=f"{fill.symbol}:o{fill.trade_id}",
                symbol=fill.symbol,
                exchange_at=fill.exchange_at,
                received_at=update.received_at,
                report=done,
            ),
        )

    def _keep(self, report: OrderReport) -> None:
        self.orders.pop(report.client_order_id, None)
        self.orders[report.client_order_id] = report
        if len(self.orders) > 2 * REMEMBERED_MAX:
            ended = [key for key, item in self.orders.items() if item.state.is_terminal]
            for key in ended[:REMEMBERED_MAX]:
                del self.orders[key]

    def _note_best(self, symbol: str) -> None:
        reports = self._resting[symbol].values()
        buys = [r.price for r in reports if r.side is Side.BUY and r.price is not None]
        sells = [r.price for r in reports if r.side is Side.SELL and r.price is not None]
        self._best[symbol] = (max(buys, default=LOWEST), min(sells, default=HIGHEST))

    def _quote_asset(self, symbol: str) -> str:
        return symbol.split("/")[1]


class Market:
    """
    A seeded random walk in cents around its start: a trade, a book top, a trade …

    The pull back to the start keeps it inside the grid for as long as a run lasts.
    """

    def __init__(self, symbol: str, *, step_cents_max: int, seed: int = 1) -> None:
        self.symbol = symbol
        self._random = Random(f"{symbol}/{seed}")
        self._step = step_cents_max
        self._cents = START_CENTS
        self._number = 0

    def next(
        self, *, exchange_at: datetime, received_at: datetime
    ) -> TradePrinted | BookTopChanged:
        """The next update."""
        random, self._number = self._random, self._number + 1
        pull = int((START_CENTS - self._cents) / 20_000)
        self._cents += random.randint(-self._step, self._step) + pull
        cents = self._cents
        if self._number % 2:
            return TradePrinted(
                id=f"{self.symbol}:t{self._number}",
                symbol=self.symbol,
                exchange_at=exchange_at,
                received_at=received_at,
                price=Decimal(cents).scaleb(-2),
                quantity=Decimal(random.randint(1, 9_999)).scaleb(-5),
                taker_side=Side.BUY if cents % 2 else Side.SELL,
            )
        return BookTopChanged(
            id=f"{self.symbol}:b{self._number}",
            symbol=self.symbol,
            exchange_at=exchange_at,
            received_at=received_at,
            bid=Decimal(cents - 1).scaleb(-2),
            bid_quantity=Decimal(random.randint(1, 9_999)).scaleb(-5),
            ask=Decimal(cents + 1).scaleb(-2),
            ask_quantity=Decimal(random.randint(1, 9_999)).scaleb(-5),
        )

    def take(self, count: int, *, since: datetime) -> Iterator[TradePrinted | BookTopChanged]:
        """The next updates, ten microseconds apart."""
        for index in range(count):
            at = since + timedelta(microseconds=10 * index)
            yield self.next(exchange_at=at, received_at=at)


def _is_through(report: OrderReport, price: Decimal) -> bool:
    if report.price is None:
        return False
    return price < report.price if report.side is Side.BUY else price > report.price
