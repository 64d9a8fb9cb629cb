"""
Reading, asynchronously and without ever writing: loads for a start and read models for the CLI.

Each method reads one snapshot, briefly, and works while the bot runs and when it is dead.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Context, Decimal, Inexact
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import URL, ColumnElement, Select, Table, Text, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from market_maker.adapters.store import rows
from market_maker.adapters.store.engines import BUSY_TIMEOUT, async_reader_engine
from market_maker.adapters.store.errors import describe, translated_errors
from market_maker.adapters.store.schema import find_revision
from market_maker.adapters.store.tables import (
    IS_LIVE,
    IS_OPEN,
    IS_WAITING,
    accounts,
    commands,
    fills,
    grid_slots,
    incidents,
    journal,
    lanes,
    leases,
    ledger,
    orders,
    positions,
    settings_versions,
    symbols,
)
from market_maker.domain.errors import StoreError
from market_maker.domain.order import Order
from market_maker.domain.symbol import Incident, SymbolState
from market_maker.ports.store import (
    CommandRow,
    JournalEntry,
    LaneRow,
    Lease,
    Record,
    SymbolRow,
)

T = TypeVar("T")
_IDS_PER_QUERY: Final = 500
# Wide enough for any sum of 38-digit amounts; it raises rather than round.
_EXACT: Final = Context(prec=1000, traps=[Inexact])


class Reader:
    """One bot's rows through a read-only pool. Errors are `StoreError`s."""

    def __init__(self, url: URL, bot: str, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> None:
        self._url = url
        self._bot = bot
        self._engine = async_reader_engine(url, busy_timeout=busy_timeout)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def find_revision(self) -> str | None:
        """The schema revision, None if the database is empty."""
        async with self._snapshot() as connection:
            return await connection.run_sync(find_revision)

    # --- start ---

    async def find_newest_settings(self) -> Record | None:
        """The payload of the newest settings version; None in a new database."""
        statement = (
            select(settings_versions.c.payload)
            .where(settings_versions.c.bot == self._bot)
            .order_by(settings_versions.c.version.desc())
            .limit(1)
        )
        payload = await self._scalar(statement)
        return None if payload is None else _record(payload)

    async def load_settings(self, version: int) -> Record:
        """The payload of one settings version; raises `StoreError` if it was never stored."""
        statement = select(settings_versions.c.payload).where(
            settings_versions.c.bot == self._bot, settings_versions.c.version == version
        )
        payload = await self._scalar(statement)
        if payload is None:
            raise StoreError(
                f"database {describe(self._url)}: settings version {version} of bot {self._bot} is "
                "missing; restore a backup"
            )
        return _record(payload)

    async def load_symbol_rows(self) -> tuple[SymbolRow, ...]:
        """Every symbol this bot has ever had."""
        statement = select(symbols).where(symbols.c.bot == self._bot).order_by(symbols.c.symbol)
        return await self._convert(statement, lambda row: msgspec.convert(row, SymbolRow))

    async def load_symbol_states(self, symbol: str | None = None) -> tuple[SymbolState, ...]:
        """The states of every recorded symbol, or of one."""
        async with self._snapshot() as connection:
            recorded = await self._rows(
                connection, symbols, symbol, symbols.c.changed_sequence.is_not(None)
            )
            open_orders = await self._rows(connection, orders, symbol, IS_OPEN)
            live_slots = await self._rows(connection, grid_slots, symbol, IS_LIVE)
            open_incidents = await self._rows(connection, incidents, symbol, IS_OPEN)
            held = await self._rows(connection, positions, symbol)
        orders_of = _group(open_orders, rows.to_order)
        slots_of = _group(live_slots, rows.to_slot)
        incidents_of = _group(open_incidents, rows.to_incident)
        position_of = {row["symbol"]: rows.to_position(row) for row in held}
        return tuple(
            rows.to_symbol_state(
                row,
                position=position_of.get(row["symbol"]),
                orders=orders_of[row["symbol"]],
                slots=slots_of[row["symbol"]],
                incidents=incidents_of[row["symbol"]],
            )
            for row in recorded
        )

    async def load_account(self, key: str) -> Record | None:
        """The account actor's recorded state under `key`."""
        statement = select(accounts.c.payload).where(
            accounts.c.bot == self._bot, accounts.c.key == key
        )
        payload = await self._scalar(statement)
        return None if payload is None else _record(payload)

    async def has_journal(self) -> bool:
        """Whether this bot has ever recorded anything."""
        statement = select(journal.c.lane).where(journal.c.bot == self._bot).limit(1)
        return await self._scalar(statement) is not None

    async def load_orders(self, client_order_ids: Sequence[str]) -> tuple[Order, ...]:
        """Orders of any state by our ids."""
        found: list[Order] = []
        for start in range(0, len(client_order_ids), _IDS_PER_QUERY):
            some = client_order_ids[start : start + _IDS_PER_QUERY]
            statement = select(orders).where(
                orders.c.bot == self._bot, orders.c.client_order_id.in_(some)
            )
            found.extend(await self._convert(statement, rows.to_order))
        return tuple(found)

    # --- operator commands ---

    async def load_waiting_commands(self) -> tuple[CommandRow, ...]:
        """Commands not yet done, oldest first."""
        statement = (
            select(commands)
            .where(commands.c.bot == self._bot, IS_WAITING)
            .order_by(commands.c.created_at, commands.c.command_id)
        )
        return await self._convert(statement, _to_command)

    async def load_command(self, command_id: str) -> CommandRow | None:
        """One command with its state and result."""
        statement = select(commands).where(
            commands.c.bot == self._bot, commands.c.command_id == command_id
        )
        found = await self._convert(statement, _to_command)
        return found[0] if found else None

    # --- read models ---

    async def fetch_lease(self) -> Lease | None:
        """The lease row; None if no process ever held it."""
        statement = select(leases).where(leases.c.bot == self._bot, leases.c.token > 0)
        found = await self._convert(statement, lambda row: msgspec.convert(row, Lease))
        return found[0] if found else None

    async def fetch_lanes(self) -> tuple[LaneRow, ...]:
        """Every lane."""
        statement = select(lanes).where(lanes.c.bot == self._bot).order_by(lanes.c.lane)
        return await self._convert(statement, rows.to_lane)

    async def fetch_orders(
        self, *, symbol: str = "", only_open: bool = False, limit: int = 0
    ) -> tuple[Order, ...]:
        """Orders newest first."""
        statement = select(orders).where(orders.c.bot == self._bot)
        if symbol:
            statement = statement.where(orders.c.symbol == symbol)
        if only_open:
            statement = statement.where(IS_OPEN)
        statement = statement.order_by(
            orders.c.created_at.desc(), orders.c.sequence.desc(), orders.c.client_order_id
        )
        return await self._convert(_limited(statement, limit), rows.to_order)

    async def fetch_fills(self, *, symbol: str = "", limit: int = 0) -> tuple[Record, ...]:
        """Fills newest first, as plain records with the fields of `Fill`; money is text."""
        columns = [type_coerce(fills.c[name], Text).label(name) for name in rows.FILLS.own]
        statement = select(*columns).where(fills.c.bot == self._bot)
        if symbol:
            statement = statement.where(fills.c.symbol == symbol)
        statement = statement.order_by(
            fills.c.exchange_at.desc(), fills.c.sequence.desc(), fills.c.ordinal.desc()
        )
        return await self._convert(_limited(statement, limit), dict)

    async def fetch_incidents(self, *, only_open: bool = True) -> tuple[Incident, ...]:
        """Incidents newest first."""
        statement = select(incidents).where(incidents.c.bot == self._bot)
        if only_open:
            statement = statement.where(IS_OPEN)
        statement = statement.order_by(incidents.c.opened_at.desc(), incidents.c.id)
        return await self._convert(statement, rows.to_incident)

    async def fetch_journal(
        self, lane: int, *, after_sequence: int = 0, limit: int = 0
    ) -> tuple[tuple[JournalEntry, str], ...]:
        """A lane's journal rows in order, each with its chain digest."""
        statement = (
            select(journal)
            .where(
                journal.c.bot == self._bot,
                journal.c.lane == lane,
                journal.c.sequence > after_sequence,
            )
            .order_by(journal.c.sequence)
        )
        return await self._convert(
            _limited(statement, limit), lambda row: (rows.to_journal_entry(row), row["chain"])
        )

    async def sum_ledger(self, symbol: str = "") -> Mapping[tuple[str, str], Decimal]:
        """Exact sums by (account, asset)."""
        statement = select(ledger.c.account, ledger.c.asset, ledger.c.amount).where(
            ledger.c.bot == self._bot
        )
        if symbol:
            statement = statement.where(ledger.c.symbol == symbol)
        sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        async with self._snapshot() as connection:
            async for account, asset, amount in await connection.stream(statement):
                sums[account, asset] = _EXACT.add(sums[account, asset], amount)
        return dict(sums)

    async def counts(self) -> Mapping[str, int]:
        """Numbers of rows: orders, fills, ledger, journal, snapshots, incidents, commands."""
        counted = (orders, fills, ledger, journal, incidents, commands)
        async with self._snapshot() as connection:
            return {
                table.name: (
                    await connection.execute(
                        select(func.count()).select_from(table).where(table.c.bot == self._bot)
                    )
                ).scalar_one()
                for table in counted
            }

    # --- private ---

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[AsyncConnection]:
        with translated_errors(self._url):
            async with self._engine.begin() as connection:
                yield connection

    async def _scalar(self, statement: Select[Any]) -> Any:
        async with self._snapshot() as connection:
            return (await connection.execute(statement)).scalar()

    async def _convert(
        self, statement: Select[*tuple[Any, ...]], convert: Callable[[rows.Row], T]
    ) -> tuple[T, ...]:
        async with self._snapshot() as connection:
            found = rows.to_rows(await connection.execute(statement))
        return tuple(convert(row) for row in found)

    async def _rows(
        self, connection: AsyncConnection, table: Table, symbol: str | None, *wanted: Any
    ) -> Sequence[rows.Row]:
        conditions: list[ColumnElement[bool]] = [table.c.bot == self._bot]
        if symbol is not None:
            conditions.append(table.c.symbol == symbol)
        statement = select(table).where(*conditions, *wanted).order_by(*table.primary_key.columns)
        return rows.to_rows(await connection.execute(statement))


def _group(found: Sequence[rows.Row], convert: Callable[[rows.Row], T]) -> dict[str, list[T]]:
    groups: defaultdict[str, list[T]] = defaultdict(list)
    for row in found:
        groups[row["symbol"]].append(convert(row))
    return groups


def _limited(statement: Select[*tuple[Any, ...]], limit: int) -> Select[*tuple[Any, ...]]:
    return statement.limit(limit) if limit else statement


def _record(payload: str) -> Record:
    record: Record = rows.from_json(payload)
    return record


def _to_command(row: rows.Row) -> CommandRow:
    return msgspec.convert(row, CommandRow)
