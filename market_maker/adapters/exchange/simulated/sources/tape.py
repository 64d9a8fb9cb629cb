"""
Recorded tapes: trades, and best bids and asks where there are any, merged by time.

Files are read row by row and never held in memory. The position is the count of rows taken from
each, so a restart skips to the same row. A looped tape goes on in time: each round lies after the
one before. What is damaged is told when the market comes to it, with everything before it intact.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from market_maker.adapters.exchange.simulated.settings import SPEED_MAX, TapeSource
from market_maker.adapters.exchange.simulated.sources.alignment import estimate_book_offset_ms
from market_maker.adapters.exchange.simulated.sources.rows import (
    BookRow,
    TradeRow,
    read_book,
    read_trades,
)
from market_maker.adapters.exchange.simulated.sources.source import (
    US_PER_MS,
    Position,
    Tick,
    TopTick,
    TradeTick,
)
from market_maker.domain.errors import TapeError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOOP_PAUSE_MS = 1_000
"""Between the last tick of one round and the first of the next."""


class TapeReplay:
    """A `Source` that plays a recorded tape; raises `TapeError` at once if its beginning is bad."""

    def __init__(self, settings: TapeSource, *, position: Position) -> None:
        self._trades_path = Path(settings.trades).expanduser()
        self._book_path = settings.book_path
        self._loops = settings.loop
        self.is_paced = settings.speed != SPEED_MAX
        self._speed = Fraction(Decimal(settings.speed)) if self.is_paced else Fraction(1)
        self._offset_ms = self._book_offset_ms(settings)
        self._first_ms = self._find_first_ms()
        self._last_ms = self._first_ms
        self._sequence: int = position.get("sequence", 0)
        self._shift_ms: int = position.get("shift_ms", 0)
        self._trades: int = position.get("trades", 0)
        self._book: int = position.get("book", 0)
        self._damage: TapeError | None = None
        self._rows = self._merged()
        self._next: tuple[int, TradeRow | BookRow] | None = None
        self._fetch()
        if self._damage is not None:
            raise self._damage

    @property
    def began_at(self) -> datetime:
        """The time of the tape's first row."""
        return EPOCH + timedelta(milliseconds=self._first_ms)

    def peek(self) -> int | None:
        """The time of the next tick, or of the damage that comes instead."""
        if self._next is None:
            return None if self._damage is None else self._elapsed_us(self._last_ms)
        return self._elapsed_us(self._next[0])

    def take(self) -> Tick:
        """The next tick; raises `TapeError` where the tape is damaged."""
        if self._next is None:
            raise self._damage or TapeError(f"{self._trades_path}: the tape has ended")
        at_ms, row = self._next
        at_us = self._elapsed_us(at_ms)
        sequence = self._sequence
        self._sequence += 1
        tick: Tick
        if isinstance(row, TradeRow):
            self._trades += 1
            tick = TradeTick(at_us, sequence, row.price, row.quantity, row.taker_side)
        else:
            self._book += 1
            tick = TopTick(at_us, sequence, row.bid, row.bid_quantity, row.ask, row.ask_quantity)
        self._fetch()
        return tick

    def position(self) -> Position:
        """How many rows were taken, and what the rounds before have shifted."""
        return {
            "sequence": self._sequence,
            "shift_ms": self._shift_ms,
            "trades": self._trades,
            "book": self._book,
        }

    def _elapsed_us(self, at_ms: int) -> int:
        recorded_us = (at_ms - self._first_ms + self._shift_ms) * US_PER_MS
        return recorded_us * self._speed.denominator // self._speed.numerator

    def _fetch(self) -> None:
        """Read one row ahead, and begin the next round after the last."""
        try:
            self._next = next(self._rows, None)
            if self._next is None and self._loops:
                self._shift_ms += self._last_ms - self._first_ms + LOOP_PAUSE_MS
                self._trades = self._book = 0
                self._last_ms = self._first_ms
                self._rows = self._merged()
                self._next = next(self._rows, None)
        except TapeError as error:
            self._next, self._damage = None, error
        if self._next is not None:
            self._last_ms = self._next[0]

    def _merged(self) -> Iterator[tuple[int, TradeRow | BookRow]]:
        """Yield rows by time; a book goes before the trade of the same millisecond."""
        trades = read_trades(self._trades_path, skip=self._trades)
        book: Iterator[BookRow] = iter(())
        if self._book_path is not None:
            book = read_book(self._book_path, skip=self._book)
        trade, top = next(trades, None), next(book, None)
        at_ms = self._first_ms
        while trade is not None or top is not None:
            # Recorded times may step back by a little; the market's time does not.
            if trade is None or (top is not None and top.at_ms + self._offset_ms <= trade.at_ms):
                if top is None:
                    return
                at_ms = max(at_ms, top.at_ms + self._offset_ms)
                yield at_ms, top
                top = next(book, None)
            else:
                at_ms = max(at_ms, trade.at_ms)
                yield at_ms, trade
                trade = next(trades, None)

    def _find_first_ms(self) -> int:
        trade = next(read_trades(self._trades_path), None)
        if trade is None:
            raise TapeError(f"{self._trades_path}: there is no trade in it")
        top = None if self._book_path is None else next(read_book(self._book_path), None)
        return trade.at_ms if top is None else min(trade.at_ms, top.at_ms + self._offset_ms)

    def _book_offset_ms(self, settings: TapeSource) -> int:
        if settings.book_offset_ms is not None or self._book_path is None:
            return settings.book_offset_ms or 0
        return estimate_book_offset_ms(self._trades_path, self._book_path)
