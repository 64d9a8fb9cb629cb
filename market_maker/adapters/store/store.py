"""
The `Store` port on SQLite and PostgreSQL with the same code.

It only puts the parts together: `Recorder` (record), `LeaseKeeper` (one writer), `Registrar` (the
other writes) and `Reader` (everything that reads).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import ParamSpec, TypeVar

from market_maker.adapters.store.engines import BUSY_TIMEOUT, parse_url
from market_maker.adapters.store.errors import describe
from market_maker.adapters.store.lease import LeaseKeeper
from market_maker.adapters.store.readers import Reader
from market_maker.adapters.store.record import Recorder
from market_maker.adapters.store.schema import check_revision, require_database
from market_maker.adapters.store.writes import Registrar
from market_maker.domain.errors import StoreError
from market_maker.domain.order import Order
from market_maker.domain.symbol import Incident, SymbolState
from market_maker.ports.clock import Clock
from market_maker.ports.store import (
    CommandRow,
    JournalEntry,
    LaneRow,
    Lease,
    Record,
    Recording,
    SymbolRow,
)

P = ParamSpec("P")
T = TypeVar("T")


class SqlStore:
    """
    One bot's durable memory in a database that already has the schema (see `migrate.prepare`).

    `read_only` is for readers beside a running bot: every writing method raises `StoreError`.
    `busy_timeout` is how long one write waits for another writer before `StoreBusy`; keep it well
    below the lease's time to live.
    """

    def __init__(
        self,
        url: str,
        bot: str,
        clock: Clock,
        *,
        read_only: bool = False,
        busy_timeout: timedelta = BUSY_TIMEOUT,
    ) -> None:
        self._url = parse_url(url)
        self._bot = bot
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._is_read_only = read_only
        self._reader: Reader | None = None
        self._recorder: Recorder | None = None
        self._registrar: Registrar | None = None
        self._keeper: LeaseKeeper | None = None
        # One thread each: a renewal must never wait behind another write.
        self._lease_thread = ThreadPoolExecutor(1, thread_name_prefix="store-lease")
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")

    async def open(self) -> None:
        """
        Check that the database can be reached, has our schema and, unless read-only, lets us write.

        Creates nothing. Raises `StoreVersionError` for another schema and `StoreError` for a
        missing, empty, unreachable or read-only database, each with what to do.
        """
        require_database(self._url)
        timeout = self._busy_timeout
        self._reader = Reader(self._url, self._bot, busy_timeout=timeout)
        try:
            check_revision(await self._reader.find_revision(), describe(self._url))
            if self._is_read_only:
                return
            self._registrar = Registrar(self._url, self._bot, self._clock, busy_timeout=timeout)
            await self._write(self._registrar.check_writable)
            self._recorder = Recorder(self._url, self._bot, busy_timeout=timeout)
            self._keeper = LeaseKeeper(self._url, self._bot, self._clock, busy_timeout=timeout)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Release every connection and the liveness lock. Idempotent."""
        if self._keeper is not None:
            await self._lease(self._keeper.close)
        if self._registrar is not None:
            await self._write(self._registrar.close)
        if self._recorder is not None:
            await self._write(self._recorder.close)
        if self._reader is not None:
            await self._reader.close()
        self._keeper = self._registrar = self._recorder = self._reader = None

    # --- one writer ---

    async def acquire_lease(self, *, holder: str, ttl: timedelta) -> Lease:
        """Take the liveness lock and the lease, raising the token everywhere; or `LeaseHeld`."""
        keeper = self._opened(self._keeper)
        return await self._lease(keeper.acquire, holder=holder, ttl=ttl)

    async def renew_lease(self, lease: Lease, *, ttl: timedelta) -> Lease:
        """Extend our own lease; raises `Fenced` if the token moved on."""
        return await self._lease(self._opened(self._keeper).renew, lease, ttl=ttl)

    async def release_lease(self, lease: Lease) -> None:
        """Give the lease back so that the next start takes over at once."""
        await self._lease(self._opened(self._keeper).release, lease)

    # --- start ---

    async def register_settings(self, payload: Record) -> int:
        """Store the decision settings unless equal to the newest; return their version number."""
        return await self._write(self._opened(self._registrar).register_settings, payload)

    async def find_newest_settings(self) -> Record | None:
        """The payload of the newest settings version; None in a new database."""
        return await self._opened(self._reader).find_newest_settings()

    async def load_settings(self, version: int) -> Record:
        """The payload of one settings version."""
        return await self._opened(self._reader).load_settings(version)

    async def ensure_lanes(self, lanes: int, *, token: int) -> tuple[LaneRow, ...]:
        """Create missing lane rows; return every row. Raises `Fenced` if the token is not ours."""
        return await self._write(self._opened(self._registrar).ensure_lanes, lanes, token=token)

    async def place_symbols(self, rows: Sequence[SymbolRow]) -> None:
        """Store which lane hosts which symbol; symbols not named are marked unconfigured."""
        await self._write(self._opened(self._registrar).place_symbols, rows)

    async def load_symbol_rows(self) -> tuple[SymbolRow, ...]:
        """Every symbol this bot has ever had."""
        return await self._opened(self._reader).load_symbol_rows()

    async def load_symbol_state(self, symbol: str) -> SymbolState | None:
        """
        State as of the last recorded workflow; None for a symbol never recorded.

        Empty slots without post-only rejections are not in it: strategies drop them.
        """
        states = await self._opened(self._reader).load_symbol_states(symbol)
        return states[0] if states else None

    async def load_account(self, key: str) -> Record | None:
        """The account actor's recorded state under `key` (`Recording.account_key`)."""
        return await self._opened(self._reader).load_account(key)

    async def has_journal(self) -> bool:
        """Whether this bot has ever recorded anything."""
        return await self._opened(self._reader).has_journal()

    # --- the road of an update ---

    def record(self, recording: Recording) -> str:
        """
        Write one workflow's results and return its chain digest; callable from any thread.

        Repeating it after any failure is safe. Raises `Fenced`, `StoreBusy` (try again) or
        `StoreError` (nothing was written, or it was and a repetition will find it).
        """
        return self._opened(self._recorder).record(recording)

    async def load_orders(self, client_order_ids: Sequence[str]) -> tuple[Order, ...]:
        """Orders of any state by our ids, with their trade ids."""
        return await self._opened(self._reader).load_orders(client_order_ids)

    # --- operator commands ---

    async def add_command(self, row: CommandRow) -> None:
        """Queue a command; a command id that exists is left as it is."""
        await self._write(self._opened(self._registrar).add_command, row)

    async def take_commands(self) -> tuple[CommandRow, ...]:
        """Commands not yet done, oldest first; taking them twice is harmless."""
        waiting = await self._opened(self._reader).load_waiting_commands()
        new = [row.command_id for row in waiting if row.state == "new"]
        if new:
            await self._write(self._opened(self._registrar).mark_taken, new)
        return tuple(replace(row, state="taken") for row in waiting)

    async def finish_command(self, command_id: str, result: str) -> None:
        """Mark a command done; the first result stays."""
        await self._write(self._opened(self._registrar).finish_command, command_id, result)

    async def load_command(self, command_id: str) -> CommandRow | None:
        """One command with its state and result."""
        return await self._opened(self._reader).load_command(command_id)

    # --- read models ---

    async def fetch_lease(self) -> Lease | None:
        """The lease row as it stands; None if no process ever held it."""
        return await self._opened(self._reader).fetch_lease()

    async def fetch_lanes(self) -> tuple[LaneRow, ...]:
        """Every lane."""
        return await self._opened(self._reader).fetch_lanes()

    async def fetch_symbol_states(self) -> tuple[SymbolState, ...]:
        """The state of every symbol ever recorded, read as one snapshot."""
        return await self._opened(self._reader).load_symbol_states()

    async def fetch_orders(
        self, *, symbol: str = "", only_open: bool = False, limit: int = 0
    ) -> tuple[Order, ...]:
        """Orders newest first."""
        reader = self._opened(self._reader)
        return await reader.fetch_orders(symbol=symbol, only_open=only_open, limit=limit)

    async def fetch_fills(self, *, symbol: str = "", limit: int = 0) -> tuple[Record, ...]:
        """Fills newest first, as plain records with the fields of `Fill`; money is text."""
        return await self._opened(self._reader).fetch_fills(symbol=symbol, limit=limit)

    async def fetch_incidents(self, *, only_open: bool = True) -> tuple[Incident, ...]:
        """Incidents newest first."""
        return await self._opened(self._reader).fetch_incidents(only_open=only_open)

    async def fetch_journal(
        self, lane: int, *, after_sequence: int = 0, limit: int = 0
    ) -> tuple[tuple[JournalEntry, str], ...]:
        """A lane's journal rows in order, each with its chain digest."""
        reader = self._opened(self._reader)
        return await reader.fetch_journal(lane, after_sequence=after_sequence, limit=limit)

    async def sum_ledger(self, symbol: str = "") -> Mapping[tuple[str, str], Decimal]:
        """Sums by (account, asset), added exactly in Python."""
        return await self._opened(self._reader).sum_ledger(symbol)

    async def counts(self) -> Mapping[str, int]:
        """Numbers of rows by table name: orders, fills, ledger, journal, incidents, commands."""
        return await self._opened(self._reader).counts()

    # --- private ---

    def _opened(self, part: T | None) -> T:
        if part is not None:
            return part
        if self._reader is not None and self._is_read_only:
            raise StoreError(f"database {describe(self._url)} was opened for reading only")
        raise StoreError(f"database {describe(self._url)} is not open")

    async def _lease(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lease_thread, lambda: work(*args, **kwargs))

    async def _write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._write_thread, lambda: work(*args, **kwargs))
