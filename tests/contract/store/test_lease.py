"""One writer: real second processes, killed and frozen."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from market_maker.adapters.store.engines import parse_url, reader_engine, sqlite_path
from market_maker.adapters.store.tables import leases
from market_maker.domain.errors import Fenced, LeaseHeld, StoreBusy
from tests.contract.store.conftest import OpenStore
from tests.store_builders import BOT, FakeClock, a_recording, a_status_change

ROOT = Path(__file__).parents[3]
TTL = timedelta(minutes=10)


class Holder:
    """The other process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.token = int(self.hear().removeprefix("held "))

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


StartHolder = Callable[..., Holder]


@pytest.fixture
def clock() -> FakeClock:
    """The holders live by the real clock, so ours starts there."""
    return FakeClock(datetime.now(UTC))  # the test's own clock must agree with another process


@pytest.fixture
def start_holder(database_url: str) -> Iterator[StartHolder]:
    """Starts processes that hold a lease; ends them with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(bot: str = BOT) -> Holder:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.contract.store.lease_holder",
                database_url,
                bot,
                f"{TTL.total_seconds()}",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return Holder(process)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


async def test_the_first_lease_has_token_one(open_store: OpenStore, clock: FakeClock) -> None:
    store = await open_store()
    assert await store.fetch_lease() is None

    lease = await store.acquire_lease(holder="me", ttl=TTL)

    assert (lease.bot, lease.holder, lease.token) == (BOT, "me", 1)
    assert lease.expires_at == clock.now() + TTL
    assert await store.fetch_lease() == lease


async def test_a_live_holder_is_left_alone_and_named(
    open_store: OpenStore, start_holder: StartHolder
) -> None:
    holder = start_holder()
    store = await open_store()

    with pytest.raises(LeaseHeld, match=f"held by {BOT}-holder with token 1 until 20"):
        await store.acquire_lease(holder="me", ttl=TTL)

    assert holder.ask("renew") == "ok"
    assert holder.ask("record 1") == "ok"


async def test_a_restart_right_after_sigkill_takes_over_before_the_lease_expires(
    open_store: OpenStore, start_holder: StartHolder
) -> None:
    holder = start_holder()
    assert holder.ask("record 1") == "ok"
    store = await open_store()

    holder.kill()
    lease = await store.acquire_lease(holder="me", ttl=TTL)

    assert lease.token == 2
    assert [(lane.sequence, lane.token) for lane in await store.fetch_lanes()] == [(1, 2)]
    store.record(a_recording(2, a_status_change(2), token=2))


async def test_each_of_many_restarts_raises_the_token(start_holder: StartHolder) -> None:
    for token in (1, 2, 3):
        holder = start_holder()
        assert holder.token == token
        holder.kill()


async def test_a_frozen_holder_keeps_its_lease_until_it_expires(
    open_store: OpenStore, start_holder: StartHolder, clock: FakeClock
) -> None:
    holder = start_holder()
    holder.freeze()
    store = await open_store()

    clock.advance(TTL / 2)
    with pytest.raises(LeaseHeld):
        await store.acquire_lease(holder="me", ttl=TTL)
    clock.advance(TTL)
    lease = await store.acquire_lease(holder="me", ttl=TTL)

    assert lease.token == 2


async def test_a_frozen_holder_that_wakes_up_is_fenced(
    open_store: OpenStore, start_holder: StartHolder, clock: FakeClock
) -> None:
    holder = start_holder()
    assert holder.ask("record 1") == "ok"
    holder.freeze()
    holder.say("record 2")
    store = await open_store()
    clock.advance(2 * TTL)
    lease = await store.acquire_lease(holder="me", ttl=TTL)

    holder.thaw()

    assert holder.hear() == "fenced"
    assert holder.ask("renew") == "fenced"
    assert holder.ask("record 1") == "ok"  # its own commit, found again; nothing is written
    assert (await store.counts())["journal"] == 1
    await store.renew_lease(lease, ttl=TTL)
    store.record(a_recording(2, a_status_change(2), token=2))


async def test_whoever_took_over_from_a_frozen_holder_is_protected_like_any_other(
    open_store: OpenStore, start_holder: StartHolder, clock: FakeClock
) -> None:
    """The old lock dies with the frozen holder; the new lease has a lock of its own."""
    frozen = start_holder()
    frozen.freeze()
    second = await open_store()
    third = await open_store()
    clock.advance(2 * TTL)
    await second.acquire_lease(holder="second", ttl=TTL)

    frozen.kill()
    with pytest.raises(LeaseHeld, match="held by second with token 2"):
        await third.acquire_lease(holder="third", ttl=TTL)
    await second.close()
    lease = await third.acquire_lease(holder="third", ttl=TTL)

    assert lease.token == 3


async def test_a_released_lease_is_free_at_once(open_store: OpenStore, clock: FakeClock) -> None:
    first = await open_store()
    second = await open_store()
    lease = await first.acquire_lease(holder="first", ttl=TTL)

    await first.release_lease(lease)
    taken = await second.acquire_lease(holder="second", ttl=TTL)

    assert taken.token == 2
    with pytest.raises(Fenced, match="took the lease 1 over"):
        await first.renew_lease(lease, ttl=TTL)
    await first.release_lease(lease)  # too late, and harmless
    await second.renew_lease(taken, ttl=TTL)


async def test_a_released_lease_shows_as_expired(open_store: OpenStore, clock: FakeClock) -> None:
    store = await open_store()
    await store.release_lease(await store.acquire_lease(holder="me", ttl=TTL))

    lease = await store.fetch_lease()

    assert lease is not None
    assert lease.expires_at == clock.now()


async def test_renewing_extends_and_keeps_the_token(
    open_store: OpenStore, clock: FakeClock
) -> None:
    store = await open_store()
    lease = await store.acquire_lease(holder="me", ttl=TTL)

    clock.advance(TTL / 2)
    renewed = await store.renew_lease(lease, ttl=TTL)

    assert (renewed.token, renewed.expires_at) == (1, clock.now() + TTL)
    assert await store.fetch_lease() == renewed


async def test_lanes_need_the_present_token(open_store: OpenStore) -> None:
    store = await open_store()
    lease = await store.acquire_lease(holder="me", ttl=TTL)

    with pytest.raises(Fenced, match="the lease has token 1 and this process has 2"):
        await store.ensure_lanes(1, token=2)

    rows = await store.ensure_lanes(1, token=lease.token)
    assert [(row.lane, row.sequence, row.token, row.now) for row in rows] == [(0, 0, 1, None)]
    assert len(await store.ensure_lanes(3, token=lease.token)) == 3
    assert len(await store.ensure_lanes(2, token=lease.token)) == 3


async def test_two_bots_in_one_database_do_not_disturb_each_other(
    open_store: OpenStore, start_holder: StartHolder, database_url: str
) -> None:
    other = start_holder("bot-b")
    assert other.ask("record 1") == "ok"
    store = await open_store()

    lease = await store.acquire_lease(holder="me", ttl=TTL)
    await store.ensure_lanes(2, token=lease.token)

    store.record(a_recording(1, a_status_change(1)))
    assert other.ask("renew") == "ok"
    assert other.ask("record 2") == "ok"
    assert [lane.sequence for lane in await store.fetch_lanes()] == [1, 0]
    assert (await store.counts())["journal"] == 1
    assert lock_generations(database_url) == [0, 0]  # neither met the other's lock


@pytest.mark.parametrize("database_kind", ["postgresql"])
async def test_a_lost_lease_connection_is_made_again_with_its_lock(
    open_store: OpenStore, database_url: str
) -> None:
    """The server drops the lock with the session; the next renewal takes both again."""
    store = await open_store()
    other = await open_store()
    lease = await store.acquire_lease(holder="me", ttl=TTL)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    with pytest.raises(StoreBusy):
        await store.renew_lease(lease, ttl=TTL)
    renewed = await store.renew_lease(lease, ttl=TTL)

    with pytest.raises(LeaseHeld):
        await other.acquire_lease(holder="other", ttl=TTL)
    await store.renew_lease(renewed, ttl=TTL)


def lock_generations(url: str) -> list[int]:
    engine = reader_engine(parse_url(url))
    with engine.connect() as connection:
        found = list(connection.execute(select(leases.c.lock_generation)).scalars())
    engine.dispose()
    return found


@contextmanager
def an_open_write_transaction(url: str) -> Iterator[None]:
    path = sqlite_path(parse_url(url))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_process_frozen_inside_a_write_transaction_makes_sqlite_busy(
    open_store: OpenStore, database_url: str
) -> None:
    """Known limit: nobody can take over until that process is killed."""
    store = await open_store(busy_timeout=timedelta(milliseconds=10))

    with an_open_write_transaction(database_url), pytest.raises(StoreBusy):
        await store.acquire_lease(holder="me", ttl=TTL)

    assert (await store.acquire_lease(holder="me", ttl=TTL)).token == 1
