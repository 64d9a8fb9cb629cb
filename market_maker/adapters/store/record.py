"""
The lane's checkpoint: one transaction that begins with the compare-and-set.

Whoever changes the lane's row from n−1 to n with the present token owns sequence n; everything else
follows inside the same transaction. A repeated call finds its own journal row and changes nothing,
so the caller may repeat it after any failure, also one whose outcome it does not know.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.pool import PoolProxiedConnection

from market_maker.adapters.store.engines import BUSY_TIMEOUT, is_sqlite, recorder_engine
from market_maker.adapters.store.errors import describe, translated_errors
from market_maker.adapters.store.journal import GENESIS, chain_digest
from market_maker.adapters.store.rows import (
    FILLS,
    INCIDENTS,
    JOURNAL,
    LEDGER,
    ORDERS,
    POSITIONS,
    SLOTS,
    SYMBOL_PARTS,
    is_live,
    to_json,
    to_status_values,
)
from market_maker.adapters.store.statements import Statements, statements
from market_maker.adapters.store.types import to_instant_text
from market_maker.domain.errors import Fenced, StoreError
from market_maker.domain.symbol import SymbolChanges
from market_maker.ports.failpoints import failpoint
from market_maker.ports.store import JournalEntry, Recording


class Recorder:
    """
    Writes recordings of one bot through connections that stay open.

    Safe to call from several threads. SQLite has one writer anyway, so all lanes share a
    connection there; on PostgreSQL each lane has its own.
    """

    def __init__(self, url: URL, bot: str, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> None:
        self._url = url
        self._bot = bot
        self._engine = recorder_engine(url, busy_timeout=busy_timeout)
        self._is_sqlite = is_sqlite(url)
        self._statements = statements("?" if self._is_sqlite else "%s")
        self._writers: dict[int, _Writer] = {}
        self._writers_lock = Lock()

    def record(self, recording: Recording) -> str:
        """Write one workflow's results and return its chain digest; see the port."""
        with translated_errors(self._url):
            failpoint("record.begin")
            chain = self._record(recording)
            failpoint("record.committed")
        return chain

    def close(self) -> None:
        """Close every connection."""
        with self._writers_lock:
            for writer in self._writers.values():
                writer.close()
            self._writers.clear()
        self._engine.dispose()

    def _record(self, recording: Recording) -> str:
        entry = recording.entry
        with self._writer(entry.lane).transaction() as cursor:
            if not self._advance_lane(cursor, recording):
                return self._find_recorded(cursor, recording)
            chain = chain_digest(self._previous_chain(cursor, entry), self._bot, entry)
            cursor.execute(
                self._statements.insert_entry, JOURNAL.to_values(entry, self._bot, chain)
            )
            write_changes(cursor, self._statements, self._bot, recording)
            failpoint("record.inside")
        return chain

    def _writer(self, lane: int) -> "_Writer":
        key = 0 if self._is_sqlite else lane
        with self._writers_lock:
            writer = self._writers.get(key)
            if writer is None:
                writer = self._writers[key] = _Writer(self._engine, is_sqlite=self._is_sqlite)
            return writer

    def _advance_lane(self, cursor: Any, recording: Recording) -> bool:
        entry = recording.entry
        cursor.execute(
            self._statements.advance_lane,
            (
                entry.sequence,
                to_instant_text(entry.now),
                self._bot,
                entry.lane,
                entry.sequence - 1,
                recording.token,
            ),
        )
        return bool(cursor.rowcount == 1)

    def _find_recorded(self, cursor: Any, recording: Recording) -> str:
        """The digest of our own earlier commit; anything else means that we are fenced."""
        entry = recording.entry
        lane = (self._bot, entry.lane)
        cursor.execute(self._statements.select_entry, (*lane, entry.sequence))
        row = cursor.fetchone()
        if row is not None and row[0] == entry.workflow_id:
            return str(row[1])
        cursor.execute(self._statements.select_lane, lane)
        place = cursor.fetchone()
        if place is None:
            raise Fenced(f"bot {self._bot}: lane {entry.lane} does not exist")
        raise Fenced(
            f"bot {self._bot}: lane {entry.lane} was at sequence {place[0]} with token {place[1]}; "
            f"workflow {entry.workflow_id} wanted {entry.sequence} with token {recording.token}"
        )

    def _previous_chain(self, cursor: Any, entry: JournalEntry) -> str:
        if entry.sequence == 1:
            return GENESIS
        cursor.execute(self._statements.select_chain, (self._bot, entry.lane, entry.sequence - 1))
        row = cursor.fetchone()
        if row is None:
            raise StoreError(
                f"database {describe(self._url)}: journal row {entry.sequence - 1} of lane "
                f"{entry.lane} is missing; restore a backup or rebuild from the exchange"
            )
        return str(row[0])


