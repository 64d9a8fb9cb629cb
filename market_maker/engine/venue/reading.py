"""
Reading the venue: only questions, each bounded in time; what is asked changes nothing.

A snapshot is one consistent view of one symbol; `deciding/comparing.py` holds it against the books.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeVar

import structlog

from market_maker.domain.errors import (
    ExchangeUnavailable,
    OutcomeUnknown,
    RateLimited,
    UnknownOrder,
)
from market_maker.domain.events import Balance, OrderLookedUp, VenuePosition, VenueSnapshotTaken
from market_maker.domain.fill import Fill
from market_maker.domain.order import Order, OrderReport
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Exchange

T = TypeVar("T")

READS_MAX: Final = 5
REQUEST_TIMEOUT_S: Final = 10
AGAIN_S: Final = (0.02, 0.1)
START_PATIENCE_S: Final = 60.0

_log = structlog.stdlib.get_logger(__name__)


async def read_snapshot(
    exchange: Exchange,
    clock: Clock,
    *,
    symbol: str,
    orders: Sequence[Order],
    since_at: datetime,
    after_trade_id: str,
    update_id: str,
) -> VenueSnapshotTaken:
    """
    Read one symbol at the venue as one consistent view.

    Fills are read before and after the rest; the view is taken again while they differ, so that a
    balance never reflects a fill that the snapshot does not hold. Raises `ExchangeError`s.
    """
    fills = await _read_fills(exchange, symbol, after_trade_id)
    for _ in range(READS_MAX):
        before = fills
        open_orders = await asked(lambda: exchange.fetch_open_orders(symbol))
        listed = {report.client_order_id for report in open_orders}
        missing = [o for o in orders if o.state.is_resting and o.client_order_id not in listed]
        lookups = await _look_up_each(exchange, clock, missing, update_id)
        balances, position = await _read_account(exchange, symbol)
        fills = await _read_fills(exchange, symbol, after_trade_id)
        if len(fills) == len(before):
            break
    else:
        raise ExchangeUnavailable(f"{symbol} trades faster than it can be read consistently")
    return VenueSnapshotTaken(
        id=update_id,
        symbol=symbol,
        exchange_at=None,
        received_at=clock.now(),
        since_at=since_at,
        open_orders=open_orders,
        lookups=lookups,
        fills=fills,
        balances=balances,
        position=position,
    )


async def look_up(
    exchange: Exchange, clock: Clock, *, symbol: str, client_order_id: str, update_id: str
) -> OrderLookedUp:
    """Ask for one order and its fills; "not found" is an answer, not yet a conclusion."""
    report: OrderReport | None = None
    fills: tuple[Fill, ...] = ()
    with suppress(UnknownOrder):
        report = await asked(lambda: exchange.fetch_order(symbol, client_order_id))
    if report is not None and report.cumulative_quantity:
        fills = await asked(lambda: exchange.fetch_fills(symbol, client_order_id=client_order_id))
    return OrderLookedUp(
        id=update_id,
        symbol=symbol,
        exchange_at=None,
        received_at=clock.now(),
        client_order_id=client_order_id,
        report=report,
        is_conclusive=report is not None,
        fills=fills,
    )


async def within_timeout(request: Awaitable[T]) -> T:
    """Bound one request; a venue that does not answer is an unknown outcome."""
    # Not `wait_for`: it may swallow a cancellation, and the loop around it would never stop.
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            return await request
    except TimeoutError as error:
        raise OutcomeUnknown(f"no answer within {REQUEST_TIMEOUT_S} s") from error


async def asked(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask a harmless question; one that got no answer is asked again at once, a few times."""
    for pause in AGAIN_S:
        try:
            return await within_timeout(ask())
        except RateLimited:
            raise
        except (ExchangeUnavailable, OutcomeUnknown):
            await asyncio.sleep(pause)
    return await within_timeout(ask())


async def until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the venue again while it does not answer, for a while: a start survives a bad minute."""
    deadline, pause = time.monotonic() + START_PATIENCE_S, 0.05
    while True:
        try:
            return await ask()
        except (ExchangeUnavailable, OutcomeUnknown) as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("venue_did_not_answer", error=str(error), again_in_s=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)


async def _look_up_each(
    exchange: Exchange, clock: Clock, orders: Sequence[Order], update_id: str
) -> tuple[OrderLookedUp, ...]:
    """Never take "not listed" for canceled: ask for each order that we think rests."""
    return tuple(
        [
            await look_up(
                exchange,
                clock,
                symbol=order.symbol,
                client_order_id=order.client_order_id,
                update_id=f"{update_id}/{order.client_order_id}",
            )
            for order in orders
        ]
    )


async def _read_fills(exchange: Exchange, symbol: str, after_trade_id: str) -> tuple[Fill, ...]:
    return await asked(lambda: exchange.fetch_fills(symbol, after_trade_id=after_trade_id))


async def _read_account(
    exchange: Exchange, symbol: str
) -> tuple[tuple[Balance, ...], VenuePosition | None]:
    balances = await asked(exchange.fetch_balances)
    if not exchange.is_derivative:
        return balances, None
    positions = await asked(exchange.fetch_positions)
    return balances, next((p for p in positions if p.symbol == symbol), None)
