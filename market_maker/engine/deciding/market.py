"""The newest prices of a run of updates; what is impossible or late is counted and dropped."""

from datetime import datetime, timedelta
from typing import Final

from market_maker.domain.events import (
    BookTopChanged,
    TradePrinted,
)
from market_maker.domain.quote import Market
from market_maker.engine.deciding.draft import Draft

EXCHANGE_AHEAD_MAX: Final = timedelta(days=1)


class MarketFold:
    """Keeps the newest prices in local fields and builds one `Market` per run of price updates."""

    __slots__ = (
        "ask",
        "bid",
        "book_at",
        "draft",
        "is_dirty",
        "last_price",
        "trade_at",
        "updated_at",
    )

    def __init__(self, draft: Draft) -> None:
        market = draft.market
        self.draft = draft
        self.bid, self.ask, self.last_price = market.bid, market.ask, market.last_price
        self.trade_at, self.book_at = market.exchange_at, market.book_at
        self.updated_at = market.updated_at
        self.is_dirty = False

    def trade(self, update: TradePrinted) -> None:
        """Take one print of the tape."""
        price = update.price
        quantity = update.quantity
        if not (price.is_finite() and price > 0 and quantity.is_finite() and quantity > 0):
            self.draft.reject_update("impossible_trade", str(update))
            return
        at = update.exchange_at
        if at is not None:
            if _is_late(at, self.trade_at, update.received_at):
                self.draft.reject_update("late_trade", str(update))
                return
            self.trade_at = at
        self.last_price = price
        self.updated_at = update.received_at
        self.is_dirty = True

    def book(self, update: BookTopChanged) -> None:
        """Take one best bid and ask; a crossed one is counted and pulls the quotes."""
        bid, ask = update.bid, update.ask
        if not (bid.is_finite() and ask.is_finite() and bid > 0 and ask > 0):
            self.draft.reject_update("impossible_book", str(update))
            return
        at = update.exchange_at
        if at is not None:
            if _is_late(at, self.book_at, update.received_at):
                self.draft.reject_update("late_book", str(update))
                return
            self.book_at = at
        if bid >= ask:
            self.draft.reject_update("crossed_book", str(update))
        self.bid, self.ask = bid, ask
        self.updated_at = update.received_at
        self.is_dirty = True

    def flush(self) -> None:
        """Build the market of the run, if anything changed."""
        if not self.is_dirty:
            return
        self.draft.market = Market(
            bid=self.bid,
            ask=self.ask,
            last_price=self.last_price,
            exchange_at=self.trade_at,
            book_at=self.book_at,
            updated_at=self.updated_at,
        )
        self.is_dirty = False


def _is_late(at: datetime, newest: datetime | None, received_at: datetime) -> bool:
    """
    Whether an update is older than one that we have.

    A newest time from the far future was an error: believing it would make all that follows late.
    """
    return newest is not None and at < newest <= received_at + EXCHANGE_AHEAD_MAX
