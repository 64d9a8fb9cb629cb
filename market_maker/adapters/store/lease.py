"""
The right to write: a liveness lock and a lease row, taken together in one transaction.

| lock of the row's generation | lease row      | then                                          |
|------------------------------|----------------|-----------------------------------------------|
| free                         | whatever       | take over at once, token + 1                  |
| held                         | not expired    | LeaseHeld                                     |
| held                         | expired        | frozen holder: next generation, token + 1     |

A takeover raises the token in every lane row in the same transaction, so a holder that wakes up is
stopped by its next compare-and-set. A process frozen *inside* an SQLite write transaction blocks
every writer until it is killed; on PostgreSQL the server ends such a transaction.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Final

from sqlalchemy import URL, Connection, RowMapping, select, update
from sqlalchemy.dialects import postgresql, sqlite

from market_maker.adapters.store.engines import (
    BUSY_TIMEOUT,
    is_sqlite,
    sqlite_path,
    writer_engine,
)
from market_maker.adapters.store.errors import translated_errors
from market_maker.adapters.store.liveness import AdvisoryLock, FileLock
from market_maker.adapters.store.tables import lanes, leases
from market_maker.domain.errors import Fenced, LeaseHeld
from market_maker.ports.clock import Clock
from market_maker.ports.store import Lease

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LeaseKeeper:
    """
    Takes, renews and gives back the lease of one bot on a connection of its own.

    Synchronous and thread-safe; the store runs it in a thread that nothing else uses, so that a
    renewal never waits behind other work.
    """

    def __init__(
        self, url: URL, bot: str, clock: Clock, *, busy_timeout: timedelta = BUSY_TIMEOUT
    ) -> None:
        self._url = url
        self._bot = bot
        self._clock = clock
        self._engine = writer_engine(url, busy_timeout=busy_timeout)
        self._lock: FileLock | AdvisoryLock = (
            FileLock(sqlite_path(url), bot) if is_sqlite(url) else AdvisoryLock(bot)
        )
        self._is_locked = False
        self._connection: Connection | None = None
        self._mutex = Lock()

    def acquire(self, *, holder: str, ttl: timedelta) -> Lease:
        """Take the lock and the lease row; see the table above. Raises `LeaseHeld`."""
        try:
            with self._transaction() as connection:
                return self._acquire(connection, holder, ttl)
        except BaseException:
            self._let_go()
            raise

    def renew(self, lease: Lease, *, ttl: timedelta) -> Lease:
        """Extend the lease if it is still ours; raises `Fenced`."""
        with self._transaction() as connection:
            renewed = replace(lease, expires_at=self._clock.now() + ttl)
            generation = connection.execute(
                update(leases)
                .where(leases.c.bot == self._bot, leases.c.token == lease.token)
                .values(expires_at=renewed.expires_at)
                .returning(leases.c.lock_generation)
            ).scalar()
            if generation is None:
                raise Fenced(f"bot {self._bot}: another process took the lease {lease.token} over")
            if not self._is_locked:
                # Our server session was lost; until the server notices, the old one has the lock.
                self._is_locked = self._lock.try_lock(connection, generation)
            return renewed

    def release(self, lease: Lease) -> None:
        """Let the lease end now and drop the lock; harmless if it is no longer ours."""
        with self._transaction() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.bot == self._bot, leases.c.token == lease.token)
                .values(expires_at=self._clock.now())
            )
        self._let_go()

    def close(self) -> None:
        """Drop the lock and the connection; the lease row stays as it is."""
        self._let_go()
        with self._mutex:
            self._drop_connection()
        self._engine.dispose()

    def _acquire(self, connection: Connection, holder: str, ttl: timedelta) -> Lease:
        row = self._claim_row(connection)
        now = self._clock.now()
        generation = row["lock_generation"]
        while not self._lock.try_lock(connection, generation):
            if row["expires_at"] > now:
                raise LeaseHeld(
                    f"bot {self._bot}: held by {row['holder']} with token {row['token']} until "
                    f"{row['expires_at'].isoformat()}; stop that process first"
                )
            generation += 1
        self._is_locked = True
        lease = Lease(bot=self._bot, holder=holder, token=row["token"] + 1, expires_at=now + ttl)
        connection.execute(
            update(leases)
            .where(leases.c.bot == self._bot)
            .values(
                holder=holder,
                token=lease.token,
                lock_generation=generation,
                expires_at=lease.expires_at,
            )
        )
        connection.execute(update(lanes).where(lanes.c.bot == self._bot).values(token=lease.token))
        return lease

    def _claim_row(self, connection: Connection) -> RowMapping:
        """The lease row, locked against every other taker; made if this bot never had one."""
        insert: Any = sqlite.insert if is_sqlite(self._url) else postgresql.insert
        connection.execute(
            insert(leases)
            .values(bot=self._bot, holder="", token=0, lock_generation=0, expires_at=_NEVER)
            .on_conflict_do_nothing()
        )
        statement = select(leases).where(leases.c.bot == self._bot).with_for_update()
        return connection.execute(statement).mappings().one()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._mutex, translated_errors(self._url):
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                with self._connection.begin():
                    yield self._connection
            except (Fenced, LeaseHeld):
                raise
            except BaseException:
                self._drop_connection()
                raise

    def _drop_connection(self) -> None:
        """A new connection is a new server session, which does not have the advisory lock."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
        if isinstance(self._lock, AdvisoryLock):
            self._lock.forget()
            self._is_locked = False

    def _let_go(self) -> None:
        with self._mutex:
            if isinstance(self._lock, AdvisoryLock):
                # Ending the session is the one way that also works on a broken connection.
                self._drop_connection()
            else:
                self._lock.unlock()
                self._is_locked = False
