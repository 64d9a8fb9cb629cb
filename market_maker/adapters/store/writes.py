"""What is written outside `record`: settings, lanes, placement of symbols, commands."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import URL, Connection, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from market_maker.adapters.store.engines import BUSY_TIMEOUT, is_sqlite, writer_engine
from market_maker.adapters.store.errors import describe, translated_errors
from market_maker.adapters.store.rows import to_json, to_lane, to_rows
from market_maker.adapters.store.tables import commands, lanes, leases, settings_versions, symbols
from market_maker.domain.errors import Fenced, StoreError
from market_maker.ports.clock import Clock
from market_maker.ports.store import CommandRow, LaneRow, Record, SymbolRow


class Registrar:
    """Writes one bot's slow-moving rows, each call in one transaction."""

    def __init__(
        self, url: URL, bot: str, clock: Clock, *, busy_timeout: timedelta = BUSY_TIMEOUT
    ) -> None:
        self._url = url
        self._bot = bot
        self._clock = clock
        self._engine = writer_engine(url, busy_timeout=busy_timeout)
        self._insert: Any = sqlite.insert if is_sqlite(url) else postgresql.insert

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def check_writable(self) -> None:
        """Raise `StoreError` if the database only lets us read."""
        with translated_errors(self._url), self._engine.begin() as connection:
            if is_sqlite(self._url):
                # BEGIN IMMEDIATE has just succeeded; some network file systems refuse WAL silently.
                mode = connection.execute(text("PRAGMA journal_mode")).scalar()
                if mode != "wal":
                    raise StoreError(
                        f"database {describe(self._url)}: its file system does not support WAL "
                        f"(journal mode is {mode}); move the file to a local disk"
                    )
                return
            if connection.execute(text("SHOW transaction_read_only")).scalar() == "on":
                raise StoreError(
                    f"database {describe(self._url)} is read-only; connect to the primary server, "
                    "or grant writing"
                )

    def register_settings(self, payload: Record) -> int:
        """Store the settings unless equal to the newest version; return the version number."""
        wanted = to_json(payload)
        with translated_errors(self._url), self._engine.begin() as connection:
            newest = connection.execute(
                select(settings_versions.c.version, settings_versions.c.payload)
                .where(settings_versions.c.bot == self._bot)
                .order_by(settings_versions.c.version.desc())
                .limit(1)
            ).one_or_none()
            if newest is not None and newest.payload == wanted:
                return int(newest.version)
            version = 1 if newest is None else newest.version + 1
            connection.execute(
                settings_versions.insert().values(
                    bot=self._bot, version=version, created_at=self._clock.now(), payload=wanted
                )
            )
            return int(version)

    def ensure_lanes(self, count: int, *, token: int) -> tuple[LaneRow, ...]:
        """Create the missing lanes 0 … count−1 and return every lane; raises `Fenced`."""
        with translated_errors(self._url), self._engine.begin() as connection:
            self._check_token(connection, token)
            for lane in range(count):
                connection.execute(
                    self._insert(lanes)
                    .values(bot=self._bot, lane=lane, sequence=0, token=token)
                    .on_conflict_do_nothing()
                )
            found = connection.execute(
                select(lanes).where(lanes.c.bot == self._bot).order_by(lanes.c.lane)
            )
            return tuple(to_lane(row) for row in to_rows(found))

    def place_symbols(self, placed: Sequence[SymbolRow]) -> None:
        """Store which lane hosts which symbol; all others become unconfigured."""
        with translated_errors(self._url), self._engine.begin() as connection:
            connection.execute(
                update(symbols).where(symbols.c.bot == self._bot).values(is_configured=False)
            )
            for row in placed:
                facts = {
                    "lane": row.lane,
                    "strategy": row.strategy,
                    "is_configured": row.is_configured,
                }
                connection.execute(
                    self._insert(symbols)
                    .values(bot=self._bot, symbol=row.symbol, **facts)
                    .on_conflict_do_update(index_elements=["bot", "symbol"], set_=facts)
                )

    def add_command(self, row: CommandRow) -> None:
        """Queue a command; one whose id exists is left as it is."""
        with translated_errors(self._url), self._engine.begin() as connection:
            connection.execute(
                self._insert(commands)
                .values(
                    bot=self._bot,
                    command_id=row.command_id,
                    name=row.name,
                    symbol=row.symbol,
                    argument=row.argument,
                    state=row.state,
                    is_done=row.state == "done",
                    created_at=row.created_at,
                    result=row.result,
                )
                .on_conflict_do_nothing()
            )

    def mark_taken(self, command_ids: Sequence[str]) -> None:
        """Move these commands from new to taken."""
        with translated_errors(self._url), self._engine.begin() as connection:
            connection.execute(
                update(commands)
                .where(
                    commands.c.bot == self._bot,
                    commands.c.command_id.in_(command_ids),
                    commands.c.state == "new",
                )
                .values(state="taken")
            )

    def finish_command(self, command_id: str, result: str) -> None:
        """Mark a command done; the first result stays."""
        with translated_errors(self._url), self._engine.begin() as connection:
            connection.execute(
                update(commands)
                .where(
                    commands.c.bot == self._bot,
                    commands.c.command_id == command_id,
                    ~commands.c.is_done,
                )
                .values(state="done", is_done=True, result=result)
            )

    def _check_token(self, connection: Connection, token: int) -> None:
        statement = select(leases.c.token).where(leases.c.bot == self._bot).with_for_update()
        present = connection.execute(statement).scalar()
        if present != token:
            raise Fenced(
                f"bot {self._bot}: the lease has token {present} and this process has {token}"
            )
