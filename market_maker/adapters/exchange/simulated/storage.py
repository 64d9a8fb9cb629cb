"""
The venue's durable file: one writer, and nothing leaves before it is committed.

Invariant: what the venue has told anybody is in the file. A SIGKILL between commit and answer
leaves an order that its owner does not know of (it must ask); the reverse, an acknowledged order
that the venue has forgotten, cannot happen. SQLite in WAL mode with synchronous FULL does the work;
a flock on a side file, which the kernel drops when its process dies, keeps a second driver out.
Only a driver that is stopped (SIGSTOP) is taken over; when it wakes up, its next transaction finds
that another session has begun, and is refused.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from market_maker.adapters.exchange.simulated.books.account import Account, LinearPosition
from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.books.venue import Changes, Counters
from market_maker.adapters.exchange.simulated.schema import (
    FILL_COLUMNS,
    ORDER_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    to_fill,
    to_order,
    to_row,
    to_text,
    to_time,
)
from market_maker.domain.errors import ExchangeUnavailable, Fenced
from market_maker.domain.fill import Fill

BUSY_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMarket:
    """Where one symbol's source is, and the touch around it."""

    fingerprint: str
    speed: str
    generation: int
    offset_us: int
    position: Mapping[str, Any]
    touch: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVenue:
    """Everything that a driver needs to go on."""

    began_at: datetime
    session: int
    elapsed_us: int
    elapsed_at: datetime
    counters: Counters
    next_event: int
    totals: Mapping[str, Decimal]
    positions: Mapping[str, LinearPosition]
    open_orders: tuple[VenueOrder, ...]
    markets: Mapping[str, StoredMarket]


