"""A database that is missing, empty, full, locked, read-only, damaged or out of reach."""

import errno
import importlib.util
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg
from sqlalchemy import make_url

from market_maker.adapters.store import engines, migrate
from market_maker.adapters.store.engines import dbos_database, dbos_engine, parse_url, sqlite_path
from market_maker.adapters.store.errors import to_store_error
from market_maker.adapters.store.store import SqlStore
from market_maker.domain.errors import StoreBusy, StoreError, StoreVersionError
from tests.contract.store.conftest import OpenStore
from tests.store_builders import BOT, FakeClock, a_command, a_recording, a_status_change

ONLY_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
ONLY_POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"])
AT_ONCE = timedelta(milliseconds=10)
NOBODY = 65_534


def a_store(url: str, *, read_only: bool = False) -> SqlStore:
    return SqlStore(url, BOT, FakeClock(), read_only=read_only, busy_timeout=AT_ONCE)


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_missing_file_is_named_and_not_created(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "none.db"

    with pytest.raises(StoreError, match=r"none\.db does not exist; .*market-maker run"):
        await a_store(f"sqlite:///{path}", read_only=read_only).open()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [False, True])
async def test_an_empty_database_says_how_to_fill_it(
    empty_database_url: str, database_kind: str, tmp_path: Path, read_only: bool
) -> None:
    if database_kind == "sqlite":
        (tmp_path / "empty.db").touch()

    with pytest.raises(StoreError, match="is empty; `market-maker run`"):
        await a_store(empty_database_url, read_only=read_only).open()


@ONLY_POSTGRESQL
async def test_a_missing_server_database_is_named_without_the_password(database_url: str) -> None:
    url = make_url(database_url).set(database="nowhere", password="hunter2")

    with pytest.raises(StoreError, match="check database.url") as caught:
        await a_store(url.render_as_string(hide_password=False)).open()

    assert "nowhere" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.postgresql
async def test_a_server_that_does_not_answer_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(StoreBusy, match="check that the server runs"):
        await a_store(f"postgresql://me@/db?host={tmp_path}").open()


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear database,\n" * 100)

    with pytest.raises(StoreError, match="not an SQLite database; check database.url"):
        await a_store(f"sqlite:///{path}").open()
    with pytest.raises(StoreError, match="not an SQLite database"):
        migrate.prepare(f"sqlite:///{path}")

    assert path.read_text().startswith("Dear")


