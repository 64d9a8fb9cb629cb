"""Ticks and reports as the updates that listeners get."""

from datetime import datetime
from decimal import Decimal

from market_maker.adapters.exchange.simulated.books.venue import Report
from market_maker.adapters.exchange.simulated.sources.source import TopTick, TradeTick
from market_maker.domain.events import (
    BookTopChanged,
    FillReported,
    OrderReported,
    TradePrinted,
    Update,
)
from market_maker.domain.fill import Fill

ZERO = Decimal(0)


def to_trade(
    symbol: str, prefix: str, tick: TradeTick, *, exchange_at: datetime, received_at: datetime
) -> TradePrinted:
    """Return a trade of the tape; its id is the same again after a restart."""
    return TradePrinted(
        id=f"{prefix}t{tick.sequence}",
        symbol=symbol,
        exchange_at=exchange_at,
        received_at=received_at,
        price=tick.price,
        quantity=tick.quantity,
        taker_side=tick.taker_side,
    )


def to_top(
    symbol: str, prefix: str, tick: TopTick, *, exchange_at: datetime, received_at: datetime
) -> BookTopChanged:
    """Return a best bid and ask; a quantity that nobody knows is zero."""
    return BookTopChanged(
        id=f"{prefix}b{tick.sequence}",
        symbol=symbol,
        exchange_at=exchange_at,
        received_at=received_at,
        bid=tick.bid,
        bid_quantity=ZERO if tick.bid_quantity is None else tick.bid_quantity,
        ask=tick.ask,
        ask_quantity=ZERO if tick.ask_quantity is None else tick.ask_quantity,
    )


def to_own(number: int, report: Report, *, exchange_at: datetime, received_at: datetime) -> Update:
    """Return news of one of the account's orders, numbered over the venue's whole life."""
    if isinstance(report, Fill):
        return FillReported(
            id=f"{report.symbol}:f{number}",
            symbol=report.symbol,
            exchange_at=exchange_at,
            received_at=received_at,
            fill=report,
        )
    return OrderReported(
        id=f"{report.symbol}:o{number}",
        symbol=report.symbol,
        exchange_at=exchange_at,
        received_at=received_at,
        report=report,
    )
