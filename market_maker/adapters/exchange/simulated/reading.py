"""
The venue's own view, read from its file while it runs or after it died; nothing is ever changed.

These are the other half of every crash test: what they return is held against the bot's books.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from market_maker.adapters.exchange.simulated.books.account import Account, LinearPosition
from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.schema import (
    SCHEMA_VERSION,
    to_fill,
    to_order,
    to_time,
)
from market_maker.domain.errors import ExchangeUnavailable
from market_maker.domain.events import Balance, VenuePosition
from market_maker.domain.fill import Fill

BUSY_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """
    One place request that reached the venue.

    `verdict` is `accepted`, `rejected: <reason>` or `server_error` (it was lost inside the venue).
    """

    sequence: int
    client_order_id: str
    symbol: str
    arrived_at: datetime
    signed_until: datetime
    verdict: str


def read_orders(path: Path | str, *, only_open: bool = False) -> tuple[VenueOrder, ...]:
    """Return every order the venue has accepted, oldest first; raises `ExchangeUnavailable`."""
    with _reader(path) as rows:
        orders = [to_order(row) for row in rows("SELECT * FROM orders ORDER BY sequence")]
    return tuple(order for order in orders if order.is_open or not only_open)


def read_fills(path: Path | str) -> tuple[Fill, ...]:
    """Return every fill of the account, oldest first; raises `ExchangeUnavailable`."""
    with _reader(path) as rows:
        return tuple(to_fill(row) for row in rows("SELECT * FROM fills ORDER BY trade_id, rowid"))


def read_balances(path: Path | str) -> tuple[Balance, ...]:
    """Return every asset of the account; raises `ExchangeUnavailable`."""
    with _reader(path) as rows:
        return tuple(
            Balance(
                asset=row["asset"],
                free=Decimal(row["total"]) - Decimal(row["locked"]),
                locked=Decimal(row["locked"]),
            )
            for row in rows("SELECT * FROM balances ORDER BY asset")
        )


def read_positions(path: Path | str) -> tuple[VenuePosition, ...]:
    """Return every derivative position that is not flat; raises `ExchangeUnavailable`."""
    with _reader(path) as rows:
        stored = rows("SELECT * FROM positions ORDER BY symbol")
    account = Account(
        {},
        {
            row["symbol"]: LinearPosition(
                quantity=Decimal(row["quantity"]), cost=Decimal(row["cost"])
            )
            for row in stored
        },
    )
    return account.venue_positions()


def read_requests(path: Path | str) -> tuple[LoggedRequest, ...]:
    """Return every place request that reached the venue, oldest first."""
    with _reader(path) as rows:
        return tuple(
            LoggedRequest(
                sequence=row["sequence"],
                client_order_id=row["client_order_id"],
                symbol=row["symbol"],
                arrived_at=to_time(row["arrived_at"]),
                signed_until=to_time(row["signed_until"]),
                verdict=row["verdict"],
            )
            for row in rows("SELECT * FROM requests ORDER BY sequence")
        )


def order_record(order: VenueOrder) -> Mapping[str, Any]:
    """Return an order with the fields of `market-maker orders`; money and times are text."""
    return {
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "price": None if order.price is None else format(order.price, "f"),
        "quantity": format(order.quantity, "f"),
        "filled_quantity": format(order.cumulative_quantity, "f"),
        "state": order.state.value,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
    }


def fill_record(fill: Fill) -> Mapping[str, Any]:
    """Return a fill with the fields of `market-maker fills`; money and times are text."""
    return {
        "trade_id": fill.trade_id,
        "client_order_id": fill.client_order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": format(fill.price, "f"),
        "quantity": format(fill.quantity, "f"),
        "fee": format(fill.fee, "f"),
        "fee_asset": fill.fee_asset,
        "liquidity": fill.liquidity.value,
        "exchange_at": fill.exchange_at.isoformat(),
    }


def balance_record(balance: Balance) -> Mapping[str, Any]:
    """Return a balance as text."""
    return {
        "asset": balance.asset,
        "free": format(balance.free, "f"),
        "locked": format(balance.locked, "f"),
    }


@contextmanager
def _reader(path: Path | str) -> Iterator[Any]:
    file = Path(path).expanduser()
    if not file.exists():
        raise ExchangeUnavailable(
            f"paper exchange file {file} does not exist yet; run the bot first"
        )
    connection = None
    try:
        # Not `mode=ro`: after a SIGKILL the write-ahead log must be read, which needs its index.
        connection = sqlite3.connect(file, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only = ON")
        version = connection.execute("SELECT schema_version FROM venue").fetchone()[0]
        if version != SCHEMA_VERSION:
            raise ExchangeUnavailable(f"paper exchange file {file} has unknown schema {version}")
        reading = connection
        yield lambda sql: reading.execute(sql).fetchall()
    except sqlite3.Error as error:
        raise ExchangeUnavailable(f"paper exchange file {file}: {error}") from error
    finally:
        if connection is not None:
            connection.close()
