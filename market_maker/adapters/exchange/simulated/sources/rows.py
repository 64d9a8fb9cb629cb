"""Reads recorded CSV files row by row; whatever is wrong names the file and the line."""

import gzip
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TextIO

from market_maker.domain.errors import TapeError
from market_maker.domain.fill import Side

TRADES_HEADER = "exchange_at_ms,trade_id,price,quantity,taker_side"
BOOK_HEADER = "received_at_ms,bid,bid_quantity,ask,ask_quantity"
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}


class TradeRow(NamedTuple):
    """One recorded trade; milliseconds since 1970, UTC."""

    at_ms: int
    price: Decimal
    quantity: Decimal
    taker_side: Side


class BookRow(NamedTuple):
    """One recorded best bid and ask; milliseconds since 1970, UTC, on the recorder's clock."""

    at_ms: int
    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal


def read_trades(path: Path, *, skip: int = 0) -> Iterator[TradeRow]:
    """Yield the trades of a tape after the first `skip`; raises `TapeError`."""
    for number, line in _lines(path, TRADES_HEADER, skip):
        fields = line.split(",")
        try:
            at_ms, _, price, quantity, side = fields
            yield TradeRow(int(at_ms), _above_zero(price), _above_zero(quantity), _SIDES[side])
        except (ValueError, ArithmeticError, KeyError) as error:
            raise _damaged(path, number, line, TRADES_HEADER) from error


def read_book(path: Path, *, skip: int = 0) -> Iterator[BookRow]:
    """Yield the best bids and asks of a tape after the first `skip`; raises `TapeError`."""
    for number, line in _lines(path, BOOK_HEADER, skip):
        fields = line.split(",")
        try:
            at_ms, bid, bid_quantity, ask, ask_quantity = fields
            row = BookRow(
                int(at_ms),
                _above_zero(bid),
                _not_negative(bid_quantity),
                _above_zero(ask),
                _not_negative(ask_quantity),
            )
        except (ValueError, ArithmeticError) as error:
            raise _damaged(path, number, line, BOOK_HEADER) from error
        if row.bid >= row.ask:
            raise TapeError(f"{path}:{number}: bid {row.bid} was not below ask {row.ask}")
        yield row


def _lines(path: Path, header: str, skip: int) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with _open(path) as file:
            number = 1
            first = file.readline().rstrip("\r\n")
            if first != header:
                raise TapeError(f"{path}:1: expected the header {header}, found {first[:80]!r}")
            for line in file:
                number += 1
                if number > skip + 1:
                    yield number, line.rstrip("\r\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        where = f"{path}:{number + 1}" if number else f"{path}"
        raise TapeError(f"{where}: cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="ascii", newline="\n")
    return path.open(encoding="ascii", newline="\n")


def _above_zero(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{text} is not above zero")
    return value


def _not_negative(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _damaged(path: Path, number: int, line: str, header: str) -> TapeError:
    return TapeError(f"{path}:{number}: expected {header}, found {line[:80]!r}")
