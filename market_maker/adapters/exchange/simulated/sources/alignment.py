"""
Finds how far the clock of a recorded book lies behind the clock of its trades.

Trades carry the venue's time, books the recorder's. Where the two clocks differ by a second, trades
would meet a book of another moment: queues would be read at the wrong price, and takers would trade
at prices that were not there. At the right offset a trade most often prints at the side of the book
that it took; the offset with the most such trades is taken, if it is clearly better than none.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice, takewhile
from pathlib import Path

from market_maker.adapters.exchange.simulated.sources.rows import (
    BookRow,
    TradeRow,
    read_book,
    read_trades,
)
from market_maker.domain.fill import Side

TRADES_SAMPLED_MAX = 1_000
OFFSET_MS_MAX = 3_000
COARSE_STEP_MS = 50
FINE_STEP_MS = 5
CLEARLY_BETTER = 1.2


def estimate_book_offset_ms(trades_path: Path, book_path: Path) -> int:
    """Return what to add to the book's times, in milliseconds; 0 if nothing is clearly better."""
    trades = list(islice(read_trades(trades_path), TRADES_SAMPLED_MAX))
    if not trades:
        return 0
    last_ms = trades[-1].at_ms + OFFSET_MS_MAX
    book = list(takewhile(lambda row: row.at_ms <= last_ms, read_book(book_path)))
    coarse = _best(trades, book, range(-OFFSET_MS_MAX, OFFSET_MS_MAX + 1, COARSE_STEP_MS), around=0)
    near = range(coarse - COARSE_STEP_MS, coarse + COARSE_STEP_MS + 1, FINE_STEP_MS)
    best = _best(trades, book, near, around=coarse)
    is_clear = _agreeing(trades, book, best) > CLEARLY_BETTER * _agreeing(trades, book, 0)
    return best if is_clear else 0


def _best(
    trades: Sequence[TradeRow], book: Sequence[BookRow], offsets_ms: Sequence[int], *, around: int
) -> int:
    """Return the offset that most trades agree with; of equal ones the nearest to `around`."""
    return max(
        offsets_ms, key=lambda offset: (_agreeing(trades, book, offset), -abs(offset - around))
    )


def _agreeing(trades: Sequence[TradeRow], book: Sequence[BookRow], offset_ms: int) -> int:
    """Count the trades that printed at the price they would have taken."""
    times = [row.at_ms + offset_ms for row in book]
    count = 0
    for trade in trades:
        index = bisect_left(times, trade.at_ms) - 1
        if index >= 0:
            row = book[index]
            count += trade.price == (row.ask if trade.taker_side is Side.BUY else row.bid)
    return count