def write_changes(cursor: Any, sql: Statements, bot: str, recording: Recording) -> None:
    """Write everything of a recording that follows its journal row."""
    entry = recording.entry
    at = (bot, entry.lane, entry.sequence)
    for changes in recording.changes:
        _write_symbol(cursor, sql, bot, entry, changes)
        _write_rows(cursor, sql, bot, changes)
    fills = [fill for changes in recording.changes for fill in changes.fills]
    _execute(cursor, sql.insert_fill, [FILLS.to_values(f, *at, n) for n, f in enumerate(fills)])
    legs = [leg for changes in recording.changes for leg in changes.ledger]
    _execute(cursor, sql.insert_ledger, [LEDGER.to_values(e, *at, n) for n, e in enumerate(legs)])
    if recording.account is not None:
        key = recording.account_key
        cursor.execute(
            sql.upsert_account,
            (bot, key, entry.lane, entry.sequence, to_json(recording.account)),
        )
    if recording.snapshot is not None:
        cursor.execute(sql.insert_snapshot, (*at, to_json(recording.snapshot)))


def _write_symbol(
    cursor: Any, sql: Statements, bot: str, entry: JournalEntry, changes: SymbolChanges
) -> None:
    parts = tuple(name for name in SYMBOL_PARTS if getattr(changes, name) is not None)
    status = () if changes.status is None else to_status_values(changes.status)
    texts = [to_json(getattr(changes, name)) for name in parts]
    cursor.execute(
        sql.upsert_symbol(parts),
        (bot, changes.symbol, entry.lane, "", True, entry.sequence, *status, *texts),
    )


def _write_rows(cursor: Any, sql: Statements, bot: str, changes: SymbolChanges) -> None:
    if changes.position is not None:
        cursor.execute(sql.upsert_position, POSITIONS.to_values(changes.position, bot))
    _execute(
        cursor,
        sql.upsert_order,
        [ORDERS.to_values(order, bot, not order.is_terminal) for order in changes.orders],
    )
    _execute(
        cursor,
        sql.upsert_slot,
        [SLOTS.to_values(slot, bot, changes.symbol, is_live(slot)) for slot in changes.slots],
    )
    _execute(
        cursor,
        sql.upsert_incident,
        [INCIDENTS.to_values(it, bot, it.closed_at is None) for it in changes.incidents],
    )


def _execute(cursor: Any, statement: str, rows: list[tuple[Any, ...]]) -> None:
    if len(rows) == 1:
        cursor.execute(statement, rows[0])
    elif rows:
        cursor.executemany(statement, rows)


class _Writer:
    """One connection, opened when first used and dropped after any failure."""

    def __init__(self, engine: Engine, *, is_sqlite: bool) -> None:
        self._engine = engine
        self._is_sqlite = is_sqlite
        self._lock = Lock()
        self._connection: PoolProxiedConnection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Commit what is written inside, or roll it back."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._engine.raw_connection()
                cursor = self._connection.cursor()
                if self._is_sqlite:
                    cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                self._connection.commit()
                cursor.close()
            except BaseException:
                self._drop()
                raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        """Closing rolls back whatever was open."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None
