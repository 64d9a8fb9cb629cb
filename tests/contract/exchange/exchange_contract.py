"""
What every `Exchange` must do, whoever stands behind it: X-01 … X-24.

A subject brings its adapter and the paper venue behind it, whose market the suite moves step by
step. `conftest.subject` lists the subjects; a new adapter is one more entry there.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.domain.events import Balance, Update
from market_maker.domain.fill import Fill
from market_maker.domain.order import CancelRequest, OrderReport, OrderRequest
from market_maker.ports.exchange import Exchange
from tests.paper import BTC, FixedPermit, a_cancel, a_request, passed

PATIENCE_TURNS: Final = 2_000

# 10 000 USDT and 10 BTC; tick 0.1, lot 0.01, least notional 5, fee 0.001 of what is received.
STEPS: Final[tuple[Any, ...]] = (
    {"book": {"bid": "99", "bid_quantity": "5", "ask": "101", "ask_quantity": "5"}},
    {"trade": {"price": "99", "quantity": "5.4", "side": "SELL"}},
    {"trade": {"price": "98.9", "quantity": "0.1", "side": "SELL"}},
    {"price": "97"},
    {"price": "103"},
    {"wait": "1m"},
    {"price": "100"},
)


@dataclass
class Subject:
    """An adapter under the contract and the hand on the market behind it."""

    exchange: Exchange
    venue: SimulatedExchange
    updates: list[Update] = field(default_factory=list)

    async def step(self, count: int = 1) -> None:
        """Let so many of `STEPS` pass at the venue."""
        self.venue.release(count)
        await passed(self.venue)

    async def place(self, client_order_id: str = "one", **overrides: Any) -> OrderReport:
        """Place a limit buy of 1 at 99, or what the overrides say."""
        return await self.send(a_request(client_order_id, **overrides))

    async def send(self, request: OrderRequest) -> OrderReport:
        return await self.exchange.place_order(request, await self.permit())

    async def cancel(self, request: CancelRequest | None = None) -> OrderReport:
        return await self.exchange.cancel_order(request or a_cancel(), await self.permit())

    async def permit(self, *, lifetime: timedelta = timedelta(hours=1)) -> FixedPermit:
        return FixedPermit(await self.exchange.fetch_time() + lifetime)

    async def balance(self, asset: str) -> Balance:
        balances = await self.exchange.fetch_balances()
        return next(item for item in balances if item.asset == asset)

    async def fills(self, **query: str) -> tuple[Fill, ...]:
        return await self.exchange.fetch_fills(BTC, **query)

    async def heard(self, condition: Callable[[list[Update]], bool]) -> list[Update]:
        """Wait until what the stream told meets the condition."""
        for _ in range(PATIENCE_TURNS):
            if condition(self.updates):
                return self.updates
            await asyncio.sleep(0.001)
        raise AssertionError(f"not heard; heard {self.updates}")


def total(balance: Balance) -> Decimal:
    return balance.free + balance.locked
