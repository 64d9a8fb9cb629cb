"""A paper exchange for tests: settings with defaults, scenarios from Python values, a permit."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.adapters.exchange.simulated.settings import SimulatedSettings, parse_settings
from market_maker.domain.events import FillReported, OrderReported, Update
from market_maker.domain.fill import Fill, Side
from market_maker.domain.order import (
    CancelRequest,
    OrderReport,
    OrderRequest,
    OrderType,
    TimeInForce,
)
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Lifetime
from tests.fakes.clock import FakeClock

BTC: Final = "BTC/USDT"
PATIENCE_TURNS: Final = 10_000

CALM_BOOK: Final = {"book": {"bid": "99", "bid_quantity": "5", "ask": "101", "ask_quantity": "5"}}


class FixedPermit:
    """Signs for a lifetime that ends at a given instant; counts how often it was asked."""

    def __init__(self, signed_until: datetime) -> None:
        self.signed_until = signed_until
        self.signed_count = 0

    def sign(self) -> Lifetime:
        self.signed_count += 1
        return Lifetime(
            signed_at=self.signed_until - timedelta(seconds=2), signed_until=self.signed_until
        )


def a_request(client_order_id: str = "one", **overrides: Any) -> OrderRequest:
    """A limit buy of 1 at 99; strings become decimals."""
    values: dict[str, Any] = {
        "symbol": BTC,
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "price": "99",
        "quantity": "1",
        "time_in_force": TimeInForce.GTC,
    } | overrides
    for name in ("price", "quantity"):
        if isinstance(values[name], str):
            values[name] = Decimal(values[name])
    return OrderRequest(client_order_id=client_order_id, **values)


def a_market_request(client_order_id: str = "one", **overrides: Any) -> OrderRequest:
    """A market buy of 1."""
    return a_request(client_order_id, type=OrderType.MARKET, price=None, **overrides)


def a_cancel(client_order_id: str = "one", **overrides: Any) -> CancelRequest:
    values = {"exchange_order_id": "", "symbol": BTC} | overrides
    return CancelRequest(client_order_id=client_order_id, **values)


def an_instrument_setting(**overrides: Any) -> dict[str, Any]:
    """BTC/USDT on a coarse grid, without fees."""
    return {
        "symbol": BTC,
        "kind": "spot",
        "tick_size": "0.1",
        "lot_size": "0.01",
        "min_notional": "5",
        "quantity_min": "0.01",
        "maker_fee_ratio": "0",
        "taker_fee_ratio": "0",
        "market": a_walk(),
    } | overrides


def a_walk(**overrides: Any) -> dict[str, Any]:
    """A random walk around 100 with volume, ten times a second."""
    return {
        "kind": "random_walk",
        "start_price": "100",
        "spread_bps": "20",
        "trade_quantity_base": "0.5",
        "step_bps_max": "20",
        "ticks": {"kind": "with_volume", "frequency_ms": 100},
    } | overrides


def a_scenario(folder: Path, steps: Sequence[Any], **fields: Any) -> dict[str, Any]:
    """A scenario source; every step takes 100 ms."""
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump({**fields, "steps": list(steps)}), encoding="utf-8")
    return {"kind": "scenario", "path": str(path)}


def some_settings(folder: Path, **overrides: Any) -> SimulatedSettings:
    """One instrument, 10 000 USDT and 10 BTC, in lock-step one by one."""
    values: dict[str, Any] = {
        "adapter": "simulated",
        "name": "paper",
        "file": folder / "venue.sqlite",
        "seed": 7,
        "balances": {"USDT": Decimal(10_000), "BTC": Decimal(10)},
        "lock_step": 1,
        "instruments": [an_instrument_setting()],
    }
    return parse_settings(values | overrides)


def scripted(
    folder: Path,
    steps: Sequence[Any],
    *,
    instrument: dict[str, Any] | None = None,
    **overrides: Any,
) -> SimulatedSettings:
    """Settings of a venue in lock-step whose market is these steps, and then holds."""
    market = a_scenario(folder, steps, at_end="hold")
    listed = an_instrument_setting(**(instrument or {}), market=market)
    return some_settings(folder, instruments=[listed], **overrides)


@dataclass
class Bench:
    """
    An open venue in lock-step, everything that it told, and the hand on its market.

    `exchange` may be anything that speaks to `venue`, whose market the test moves.
    """

    venue: SimulatedExchange
    clock: Clock
    updates: list[Update] = field(default_factory=list)
    listening: "asyncio.Task[None] | None" = None

    @classmethod
    async def begin(
        cls,
        settings: SimulatedSettings,
        *,
        clock: Clock | None = None,
        first: int = 0,
        listens: bool = True,
    ) -> "Bench":
        """Open the venue, listen, and let the first so many steps pass."""
        clock = clock or FakeClock()
        bench = cls(SimulatedExchange(settings, clock=clock), clock)
        await bench.venue.open()
        bench.venue.release(0)
        if listens:
            bench.listen()
            await asyncio.sleep(0)
        if first:
            await bench.step(first)
        return bench

    def listen(self) -> None:
        symbols = (BTC,)
        self.listening = asyncio.create_task(self.venue.stream(symbols, self.updates.append))

    async def step(self, count: int = 1) -> list[Update]:
        """Let so many steps of the market pass; return what was told meanwhile."""
        before = len(self.updates)
        self.venue.release(count)
        await passed(self.venue)
        return self.updates[before:]

    async def place(self, request: OrderRequest) -> OrderReport:
        return await self.venue.place_order(request, await self.permit())

    async def cancel(self, request: CancelRequest) -> OrderReport:
        return await self.venue.cancel_order(request, await self.permit())

    async def permit(self) -> FixedPermit:
        return FixedPermit(self.venue.clock.now() + timedelta(days=1))

    async def end(self) -> None:
        await self.venue.close()
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.gather(self.listening, return_exceptions=True)


async def passed(venue: SimulatedExchange) -> None:
    """Wait until everything that was released has passed."""
    await until(lambda: venue.is_waiting)


async def until(condition: Callable[[], bool]) -> None:
    """Give the event loop turns until the condition holds."""
    for _ in range(PATIENCE_TURNS):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


def fills_of(updates: Sequence[Update]) -> list[Fill]:
    return [update.fill for update in updates if isinstance(update, FillReported)]


def reports_of(updates: Sequence[Update]) -> list[OrderReport]:
    return [update.report for update in updates if isinstance(update, OrderReported)]
