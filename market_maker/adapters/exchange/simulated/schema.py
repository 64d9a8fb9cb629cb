"""
The venue's durable file: its tables and how values are written in them.

Money is canonical decimal text, times are ISO 8601 in UTC. Orders, fills and place requests are
kept for ever: they are the evidence that the bot's books are held against.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.domain.fill import Fill, Liquidity, Side
from market_maker.domain.order import OrderState, OrderType, TimeInForce

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE venue (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    began_at TEXT NOT NULL,
    session INTEGER NOT NULL,
    elapsed_us INTEGER NOT NULL,
    elapsed_at TEXT NOT NULL,
    next_order INTEGER NOT NULL,
    next_trade INTEGER NOT NULL,
    next_event INTEGER NOT NULL
);
CREATE TABLE markets (
    symbol TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    speed TEXT NOT NULL,
    generation INTEGER NOT NULL,
    offset_us INTEGER NOT NULL,
    position TEXT NOT NULL,
    touch TEXT NOT NULL
);
CREATE TABLE orders (
    sequence INTEGER PRIMARY KEY,
    client_order_id TEXT NOT NULL,
    exchange_order_id TEXT NOT NULL UNIQUE,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    type TEXT NOT NULL,
    price TEXT,
    quantity TEXT NOT NULL,
    time_in_force TEXT NOT NULL,
    post_only INTEGER NOT NULL,
    reduce_only INTEGER NOT NULL,
    state TEXT NOT NULL,
    cumulative_quantity TEXT NOT NULL,
    ahead_quantity TEXT NOT NULL,
    reason TEXT NOT NULL,
    is_foreign INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX orders_by_client_order_id ON orders (client_order_id, sequence);
CREATE INDEX orders_open ON orders (symbol, sequence)
    WHERE state IN ('OPEN', 'PARTIALLY_FILLED');
CREATE TABLE fills (
    trade_id INTEGER NOT NULL,
    exchange_order_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_asset TEXT NOT NULL,
    liquidity TEXT NOT NULL,
    exchange_at TEXT NOT NULL,
    PRIMARY KEY (trade_id, exchange_order_id)
);
CREATE INDEX fills_by_symbol ON fills (symbol, trade_id);
CREATE INDEX fills_by_client_order_id ON fills (client_order_id, trade_id);
CREATE TABLE balances (
    asset TEXT PRIMARY KEY,
    total TEXT NOT NULL,
    locked TEXT NOT NULL
);
CREATE TABLE positions (
    symbol TEXT PRIMARY KEY,
    quantity TEXT NOT NULL,
    cost TEXT NOT NULL
);
CREATE TABLE requests (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    arrived_at TEXT NOT NULL,
    signed_until TEXT NOT NULL,
    verdict TEXT NOT NULL
);
"""

ORDER_COLUMNS = (
    "sequence",
    "client_order_id",
    "exchange_order_id",
    "symbol",
    "side",
    "type",
    "price",
    "quantity",
    "time_in_force",
    "post_only",
    "reduce_only",
    "state",
    "cumulative_quantity",
    "ahead_quantity",
    "reason",
    "is_foreign",
    "created_at",
    "updated_at",
)
FILL_COLUMNS = (
    "trade_id",
    "exchange_order_id",
    "client_order_id",
    "symbol",
    "side",
    "price",
    "quantity",
    "fee",
    "fee_asset",
    "liquidity",
    "exchange_at",
)


def to_text(value: Any) -> Any:
    """Write one value the way the file keeps it; whole numbers, flags and None stay."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return int(value)
    return value


def to_time(text: str) -> datetime:
    """Read a time that `to_text` wrote."""
    return datetime.fromisoformat(text)


def to_row(value: VenueOrder | Fill, columns: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the columns of an order or a fill."""
    return tuple(to_text(getattr(value, column)) for column in columns)


def to_order(row: Mapping[str, Any] | sqlite3.Row) -> VenueOrder:
    """Return the order of a row."""
    return VenueOrder(
        sequence=row["sequence"],
        client_order_id=row["client_order_id"],
        exchange_order_id=row["exchange_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        price=None if row["price"] is None else Decimal(row["price"]),
        quantity=Decimal(row["quantity"]),
        time_in_force=TimeInForce(row["time_in_force"]),
        post_only=bool(row["post_only"]),
        reduce_only=bool(row["reduce_only"]),
        state=OrderState(row["state"]),
        cumulative_quantity=Decimal(row["cumulative_quantity"]),
        ahead_quantity=Decimal(row["ahead_quantity"]),
        reason=row["reason"],
        is_foreign=bool(row["is_foreign"]),
        created_at=to_time(row["created_at"]),
        updated_at=to_time(row["updated_at"]),
    )


def to_fill(row: Mapping[str, Any] | sqlite3.Row) -> Fill:
    """Return the fill of a row."""
    return Fill(
        trade_id=str(row["trade_id"]),
        client_order_id=row["client_order_id"],
        exchange_order_id=row["exchange_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        price=Decimal(row["price"]),
        quantity=Decimal(row["quantity"]),
        fee=Decimal(row["fee"]),
        fee_asset=row["fee_asset"],
        liquidity=Liquidity(row["liquidity"]),
        exchange_at=to_time(row["exchange_at"]),
    )
