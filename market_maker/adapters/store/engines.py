"""
Engines: how the database is opened, for each kind of user.

SQLite is WAL with synchronous FULL, so that what is committed survives a power cut. Our writers
open every transaction with BEGIN IMMEDIATE; DBOS gets an engine of its own, because its system
database dead-locks behind such an event and behind a small pool. Readers are `query_only` and see
one snapshot per transaction.
"""

import importlib.util
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from market_maker.domain.errors import StoreError

BUSY_TIMEOUT: Final = timedelta(seconds=5)
"""How long one of our statements waits for another writer before StoreBusy."""

DBOS_BUSY_TIMEOUT: Final = timedelta(seconds=30)
DBOS_SPARE_CONNECTIONS: Final = 12
"""DBOS needs a connection per lane and about ten for its own threads; fewer dead-lock."""

IDLE_TRANSACTION_TIMEOUT: Final = timedelta(seconds=10)
"""PostgreSQL ends a writer that froze inside a transaction, so that another can take over."""

READER_OPTIONS: Final = "-c default_transaction_read_only=on"


def parse_url(url: str) -> URL:
    """Return the parsed address; raises `StoreError` unless it is SQLite or PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(
            "database.url cannot be read; expected sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    if backend == "postgresql":
        _require_psycopg()
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(
        f"database.url names {parsed.drivername!r} without a file or of an unknown kind; expected "
        "sqlite:///FILE or postgresql://USER@HOST/NAME"
    )


def is_sqlite(url: URL) -> bool:
    """Whether the database is a file."""
    return url.get_backend_name() == "sqlite"


def sqlite_path(url: URL) -> Path:
    """The file of an SQLite address."""
    return Path(str(url.database))


def writer_engine(
    url: URL, *, is_created: bool = False, busy_timeout: timedelta = BUSY_TIMEOUT
) -> Engine:
    """
    Return an engine whose transactions take the write lock at their start.

    A missing SQLite file is an error unless `is_created`.
    """
    if not is_sqlite(url):
        return create_engine(
            url,
            connect_args=_postgresql_arguments(url, _writer_options(busy_timeout)),
            pool_pre_ping=True,
        )
    mode = "rwc" if is_created else "rw"

    def connect() -> sqlite3.Connection:
        return _open_sqlite(sqlite_path(url), mode, busy_timeout)

    engine = create_engine(url, creator=connect)

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def recorder_engine(url: URL, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> Engine:
    """Return an engine for raw connections that their owner keeps and begins transactions on."""
    if not is_sqlite(url):
        arguments = _postgresql_arguments(url, _writer_options(busy_timeout))
        return create_engine(url, connect_args=arguments, poolclass=NullPool)
    return create_engine(
        url,
        creator=lambda: _open_sqlite(sqlite_path(url), "rw", busy_timeout),
        poolclass=NullPool,
    )


def reader_engine(url: URL, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> Engine:
    """Return an engine that cannot write and takes no lock that could stop a writer."""
    if not is_sqlite(url):
        return create_engine(url, connect_args=_postgresql_arguments(url, READER_OPTIONS))

    def connect() -> sqlite3.Connection:
        connection = _connect_sqlite(sqlite_path(url), "rw", busy_timeout)
        connection.execute("PRAGMA query_only=ON")
        return connection

    engine = create_engine(url, creator=connect)

    @event.listens_for(engine, "begin")
    def begin_deferred(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def async_reader_engine(url: URL, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> AsyncEngine:
    """Return the same for asyncio; each transaction reads one snapshot."""
    if not is_sqlite(url):
        return create_async_engine(
            url,
            isolation_level="REPEATABLE READ",
            connect_args=_postgresql_arguments(url, READER_OPTIONS),
            pool_pre_ping=True,
        )
    # The path travels as a URI so that `mode=rw` applies: reading never creates a file.
    address = URL.create(
        "sqlite+aiosqlite",
        database=f"file:{quote(str(sqlite_path(url)))}",
        query={"mode": "rw", "uri": "true"},
    )
    engine = create_async_engine(address, connect_args={"timeout": busy_timeout.total_seconds()})

    @event.listens_for(engine.sync_engine, "connect")
    def open_reader(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_deferred(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def dbos_engine(url: str, lanes: int) -> Engine:
    """Return the engine of DBOS's system database in the same SQLite file."""
    parsed = parse_url(url)
    if not is_sqlite(parsed):
        raise StoreError("DBOS opens PostgreSQL by itself; use `dbos_database`")
    engine = create_engine(
        parsed,
        pool_size=lanes + DBOS_SPARE_CONNECTIONS,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def open_for_dbos(connection: sqlite3.Connection, _record: Any) -> None:
        # Python's own IMMEDIATE, not a "begin" event: reads of DBOS must not take the write lock.
        connection.isolation_level = "IMMEDIATE"
        _set_pragmas(connection, DBOS_BUSY_TIMEOUT)

    return engine


def dbos_database(url: str, lanes: int) -> dict[str, Any]:
    """
    Return the keys of DBOSConfig that put DBOS into the same database as our tables.

    SQLite: `system_database_url` and `system_database_engine` (dispose of it after
    `DBOS.destroy()`); PostgreSQL: `system_database_url` and `sys_db_pool_size`.
    """
    parsed = parse_url(url)
    if is_sqlite(parsed):
        return {
            "system_database_url": parsed.render_as_string(hide_password=False),
            "system_database_engine": dbos_engine(url, lanes),
        }
    address = parsed.set(drivername="postgresql")
    return {
        "system_database_url": address.render_as_string(hide_password=False),
        "sys_db_pool_size": lanes + DBOS_SPARE_CONNECTIONS,
    }


def _open_sqlite(path: Path, mode: str, busy_timeout: timedelta) -> sqlite3.Connection:
    connection = _connect_sqlite(path, mode, busy_timeout)
    try:
        _set_pragmas(connection, busy_timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_sqlite(path: Path, mode: str, busy_timeout: timedelta) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        check_same_thread=False,
        timeout=busy_timeout.total_seconds(),
        isolation_level=None,
    )


def _set_pragmas(connection: sqlite3.Connection, busy_timeout: timedelta) -> None:
    connection.execute(f"PRAGMA busy_timeout={int(busy_timeout.total_seconds() * 1000)}")
    # It counts only before the first table; later it changes nothing.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _writer_options(busy_timeout: timedelta) -> str:
    lock_ms = int(busy_timeout.total_seconds() * 1000)
    idle_ms = int(IDLE_TRANSACTION_TIMEOUT.total_seconds() * 1000)
    # A machine that lost its power keeps its session, and so its lock, until the server asks.
    return (
        f"-c lock_timeout={lock_ms} -c idle_in_transaction_session_timeout={idle_ms} "
        "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    )


def _postgresql_arguments(url: URL, options: str) -> dict[str, str]:
    """Our options after the operator's own (a search_path), and bounded waits on a dead network."""
    given = url.query.get("options", "")
    own = given if isinstance(given, str) else " ".join(given)
    waits = {"connect_timeout": "10", "tcp_user_timeout": "10000"}
    return {
        "options": f"{own} {options}".strip(),
        **{name: value for name, value in waits.items() if name not in url.query},
    }


def _require_psycopg() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise StoreError(
            "PostgreSQL needs the package psycopg, which is not installed; install "
            "`market-maker[postgresql]`"
        )