@ONLY_SQLITE
async def test_a_damaged_file_stops_with_advice(store: SqlStore, database_url: str) -> None:
    store.record(a_recording(1, a_status_change(1)))
    path = sqlite_path(parse_url(database_url))
    await store.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 200_000)

    with pytest.raises(StoreError, match="damaged|not the expected one"):
        await a_store(database_url).open()


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections opened inside may not make the file larger."""
    original = engines._set_pragmas

    def limited(connection: sqlite3.Connection, busy_timeout: timedelta) -> None:
        original(connection, busy_timeout)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    with monkeypatch.context() as patch:
        patch.setattr(engines, "_set_pragmas", limited)
        yield


@ONLY_SQLITE
async def test_a_full_database_loses_nothing_and_goes_on_when_there_is_space(
    open_store: OpenStore, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record(a_recording(1, a_status_change(1)))
    large = a_recording(2, a_status_change(2), snapshot={"text": "x" * 200_000})
    with full_disk(monkeypatch):
        cramped = await open_store()

        with pytest.raises(StoreError, match="full; free space and start again"):
            cramped.record(large)

    assert (await store.counts())["journal"] == 1
    store.record(large)
    assert [lane.sequence for lane in await store.fetch_lanes()] == [2, 0]


@contextmanager
def a_writer_inside_a_transaction(url: str) -> Iterator[None]:
    if url.startswith("sqlite"):
        path = sqlite_path(parse_url(url))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE lanes, commands IN EXCLUSIVE MODE")
            yield
            connection.rollback()


async def test_a_locked_database_is_busy_and_then_goes_on(
    open_store: OpenStore, store: SqlStore, database_url: str
) -> None:
    store.record(a_recording(1, a_status_change(1)))
    hasty = await open_store(busy_timeout=AT_ONCE)

    with a_writer_inside_a_transaction(database_url):
        with pytest.raises(StoreBusy):
            hasty.record(a_recording(2, a_status_change(2)))
        with pytest.raises(StoreBusy):
            await hasty.add_command(a_command("c"))
        state = await hasty.load_symbol_state("BTC/USDT")  # readers do not wait for writers

    assert state is not None
    assert hasty.record(a_recording(2, a_status_change(2)))


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """Root may write what is read-only; the test then works as nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def a_read_only_copy(path: Path) -> Iterator[Path]:
    """In a folder that everybody may enter and nobody may change."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy = folder / "bot.db"
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o444)
        folder.chmod(0o555)
        try:
            yield copy
        finally:
            folder.chmod(0o755)


@ONLY_SQLITE
async def test_a_read_only_file_says_so(database_url: str) -> None:
    path = sqlite_path(parse_url(database_url))
    with a_read_only_copy(path) as copy, an_ordinary_user():
        store = a_store(f"sqlite:///{copy}")

        with pytest.raises(StoreError, match="read-only|cannot be opened") as caught:
            await store.open()

    assert "permissions" in str(caught.value) or "writable" in str(caught.value)


@ONLY_POSTGRESQL
async def test_a_read_only_server_says_so(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on"
        )

    with pytest.raises(StoreError, match="read-only; connect to the primary"):
        await a_store(database_url).open()
    reader = a_store(database_url, read_only=True)
    await reader.open()
    assert await reader.fetch_lease() is None
    await reader.close()


async def test_a_reader_works_beside_the_bot_and_after_it(
    open_store: OpenStore, store: SqlStore, database_url: str
) -> None:
    reader = await open_store(read_only=True)
    store.record(a_recording(1, a_status_change(1)))
    assert (await reader.counts())["journal"] == 1

    await store.close()

    assert (await reader.counts())["journal"] == 1
    later = await open_store(read_only=True)
    assert (await later.counts())["journal"] == 1


async def test_a_reader_cannot_write(open_store: OpenStore) -> None:
    reader = await open_store(read_only=True)

    with pytest.raises(StoreError, match="opened for reading only"):
        reader.record(a_recording(1))
    with pytest.raises(StoreError, match="opened for reading only"):
        await reader.add_command(a_command("c"))
    with pytest.raises(StoreError, match="opened for reading only"):
        await reader.acquire_lease(holder="me", ttl=timedelta(seconds=1))


async def test_a_closed_store_says_so(database_url: str) -> None:
    store = a_store(database_url)
    with pytest.raises(StoreError, match="is not open"):
        await store.fetch_lease()

    await store.open()
    await store.close()
    await store.close()

    with pytest.raises(StoreError, match="is not open"):
        store.record(a_recording(1))


@pytest.mark.parametrize(
    "url", ["", "bot.db", "mysql://me@host/db", "sqlite://", "sqlite:///:memory:"]
)
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="expected sqlite:///FILE or postgresql"):
        a_store(url)


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(StoreError, match=r"market-maker\[postgresql\]"):
        a_store("postgresql://me@host/db")


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (pg.DiskFull("no space left on device"), StoreError, "disk is full"),
        (pg.IoError("could not read block"), StoreError, "I/O error"),
        (pg.DataCorrupted("invalid page"), StoreError, "restore a backup"),
        (pg.ReadOnlySqlTransaction("cannot execute"), StoreError, "read-only"),
        (pg.InvalidPassword("no"), StoreError, "check user and password"),
        (pg.InsufficientPrivilege("denied"), StoreError, "grant the user rights"),
        (pg.UndefinedTable("lanes"), StoreError, "db upgrade"),
        (pg.TooManyConnections("sorry"), StoreError, "max_connections"),
        (pg.UniqueViolation("duplicate key"), StoreError, "nothing was written"),
        (pg.SerializationFailure("retry"), StoreBusy, "try again"),
        (pg.DeadlockDetected("retry"), StoreBusy, "try again"),
        (pg.LockNotAvailable("retry"), StoreBusy, "try again"),
        (pg.AdminShutdown("bye"), StoreBusy, "try again"),
        (pg.OperationalError("server closed the connection"), StoreBusy, "can be reached"),
        (OSError("disk I/O error"), StoreError, "disk or file system failed"),
        (OSError(errno.ENOSPC, "no space"), StoreError, "free space"),
        (PermissionError(errno.EACCES, "denied"), StoreError, "writable"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_failure_says_what_to_do(
    error: Exception, kind: type[StoreError], advice: str
) -> None:
    found = to_store_error(error, make_url("postgresql+psycopg://me:hunter2@host/db"))

    assert type(found) is kind
    assert advice in str(found)
    assert "host/db" in str(found)
    assert "hunter2" not in str(found)


async def test_version_errors_are_raised_before_anything_is_touched(
    store: SqlStore, database_url: str
) -> None:
    store.record(a_recording(1))
    await store.close()
    set_revision(database_url, "9999")

    with pytest.raises(StoreVersionError, match="schema 9999, which this program does not know"):
        await a_store(database_url).open()
    with pytest.raises(StoreVersionError, match="use the newer program"):
        migrate.prepare(database_url)
    with pytest.raises(StoreVersionError, match="use the newer program"):
        migrate.upgrade(database_url)

    assert migrate.current(database_url) == "9999"


async def test_an_older_schema_asks_for_an_upgrade(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("market_maker.adapters.store.schema.REVISIONS", ("0001", "0002"))

    with pytest.raises(StoreVersionError, match="run `market-maker db upgrade`"):
        await a_store(database_url).open()
    with pytest.raises(StoreVersionError, match="schema 0001 and this program needs 0002"):
        migrate.prepare(database_url)


def set_revision(url: str, revision: str) -> None:
    statement = f"UPDATE alembic_version SET version_num = '{revision}'"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(sqlite_path(parse_url(url)))) as connection:
            connection.execute(statement)
            connection.commit()
    else:
        with psycopg.connect(url) as server:
            server.execute(statement)


@ONLY_SQLITE
def test_dbos_opens_the_same_file_durably_with_room_for_every_lane(database_url: str) -> None:
    engine = dbos_engine(database_url, lanes=2)
    with engine.connect() as connection:
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2}
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}
    engine.dispose()

    assert found == wanted
    assert engine.pool.size() == 14  # type: ignore[attr-defined]  # a QueuePool
    keys = dbos_database(database_url, lanes=2)
    assert keys.pop("system_database_engine").url == make_url(database_url)
    assert keys == {"system_database_url": database_url}


@pytest.mark.postgresql
def test_dbos_opens_postgresql_by_itself() -> None:
    url = "postgresql://me:secret@host/db"

    assert dbos_database(f"{url}", lanes=8) == {
        "system_database_url": url,
        "sys_db_pool_size": 20,
    }
    with pytest.raises(StoreError, match="by itself"):
        dbos_engine(url, lanes=8)