class Storage:
    """The file, opened by its one driver."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._session = 0

    def open(
        self, *, name: str, totals: Mapping[str, Decimal], began_at: datetime, at: datetime
    ) -> None:
        """
        Take the lock; make the file if there is none, with these balances.

        `began_at` is where the venue's own calendar begins (lock-step), `at` the wall time.

        Raises `ExchangeUnavailable` if another process drives it, or if it cannot be used.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._connect()
            if self._rows("SELECT name FROM sqlite_master WHERE name = 'venue'"):
                self._check(name)
            else:
                self._create(name, totals, began_at, at)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise ExchangeUnavailable(f"paper exchange file {self.path}: {error}") from error
        except ExchangeUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Let go of file and lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        Write everything inside or nothing; committed when the block ends.

        Raises `Fenced` if another driver has begun a session since ours.
        """
        self.execute("BEGIN IMMEDIATE")
        try:
            self._check_session()
            yield
            self.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.execute("ROLLBACK")
            raise

    def execute(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        if self._connection is None:
            raise ExchangeUnavailable(f"paper exchange file {self.path} is not open")
        return self._connection.execute(sql, tuple(values))

    # --- read ---

    def load(self) -> StoredVenue:
        """Return the state as of the last commit."""
        row = self._rows("SELECT * FROM venue")[0]
        return StoredVenue(
            began_at=to_time(row["began_at"]),
            session=row["session"],
            elapsed_us=row["elapsed_us"],
            elapsed_at=to_time(row["elapsed_at"]),
            counters=Counters(order=row["next_order"], trade=row["next_trade"]),
            next_event=row["next_event"],
            totals={
                row["asset"]: Decimal(row["total"]) for row in self._rows("SELECT * FROM balances")
            },
            positions={
                row["symbol"]: LinearPosition(
                    quantity=Decimal(row["quantity"]), cost=Decimal(row["cost"])
                )
                for row in self._rows("SELECT * FROM positions")
            },
            open_orders=tuple(
                to_order(row)
                for row in self._rows(
                    "SELECT * FROM orders WHERE state IN ('OPEN', 'PARTIALLY_FILLED')"
                    " ORDER BY sequence"
                )
            ),
            markets={
                row["symbol"]: StoredMarket(
                    fingerprint=row["fingerprint"],
                    speed=row["speed"],
                    generation=row["generation"],
                    offset_us=row["offset_us"],
                    position=json.loads(row["position"]),
                    touch=json.loads(row["touch"]),
                )
                for row in self._rows("SELECT * FROM markets")
            },
        )

    def find_order(self, symbol: str, client_order_id: str) -> VenueOrder | None:
        """Return the newest order with this client order id, open or ended."""
        rows = self._rows(
            "SELECT * FROM orders WHERE client_order_id = ? AND symbol = ?"
            " ORDER BY sequence DESC LIMIT 1",
            (client_order_id, symbol),
        )
        return to_order(rows[0]) if rows else None

    def find_fills(
        self, symbol: str, *, after_trade_id: int, client_order_id: str
    ) -> tuple[Fill, ...]:
        """Return the fills of a symbol in venue order."""
        sql = "SELECT * FROM fills WHERE symbol = ? AND trade_id > ?"
        values: list[Any] = [symbol, after_trade_id]
        if client_order_id:
            sql += " AND client_order_id = ?"
            values.append(client_order_id)
        rows = self._rows(sql + " ORDER BY trade_id, rowid", values)
        return tuple(to_fill(row) for row in rows)

    # --- write, inside a transaction ---

    def write_changes(
        self, changes: Changes, *, counters: Counters, next_event: int, account: Account
    ) -> None:
        """Store what changed in the venue."""
        orders = {**changes.moved, **changes.orders}
        self._write_many("orders", ORDER_COLUMNS, orders.values())
        self._write_many("fills", FILL_COLUMNS, changes.fills)
        self.execute(
            "UPDATE venue SET next_order = ?, next_trade = ?, next_event = ?",
            (counters.order, counters.trade, next_event),
        )
        if changes.orders:
            self._write_account(account)

    def write_position(self, *, elapsed_us: int, elapsed_at: datetime) -> None:
        """Store how far the market has come, and the wall time that this is."""
        self.execute(
            "UPDATE venue SET elapsed_us = ?, elapsed_at = ?", (elapsed_us, to_text(elapsed_at))
        )

    def write_market(self, symbol: str, market: StoredMarket) -> None:
        """Store where one symbol's source is."""
        self.execute(
            "INSERT OR REPLACE INTO markets VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                symbol,
                market.fingerprint,
                market.speed,
                market.generation,
                market.offset_us,
                json.dumps(market.position),
                json.dumps(market.touch),
            ),
        )

    def write_request(
        self, client_order_id: str, symbol: str, *, at: datetime, until: datetime, verdict: str
    ) -> None:
        """Log a place request that reached the venue."""
        self.execute(
            "INSERT INTO requests (client_order_id, symbol, arrived_at, signed_until, verdict)"
            " VALUES (?, ?, ?, ?, ?)",
            (client_order_id, symbol, to_text(at), to_text(until), verdict),
        )

    def begin_session(self) -> None:
        """Count one more opening."""
        self.execute("UPDATE venue SET session = session + 1")
        self._session = self._rows("SELECT session FROM venue")[0]["session"]

    # --- private ---

    def _take_lock(self) -> None:
        path = self.path.with_name(self.path.name + ".lock")
        while True:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if not _is_stopped(os.pread(self._lock, 20, 0)):
                    raise ExchangeUnavailable(
                        f"paper exchange file {self.path} is driven by another process; "
                        "stop it first"
                    ) from error
                path.unlink(missing_ok=True)
                os.close(self._lock)
            else:
                os.ftruncate(self._lock, 0)
                os.pwrite(self._lock, str(os.getpid()).encode(), 0)
                return

    def _check_session(self) -> None:
        if self._session and self._rows("SELECT session FROM venue")[0]["session"] != self._session:
            raise Fenced(f"another process drives the paper exchange file {self.path} now")

    def _connect(self) -> None:
        self._connection = sqlite3.connect(
            self.path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
        )
        self._connection.row_factory = sqlite3.Row
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = FULL")

    def _check(self, name: str) -> None:
        row = self._rows("SELECT name, schema_version FROM venue")[0]
        if row["schema_version"] != SCHEMA_VERSION:
            raise ExchangeUnavailable(
                f"paper exchange file {self.path} has schema {row['schema_version']}, this program "
                f"knows {SCHEMA_VERSION}; use the program that made it, or a new file"
            )
        if row["name"] != name:
            raise ExchangeUnavailable(
                f"paper exchange file {self.path} belongs to account {row['name']}, not {name}"
            )

    def _create(
        self, name: str, totals: Mapping[str, Decimal], began_at: datetime, at: datetime
    ) -> None:
        self.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, SCHEMA.split(";")):
            self.execute(statement)
        self.execute(
            "INSERT INTO venue VALUES (1, ?, ?, ?, ?, 0, 0, ?, 1, 1, 1)",
            (SCHEMA_VERSION, name, to_text(at), to_text(began_at), to_text(at)),
        )
        for asset, total in totals.items():
            self.execute("INSERT INTO balances VALUES (?, ?, '0')", (asset, to_text(total)))
        self.execute("COMMIT")

    def _write_many(
        self, table: str, columns: tuple[str, ...], values: Iterable[VenueOrder | Fill]
    ) -> None:
        marks = ", ".join("?" * len(columns))
        names = ", ".join(columns)
        sql = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 # constants
        for value in values:
            self.execute(sql, to_row(value, columns))

    def _write_account(self, account: Account) -> None:
        for asset, total in account.totals.items():
            self.execute(
                "INSERT OR REPLACE INTO balances VALUES (?, ?, ?)",
                (asset, to_text(total), to_text(account.locked(asset))),
            )
        for symbol, position in account.positions.items():
            self.execute(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                (symbol, to_text(position.quantity), to_text(position.cost)),
            )

    def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        return self.execute(sql, values).fetchall()


def _is_stopped(pid: bytes) -> bool:
    """Whether the kernel says that a process is stopped; False where it does not say."""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_text()
    except (OSError, ValueError):
        return False
    return stat.rpartition(")")[2].split()[0] in {"T", "t"}
