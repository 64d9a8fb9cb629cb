"""Operator commands: taken by a bot that runs, or carried out here."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from market_maker.adapters.store.store import SqlStore
from market_maker.cli import carrying, run
from market_maker.domain.errors import LeaseHeld
from market_maker.engine.settings import Stop
from tests.unit.cli.conftest import Desk

InStore = Callable[[Callable[[SqlStore], Any]], Any]


@contextmanager
def a_bot_that_takes_commands(desk: Desk) -> Iterator[None]:
    """Somebody else marks every command as done."""
    ended = threading.Event()

    async def work() -> None:
        store = desk.store()
        await store.open()
        while not ended.is_set():
            for row in await store.take_commands():
                await store.finish_command(row.command_id, "done")
            await asyncio.sleep(0.02)
        await store.close()

    bot = threading.Thread(target=lambda: asyncio.run(work()))
    bot.start()
    yield
    ended.set()
    bot.join()


@pytest.fixture
def own_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[Stop]:
    """Runs that the command line starts by itself; each finishes its command."""
    runs: list[Stop] = []

    def carry_out(_settings: object, stop: Stop, **_: object) -> None:
        runs.append(stop)

        async def finish() -> None:
            store = desk.store()
            await store.open()
            await store.finish_command(stop.command_id, "done")
            await store.close()

        asyncio.run(finish())

    monkeypatch.setattr(run, "run_until_stopped", carry_out)
    return runs


def test_running_bot_takes_the_command(live_desk: Desk, own_runs: list[Stop]) -> None:
    with a_bot_that_takes_commands(live_desk):
        result = live_desk.run("pause", "--json")

    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["name"], answer["state"]) == ("pause", "done")
    assert answer["carried_out_by"] == "the running bot"
    assert own_runs == []


def test_command_without_a_bot_is_carried_out_here(desk: Desk, own_runs: list[Stop]) -> None:
    result = desk.run("pause", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["carried_out_by"] == "this command"
    (stop,) = own_runs
    assert not stop.when_no_own_orders
    assert stop.after == carrying.OWN_RUN_MAX


def test_cancel_all_is_not_done_while_an_own_order_is_open(
    desk: Desk, own_runs: list[Stop]
) -> None:
    result = desk.run("cancel-all", "--yes", "--json")

    assert own_runs[0].when_no_own_orders
    assert result.exit_code == 1
    assert json.loads(result.stdout)["open_order_count"] == 1


def test_lease_of_a_killed_bot_does_not_stop_the_command(
    live_desk: Desk, own_runs: list[Stop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "TAKEN_WITHIN", timedelta(milliseconds=50))

    result = live_desk.run("resume")

    assert result.exit_code == 0
    assert len(own_runs) == 1


def test_command_that_nobody_takes_stays_queued(
    live_desk: Desk, in_store: InStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LeaseHeld("alive")

    monkeypatch.setattr(carrying, "TAKEN_WITHIN", timedelta(milliseconds=50))
    monkeypatch.setattr(run, "run_until_stopped", refuse)

    result = live_desk.run("pause", "--wait", "100ms", "--command-id", "c1")

    assert result.exit_code == 1
    assert "c1" in result.stderr
    assert in_store(lambda store: store.load_command("c1")).state == "new"


def test_command_id_is_carried_out_once(desk: Desk, own_runs: list[Stop]) -> None:
    first = desk.run("pause", "--command-id", "c1")
    second = desk.run("pause", "--command-id", "c1", "--json")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert json.loads(second.stdout)["carried_out_by"] == "an earlier call"
    assert len(own_runs) == 1


def test_command_id_of_another_command_is_refused(desk: Desk, own_runs: list[Stop]) -> None:
    desk.run("pause", "--command-id", "c1")

    result = desk.run("resume", "--command-id", "c1")

    assert result.exit_code == 2
    assert len(own_runs) == 1


@pytest.mark.parametrize(
    "command",
    [["cancel-all"], ["kill"], ["incidents", "flatten", "inc-1"], ["incidents", "adopt", "inc-1"]],
    ids=" ".join,
)
def test_destructive_command_asks_first(
    desk: Desk, own_runs: list[Stop], command: list[str]
) -> None:
    result = desk.run(*command, answer="n\n")

    assert result.exit_code == 1
    assert own_runs == []


def test_incident_is_settled_on_its_symbol(
    desk: Desk, own_runs: list[Stop], in_store: InStore
) -> None:
    result = desk.run("incidents", "adopt", "inc-1", "--yes", "--command-id", "c1")

    row = in_store(lambda store: store.load_command("c1"))
    assert result.exit_code == 0
    assert (row.name, row.symbol, row.argument) == ("adopt", "BTC/USDT", "inc-1")
    assert len(own_runs) == 1


def test_unknown_incident_names_the_nearest(desk: Desk) -> None:
    result = desk.run("incidents", "ignore", "inc-2")

    assert result.exit_code == 2
    assert "inc-1" in result.stderr


def test_unknown_symbol_is_refused(desk: Desk) -> None:
    result = desk.run("pause", "--symbol", "ETH/USDT")

    assert result.exit_code == 2
    assert "BTC/USDT" in result.stderr
