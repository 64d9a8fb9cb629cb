"""
The SQL of `record`, written once per database.

Both databases understand the same text; only the placeholder differs. `record` runs for every
batch, and going through SQLAlchemy's compiler and types would cost more than the write itself.
"""

# ruff: noqa: S608  # names are our own constants; every value goes through a placeholder

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from sqlalchemy import Table

from market_maker.adapters.store import tables
from market_maker.adapters.store.rows import (
    FILLS,
    INCIDENTS,
    JOURNAL,
    LEDGER,
    ORDERS,
    POSITIONS,
    SLOTS,
    STATUS_COLUMNS,
    SYMBOL_PARTS,
)

SNAPSHOT_COLUMNS: Final = ("bot", "lane", "sequence", "payload")
ACCOUNT_COLUMNS: Final = ("bot", "key", "lane", "sequence", "payload")
_SYMBOL_KEY: Final = ("bot", "symbol", "lane", "strategy", "is_configured", "changed_sequence")


@dataclass(frozen=True, slots=True)
class Statements:
    """Every statement of `record` for one placeholder style."""

    placeholder: str
    advance_lane: str
    select_lane: str
    select_entry: str
    select_chain: str
    insert_entry: str
    insert_snapshot: str
    insert_fill: str
    insert_ledger: str
    upsert_order: str
    upsert_slot: str
    upsert_position: str
    upsert_incident: str
    upsert_account: str

    def upsert_symbol(self, parts: tuple[str, ...]) -> str:
        """Write only the named parts of a symbols row, creating it if need be."""
        return _upsert_symbol(self.placeholder, parts)


@cache
def statements(placeholder: str) -> Statements:
    """The statements for `?` (SQLite) or `%s` (psycopg)."""
    mark = placeholder
    of_lane = f"bot = {mark} AND lane = {mark}"
    of_entry = f"{of_lane} AND sequence = {mark}"
    return Statements(
        placeholder=mark,
        advance_lane=(
            f"UPDATE lanes SET sequence = {mark}, now = {mark} "
            f"WHERE {of_lane} AND sequence = {mark} AND token = {mark}"
        ),
        select_lane=f"SELECT sequence, token FROM lanes WHERE {of_lane}",
        select_entry=f"SELECT workflow_id, chain FROM journal WHERE {of_entry}",
        select_chain=f"SELECT chain FROM journal WHERE {of_entry}",
        insert_entry=_insert(tables.journal, JOURNAL.columns, mark),
        insert_snapshot=_upsert(tables.snapshots, SNAPSHOT_COLUMNS, mark),
        insert_fill=_insert(tables.fills, FILLS.columns, mark),
        insert_ledger=_insert(tables.ledger, LEDGER.columns, mark),
        upsert_order=_upsert(tables.orders, ORDERS.columns, mark),
        upsert_slot=_upsert(tables.grid_slots, SLOTS.columns, mark),
        upsert_position=_upsert(tables.positions, POSITIONS.columns, mark),
        upsert_incident=_upsert(tables.incidents, INCIDENTS.columns, mark),
        upsert_account=_upsert(tables.accounts, ACCOUNT_COLUMNS, mark),
    )


@cache
def _upsert_symbol(mark: str, parts: tuple[str, ...]) -> str:
    written = [name for name in SYMBOL_PARTS if name in parts]
    columns = (*_SYMBOL_KEY, *(STATUS_COLUMNS if "status" in parts else ()), *written)
    return _upsert(tables.symbols, columns, mark, keep=("lane", "strategy", "is_configured"))


def _insert(table: Table, columns: Sequence[str], mark: str) -> str:
    names = ", ".join(columns)
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {table.name} ({names}) VALUES ({marks})"


def _upsert(table: Table, columns: Sequence[str], mark: str, *, keep: Sequence[str] = ()) -> str:
    """Insert, or replace everything but the key and what is to `keep`."""
    key = [column.name for column in table.primary_key.columns]
    changes = ", ".join(
        f"{name} = excluded.{name}" for name in columns if name not in key and name not in keep
    )
    target = ", ".join(key)
    return f"{_insert(table, columns, mark)} ON CONFLICT ({target}) DO UPDATE SET {changes}"
