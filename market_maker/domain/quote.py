"""The market of one symbol as far as a strategy needs it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """
    Best bid and ask where a book is streamed, else None, and the last traded price.

    `exchange_at` is the venue's time of the last trade, `book_at` of the last book; `updated_at` is
    when we last heard anything (our clock).
    """

    bid: Decimal | None = None
    ask: Decimal | None = None
    last_price: Decimal | None = None
    exchange_at: datetime | None = None
    book_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def is_crossed(self) -> bool:
        """Whether the bid is at or above the ask, which no healthy book shows."""
        return self.bid is not None and self.ask is not None and self.bid >= self.ask

    @property
    def price(self) -> Decimal | None:
        """The mid where there is a book, else the last trade, else None."""
        if self.bid is not None and self.ask is not None:
            return (self.bid + self.ask) / 2
        return self.last_price
