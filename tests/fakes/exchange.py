"""A venue in memory: acknowledges everything, fills what it is told to, and counts requests."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from market_maker.domain.errors import ExchangeError, UnknownOrder
from market_maker.domain.events import Balance, VenuePosition
from market_maker.domain.fill import Fill, Liquidity
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import CancelRequest, OrderReport, OrderRequest, OrderState
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import SendPermit, UpdateSink


class FakeExchange:
    """Keeps orders in a dictionary; `fail_next` makes the next placement raise, lost or not."""

    name = "fake"
    is_lifetime_enforced = True
    is_derivative = False

    def __init__(self, clock: Clock, instruments: tuple[Instrument, ...]) -> None:
        self.clock = clock
        self.instruments = instruments
        self.orders: dict[str, OrderReport] = {}
        self.fills: list[Fill] = []
        self.balances: tuple[Balance, ...] = ()
        self.placed: list[OrderRequest] = []
        self.canceled: list[CancelRequest] = []
        self.requests: Counter[str] = Counter()
        self.fail_next: list[tuple[ExchangeError, bool]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def fetch_time(self) -> datetime:
        return self.clock.now()

    async def fetch_instruments(self, symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
        return tuple(item for item in self.instruments if item.symbol in symbols)

    async def place_order(self, request: OrderRequest, permit: SendPermit) -> OrderReport:
        permit.sign()
        self.placed.append(request)
        error, is_lost = self.fail_next.pop(0) if self.fail_next else (None, False)
        if error is None or not is_lost:
            self.orders[request.client_order_id] = self._report(request)
        if error is not None:
            raise error
        return self.orders[request.client_order_id]

    async def cancel_order(self, request: CancelRequest, permit: SendPermit) -> OrderReport:
        permit.sign()
        self.canceled.append(request)
        report = self.orders.get(request.client_order_id)
        if report is None or report.state.is_terminal:
            raise UnknownOrder(f"no open order {request.client_order_id}")
        self.orders[request.client_order_id] = replace(report, state=OrderState.CANCELED)
        return self.orders[request.client_order_id]

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        self.requests["fetch_order"] += 1
        if client_order_id not in self.orders:
            raise UnknownOrder(f"no order {client_order_id}")
        return self.orders[client_order_id]

    async def fetch_open_orders(self, symbol: str) -> tuple[OrderReport, ...]:
        return tuple(
            report
            for report in self.orders.values()
            if report.symbol == symbol and report.state.is_resting
        )

    async def fetch_fills(
        self, symbol: str, *, after_trade_id: str = "", client_order_id: str = ""
    ) -> tuple[Fill, ...]:
        return tuple(
            fill
            for fill in self.fills
            if fill.symbol == symbol
            and (not client_order_id or fill.client_order_id == client_order_id)
            and (not after_trade_id or int(fill.trade_id) > int(after_trade_id))
        )

    async def fetch_balances(self) -> tuple[Balance, ...]:
        return self.balances

    async def fetch_positions(self) -> tuple[VenuePosition, ...]:
        return ()

    async def stream(self, symbols: tuple[str, ...], sink: UpdateSink) -> None:
        await asyncio.Event().wait()

    def fill(self, client_order_id: str, quantity: Decimal) -> Fill:
        """Let an order trade at its own price."""
        report = self.orders[client_order_id]
        cumulative = report.cumulative_quantity + quantity
        is_done = cumulative == report.quantity
        self.orders[client_order_id] = replace(
            report,
            cumulative_quantity=cumulative,
            state=OrderState.FILLED if is_done else OrderState.PARTIALLY_FILLED,
        )
        fill = Fill(
            trade_id=str(len(self.fills) + 1),
            client_order_id=client_order_id,
            exchange_order_id=report.exchange_order_id,
            symbol=report.symbol,
            side=report.side,
            price=report.price or Decimal(0),
            quantity=quantity,
            fee=Decimal(0),
            fee_asset="USDT",
            liquidity=Liquidity.MAKER,
            exchange_at=self.clock.now(),
        )
        self.fills.append(fill)
        return fill

    def _report(self, request: OrderRequest) -> OrderReport:
        return OrderReport(
            client_order_id=request.client_order_id,
            exchange_order_id=f"x{len(self.placed)}",
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            cumulative_quantity=Decimal(0),
            state=OrderState.OPEN,
        )
