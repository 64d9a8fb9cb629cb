"""
The first schema: one bot's lanes, books, journal, settings, incidents, commands and lease.

Revision 0001. Frozen: later steps are later files.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "leases",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("lock_generation", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot"),
    )
    op.create_table(
        "lanes",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("now", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("bot", "lane"),
    )
    op.create_table(
        "symbols",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("is_configured", sa.Boolean(), nullable=False),
        sa.Column("changed_sequence", sa.BigInteger(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("idle_reason", sa.Text(), nullable=True),
        sa.Column("updates_processed_count", sa.BigInteger(), nullable=True),
        sa.Column("updates_skipped_count", sa.BigInteger(), nullable=True),
        sa.Column("last_update_at", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("market", sa.Text(), nullable=True),
        sa.Column("memory", sa.Text(), nullable=True),
        sa.Column("risk", sa.Text(), nullable=True),
        sa.Column("allowance", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("bot", "symbol"),
    )
    op.create_table(
        "orders",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("time_in_force", sa.Text(), nullable=False),
        sa.Column("post_only", sa.Boolean(), nullable=False),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("changed_sequence", sa.BigInteger(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("causation_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("exchange_order_id", sa.Text(), nullable=False),
        sa.Column("cumulative_quantity", sa.Text(), nullable=False),
        sa.Column("filled_quantity", sa.Text(), nullable=False),
        sa.Column("reported_state", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reject_reason", sa.Text(), nullable=True),
        sa.Column("signed_until", sa.Text(), nullable=True),
        sa.Column("trade_ids", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "client_order_id"),
    )
    op.create_index("orders_created", "orders", ["bot", "created_at"])
    _create_partial_index("orders_open", "orders", ["bot", "symbol"], "is_open")
    op.create_index("orders_symbol_created", "orders", ["bot", "symbol", "created_at"])
    op.create_table(
        "fills",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("exchange_order_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("fee", sa.Text(), nullable=False),
        sa.Column("fee_asset", sa.Text(), nullable=False),
        sa.Column("liquidity", sa.Text(), nullable=False),
        sa.Column("exchange_at", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "symbol", "trade_id", "client_order_id"),
    )
    op.create_index("fills_exchange_at", "fills", ["bot", "exchange_at"])
    op.create_index("fills_order", "fills", ["bot", "client_order_id"])
    op.create_index("fills_symbol_exchange_at", "fills", ["bot", "symbol", "exchange_at"])
    op.create_table(
        "grid_slots",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("holding", sa.Text(), nullable=False),
        sa.Column("entry_price", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("is_unknown", sa.Boolean(), nullable=False),
        sa.Column("post_only_rejections", sa.BigInteger(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("is_live", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "symbol", "key"),
    )
    _create_partial_index("grid_slots_live", "grid_slots", ["bot", "symbol"], "is_live")
    op.create_table(
        "positions",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("average_entry_price", sa.Text(), nullable=False),
        sa.Column("realized_pnl", sa.Text(), nullable=False),
        sa.Column("fees_quote", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "symbol"),
    )
    op.create_table(
        "ledger",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "lane", "sequence", "ordinal"),
    )
    op.create_index("ledger_symbol", "ledger", ["bot", "symbol"])
    op.create_table(
        "journal",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("settings_version", sa.BigInteger(), nullable=False),
        sa.Column("now", sa.Text(), nullable=False),
        sa.Column("update_count", sa.BigInteger(), nullable=False),
        sa.Column("input_digest", sa.Text(), nullable=False),
        sa.Column("decision_digest", sa.Text(), nullable=False),
        sa.Column("outcomes_digest", sa.Text(), nullable=False),
        sa.Column("state_digest", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "lane", "sequence"),
    )
    op.create_table(
        "snapshots",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "lane", "sequence"),
    )
    op.create_table(
        "accounts",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "key"),
    )
    op.create_table(
        "settings_versions",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "version"),
    )
    op.create_table(
        "incidents",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "id"),
    )
    _create_partial_index("incidents_open", "incidents", ["bot", "symbol"], "is_open")
    op.create_index("incidents_opened", "incidents", ["bot", "opened_at"])
    op.create_table(
        "commands",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("argument", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bot", "command_id"),
    )
    _create_partial_index("commands_waiting", "commands", ["bot", "created_at"], "NOT is_done")


def downgrade() -> None:
    """Drop every table with its rows."""
    for table in (
        "leases",
        "lanes",
        "symbols",
        "orders",
        "fills",
        "grid_slots",
        "positions",
        "ledger",
        "journal",
        "snapshots",
        "accounts",
        "settings_versions",
        "incidents",
        "commands",
    ):
        op.drop_table(table)


def _create_partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
