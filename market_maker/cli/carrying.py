"""
How an operator's command is carried out, by a bot that runs or by this process.

A command is a row in the database first. A bot that runs takes it from there as a journaled update.
If none does, this process becomes the bot for as long as the command takes: the same engine, the
same lease, but nothing is quoted.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

from market_maker.cli.output import write_note
from market_maker.config.settings import Settings
from market_maker.domain.errors import LeaseHeld, StoreError
from market_maker.engine.deciding import commands
from market_maker.engine.settings import Stop
from market_maker.ports.store import CommandRow, Store

POLL: Final = timedelta(milliseconds=100)
# A running bot takes commands several times a second; after this long without it, none runs.
TAKEN_WITHIN: Final = timedelta(seconds=3)
# Lifetimes pass, unknown orders are settled and the venue is asked again within this.
OWN_RUN_MAX: Final = timedelta(minutes=2)
CANCELING: Final = (commands.CANCEL_ALL, commands.KILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A command as it stands, who carried it out, and what of ours is still alive."""

    row: CommandRow
    carried_out_by: str
    open_order_count: int

    @property
    def is_complete(self) -> bool:
        """Whether it is done and, if it cancels, nothing of ours is left."""
        is_gone = self.row.name not in CANCELING or self.open_order_count == 0
        return self.row.state == "done" and is_gone


def carry_out(settings: Settings, row: CommandRow, *, wait: timedelta) -> Outcome:
    """Queue the command and wait for the running bot; if there is none, do its work here."""
    outcome, is_bot_expected = asyncio.run(_queue_and_wait(settings, row, wait))
    if outcome.row.state != "new":
        return outcome
    if not is_bot_expected or wait:
        try:
            return _carry_out_here(settings, outcome.row)
        except LeaseHeld:
            # It lives, but has not come to its commands yet: it may be starting.
            write_note("a bot holds the lease and has not taken the command yet; still waiting")
    return asyncio.run(_wait_more(settings, outcome.row, wait))


async def _queue_and_wait(
    settings: Settings, row: CommandRow, wait: timedelta
) -> tuple[Outcome, bool]:
    """The command after the first wait, and whether the lease says that a bot runs."""
    from market_maker import bootstrap

    store = await bootstrap.open_store(settings, read_only=False)
    try:
        await store.add_command(row)
        stored = await _load(store, row.command_id)
        _check_same(stored, row)
        lease = await store.fetch_lease()
        is_bot_expected = lease is not None and lease.expires_at > datetime.now(UTC)
        if stored.state == "done":
            return Outcome(
                row=stored,
                carried_out_by="an earlier call",
                open_order_count=await _count_open(store, row.symbol),
            ), is_bot_expected
        if is_bot_expected:
            stored = await _wait_while(store, stored, {"new"}, min(wait, TAKEN_WITHIN))
            if stored.state != "new":
                return await _wait_for_end(store, stored, wait), True
        return Outcome(row=stored, carried_out_by="", open_order_count=0), is_bot_expected
    finally:
        await store.close()


async def _wait_more(settings: Settings, row: CommandRow, wait: timedelta) -> Outcome:
    from market_maker import bootstrap

    store = await bootstrap.open_store(settings, read_only=True)
    try:
        return await _wait_for_end(store, row, wait)
    finally:
        await store.close()


async def _wait_for_end(store: Store, row: CommandRow, wait: timedelta) -> Outcome:
    """Wait until the running bot is done and, if it cancels, until nothing of ours is left."""
    row = await _wait_while(store, row, {"new", "taken"}, wait)
    left = await _count_open(store, row.symbol)
    deadline = asyncio.get_running_loop().time() + wait.total_seconds()
    while row.state == "done" and row.name in CANCELING and left:
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(POLL.total_seconds())
        left = await _count_open(store, row.symbol)
    by = "the running bot" if row.state == "done" else ""
    return Outcome(row=row, carried_out_by=by, open_order_count=left)


async def _wait_while(
    store: Store, row: CommandRow, states: set[str], wait: timedelta
) -> CommandRow:
    deadline = asyncio.get_running_loop().time() + wait.total_seconds()
    while row.state in states and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL.total_seconds())
        row = await _load(store, row.command_id)
    return row


def _carry_out_here(settings: Settings, row: CommandRow) -> Outcome:
    """Be the bot until the command is done; raises `LeaseHeld` if another one lives."""
    from market_maker.cli.run import run_until_stopped

    write_note("no bot is running: carrying the command out here")
    run_until_stopped(
        settings,
        Stop(
            after=OWN_RUN_MAX,
            command_id=row.command_id,
            symbol=row.symbol,
            when_no_own_orders=row.name in CANCELING,
        ),
        is_quiet=True,
    )
    return asyncio.run(_look_after(settings, row))


async def _look_after(settings: Settings, row: CommandRow) -> Outcome:
    from market_maker import bootstrap

    store = await bootstrap.open_store(settings, read_only=True)
    try:
        return Outcome(
            row=await _load(store, row.command_id),
            carried_out_by="this command",
            open_order_count=await _count_open(store, row.symbol),
        )
    finally:
        await store.close()


async def _load(store: Store, command_id: str) -> CommandRow:
    row = await store.load_command(command_id)
    if row is None:
        raise StoreError(f"command {command_id} was written but is not in the database any more")
    return row


async def _count_open(store: Store, symbol: str) -> int:
    return len(await store.fetch_orders(symbol=symbol, only_open=True))


def _check_same(stored: CommandRow, asked: CommandRow) -> None:
    same = ("name", "symbol", "argument")
    if any(getattr(stored, name) != getattr(asked, name) for name in same):
        said = " ".join(filter(None, (stored.name, stored.symbol, stored.argument)))
        raise typer.BadParameter(
            f"--command-id {asked.command_id} was used before for {said}; choose another id"
        )
