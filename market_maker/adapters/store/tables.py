"""
The tables of the bot, the same on SQLite and PostgreSQL.

Every table is keyed by `bot` first, so that several bots may share one PostgreSQL. Whatever a start
must load is found through an index over the live rows alone (`is_open`, `is_live`, not done): the
cost of a start does not grow with history. DBOS keeps its own tables in the same database; none of
these names is one of its.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from market_maker.adapters.store.types import DecimalText, InstantText

DBOS_TABLES: Final = frozenset(
    {
        "application_versions",
        "dbos_migrations",
        "event_dispatch_kv",
        "notifications",
        "operation_outputs",
        "queues",
        "streams",
        "workflow_events",
        "workflow_events_history",
        "workflow_input",
        "workflow_output",
        "workflow_schedules",
        "workflow_status",
    }
)

# A partial index serves a query that says the very same words, on both databases.
IS_OPEN: Final = text("is_open")
IS_LIVE: Final = text("is_live")
IS_WAITING: Final = text("NOT is_done")

metadata = MetaData()


def _text(name: str, *, is_optional: bool = False) -> "Column[str]":
    return Column(name, Text, nullable=is_optional)


def _integer(name: str, *, is_optional: bool = False) -> "Column[int]":
    return Column(name, BigInteger, nullable=is_optional)


def _flag(name: str) -> "Column[bool]":
    return Column(name, Boolean, nullable=False)


def _decimal(name: str, *, is_optional: bool = False) -> "Column[object]":
    return Column(name, DecimalText, nullable=is_optional)


def _instant(name: str, *, is_optional: bool = False) -> "Column[object]":
    return Column(name, InstantText, nullable=is_optional)


leases = Table(
    "leases",
    metadata,
    _text("bot"),
    _text("holder"),
    _integer("token"),
    # Which liveness lock belongs to this lease; it rises when a frozen holder still has the last.
    _integer("lock_generation"),
    _instant("expires_at"),
    PrimaryKeyConstraint("bot"),
)

lanes = Table(
    "lanes",
    metadata,
    _text("bot"),
    _integer("lane"),
    _integer("sequence"),
    _integer("token"),
    _instant("now", is_optional=True),
    PrimaryKeyConstraint("bot", "lane"),
)

symbols = Table(
    "symbols",
    metadata,
    _text("bot"),
    _text("symbol"),
    _integer("lane"),
    _text("strategy"),
    _flag("is_configured"),
    # The last workflow that changed the symbol; NULL until one has.
    _integer("changed_sequence", is_optional=True),
    # What `status` shows, readable in SQL; `status` is the whole of it as JSON.
    _text("mode", is_optional=True),
    _text("idle_reason", is_optional=True),
    _integer("updates_processed_count", is_optional=True),
    _integer("updates_skipped_count", is_optional=True),
    _instant("last_update_at", is_optional=True),
    _text("status", is_optional=True),
    _text("market", is_optional=True),
    _text("memory", is_optional=True),
    _text("risk", is_optional=True),
    _text("allowance", is_optional=True),
    PrimaryKeyConstraint("bot", "symbol"),
)

orders = Table(
    "orders",
    metadata,
    _text("bot"),
    _text("client_order_id"),
    _text("symbol"),
    _text("side"),
    _text("type"),
    _decimal("price", is_optional=True),
    _decimal("quantity"),
    _text("time_in_force"),
    _flag("post_only"),
    _flag("reduce_only"),
    _text("purpose"),
    _text("slot"),
    _text("state"),
    _flag("is_open"),
    _text("workflow_id"),
    _integer("sequence"),
    _integer("changed_sequence"),
    _text("correlation_id"),
    _text("causation_id"),
    _instant("created_at"),
    _instant("updated_at"),
    _text("exchange_order_id"),
    _decimal("cumulative_quantity"),
    _decimal("filled_quantity"),
    _text("reported_state", is_optional=True),
    _text("reason"),
    _text("reject_reason", is_optional=True),
    _instant("signed_until", is_optional=True),
    _text("trade_ids"),
    PrimaryKeyConstraint("bot", "client_order_id"),
)
Index(
    "orders_open",
    orders.c.bot,
    orders.c.symbol,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)
Index("orders_created", orders.c.bot, orders.c.created_at)
Index("orders_symbol_created", orders.c.bot, orders.c.symbol, orders.c.created_at)

fills = Table(
    "fills",
    metadata,
    _text("bot"),
    _text("symbol"),
    _text("trade_id"),
    _text("client_order_id"),
    _text("exchange_order_id"),
    _text("side"),
    _decimal("price"),
    _decimal("quantity"),
    _decimal("fee"),
    _text("fee_asset"),
    _text("liquidity"),
    _instant("exchange_at"),
    # The workflow that booked it, and its place there.
    _integer("lane"),
    _integer("sequence"),
    _integer("ordinal"),
    PrimaryKeyConstraint("bot", "symbol", "trade_id", "client_order_id"),
)
Index("fills_exchange_at", fills.c.bot, fills.c.exchange_at)
Index("fills_symbol_exchange_at", fills.c.bot, fills.c.symbol, fills.c.exchange_at)
Index("fills_order", fills.c.bot, fills.c.client_order_id)

grid_slots = Table(
    "grid_slots",
    metadata,
    _text("bot"),
    _text("symbol"),
    _text("key"),
    _decimal("price"),
    _text("state"),
    _decimal("holding"),
    _decimal("entry_price"),
    _text("client_order_id"),
    _flag("is_unknown"),
    _integer("post_only_rejections"),
    _text("correlation_id"),
    # False for an empty slot that a strategy has dropped; such rows are not loaded.
    _flag("is_live"),
    PrimaryKeyConstraint("bot", "symbol", "key"),
)
Index(
    "grid_slots_live",
    grid_slots.c.bot,
    grid_slots.c.symbol,
    sqlite_where=IS_LIVE,
    postgresql_where=IS_LIVE,
)

positions = Table(
    "positions",
    metadata,
    _text("bot"),
    _text("symbol"),
    _decimal("quantity"),
    _decimal("average_entry_price"),
    _decimal("realized_pnl"),
    _decimal("fees_quote"),
    PrimaryKeyConstraint("bot", "symbol"),
)

ledger = Table(
    "ledger",
    metadata,
    _text("bot"),
    _integer("lane"),
    _integer("sequence"),
    _integer("ordinal"),
    _text("symbol"),
    _text("trade_id"),
    _text("client_order_id"),
    _text("account"),
    _text("asset"),
    _decimal("amount"),
    PrimaryKeyConstraint("bot", "lane", "sequence", "ordinal"),
)
Index("ledger_symbol", ledger.c.bot, ledger.c.symbol)

journal = Table(
    "journal",
    metadata,
    _text("bot"),
    _integer("lane"),
    _integer("sequence"),
    _text("workflow_id"),
    _integer("settings_version"),
    _instant("now"),
    _integer("update_count"),
    _text("input_digest"),
    _text("decision_digest"),
    _text("outcomes_digest"),
    _text("state_digest"),
    _text("chain"),
    PrimaryKeyConstraint("bot", "lane", "sequence"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _text("bot"),
    _integer("lane"),
    _integer("sequence"),
    _text("payload"),
    PrimaryKeyConstraint("bot", "lane", "sequence"),
)

accounts = Table(
    "accounts",
    metadata,
    _text("bot"),
    _text("key"),
    _integer("lane"),
    _integer("sequence"),
    _text("payload"),
    PrimaryKeyConstraint("bot", "key"),
)

settings_versions = Table(
    "settings_versions",
    metadata,
    _text("bot"),
    _integer("version"),
    _instant("created_at"),
    _text("payload"),
    PrimaryKeyConstraint("bot", "version"),
)

incidents = Table(
    "incidents",
    metadata,
    _text("bot"),
    _text("id"),
    _text("symbol"),
    _text("kind"),
    _text("severity"),
    _text("content"),
    _instant("opened_at"),
    _instant("closed_at", is_optional=True),
    _text("resolution"),
    # Not closed yet: what stops quoting and is loaded at start.
    _flag("is_open"),
    PrimaryKeyConstraint("bot", "id"),
)
Index(
    "incidents_open",
    incidents.c.bot,
    incidents.c.symbol,
    sqlite_where=IS_OPEN,
    postgresql_where=IS_OPEN,
)
Index("incidents_opened", incidents.c.bot, incidents.c.opened_at)

commands = Table(
    "commands",
    metadata,
    _text("bot"),
    _text("command_id"),
    _text("name"),
    _text("symbol"),
    _text("argument"),
    _text("state"),
    _flag("is_done"),
    _instant("created_at"),
    _text("result"),
    PrimaryKeyConstraint("bot", "command_id"),
)
Index(
    "commands_waiting",
    commands.c.bot,
    commands.c.created_at,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)
