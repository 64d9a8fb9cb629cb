"""
Killed, or failing, at every boundary of the durable road; restarted and held against the venue.

Each test is one bot's life: a route of crashes, each in a new process on the same files, and in
between what must hold at any instant. At the end the bot settles and everything is compared.
`name:nth` is the nth passage of a failpoint; the first passages are the start's, later ones trade.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from datetime import UTC, datetime

import psycopg
import pytest

from market_maker.adapters.store.engines import parse_url
from tests.e2e.conftest import MakeBot
from tests.e2e.harness import (
    BTC,
    CRASHED,
    ETH,
    FENCED,
    KILLED,
    Bot,
    Json,
    check,
    check_so_far,
    eventually,
    rows,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

START = (
    "start.lease_held",
    "start.launched",
    "start.recovered",
    "reconcile.begin",
    "reconcile.read",
)
JOURNAL = (
    "lane.before_journal",
    "workflow.input_journaled",
    "decide.begin",
    "workflow.after_decide",
)
PLACE = (
    "place.begin",
    "place.before_send",
    "place.among_sends",
    "place.after_sends",
    "place.end",
    "workflow.after_place",
)
RECORD = (
    "record.begin",
    "record.inside",
    "record.committed",
    "record.before_checkpoint",
    "workflow.before_outcome",
)
# A head is left with orders in flight, and those who come to finish it die as well.
RECOVERY = (
    "place.among_sends:2",
    "recovery.begin",
    "place.reentry",
    "workflow.after_place",
    "record.inside",
    "workflow.before_outcome",
    "workflow.input_journaled:9",
    "decide.begin",
    "workflow.after_decide",
    "recovery.end",
)
SETTLE = ("settle.begin", "settle.answered", "settle.begin:4", "settle.answered:3")
VENUE = (
    "venue.before_commit",
    "venue.after_commit_before_ack",
    "venue.before_commit_fills",
    "venue.after_commit_before_tell",
)
on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
UNSURE = {"seed": 3, "answer_lost_ratio": "0.2", "request_lost_ratio": "0.1"}

ROUTES = {
    "start": (*START, "reconcile.begin:4", "reconcile.read:4"),
    "journal": (*JOURNAL, "workflow.input_journaled:9", "workflow.after_decide:9"),
    "place": (*PLACE, "place.before_send:5", "place.among_sends:5", "workflow.after_place:5"),
    "record": (*RECORD, "record.inside:9", "record.committed:9", "workflow.before_outcome:9"),
    "recovery": RECOVERY,
    "settle": SETTLE,
    "venue": (*VENUE, "venue.after_commit_before_ack:9", "venue.after_commit_before_tell:5"),
}
ERROR_ROUTES = {
    "before the sends": (*START, *JOURNAL),
    "around the sends": (*PLACE, *RECORD),
    # An error inside the venue's own transaction is the venue's: it has a test below.
    "after the sends": (*RECOVERY, *SETTLE[:2], *VENUE[1:]),
}
# The road is the same on both databases; on a server, what touches it most is enough.
ON_BOTH = ("place", "record", "recovery")


def cases(names: Iterable[str], on_server: Iterable[str]) -> pytest.MarkDecorator:
    """Each route on SQLite, some on PostgreSQL."""
    pairs = [
        *(pytest.param("sqlite", name, id=f"sqlite-{name}") for name in names),
        *(
            pytest.param("postgresql", name, id=f"postgresql-{name}", marks=pytest.mark.postgresql)
            for name in on_server
        ),
    ]
    return pytest.mark.parametrize(("database_kind", "name"), pairs, indirect=["database_kind"])


def arm(passage: str, action: str) -> str:
    """`name` or `name:nth` as the environment variable wants it."""
    name, _, nth = passage.partition(":")
    return f"{name}:{action}:{nth or 1}"


def live(bot: Bot, route: tuple[str, ...], action: str) -> None:
    """One process for each crash of the route."""
    for passage in route:
        process = bot.start(failpoint=arm(passage, action))
        # Before it quotes, an error ends `run` like any other command.
        errors = {1} if passage.startswith(("start.", "recovery.")) else {CRASHED}
        errors |= {1} if passage.startswith("venue.") else set()
        process.expect(*({KILLED} if action == "kill" else errors))
        if bot.has_venue:
            check_so_far(bot)


@cases(ROUTES, ON_BOTH)
def test_killed_at_a_boundary_the_next_process_loses_and_doubles_nothing(
    bot: Bot, name: str
) -> None:
    if name == "settle":
        bot.settings["venue"]["faults"] = UNSURE

    live(bot, ROUTES[name], "kill")
    bot.settle()

    audit = check(bot, label=f"kill {name}")
    assert audit.counts["open"]


@cases(ERROR_ROUTES, ["around the sends"])
def test_an_error_at_a_boundary_ends_the_process_and_the_next_one_completes(
    bot: Bot, name: str
) -> None:
    if "settle.begin" in ERROR_ROUTES[name]:
        bot.settings["venue"]["faults"] = UNSURE

    live(bot, ERROR_ROUTES[name], "error")
    bot.settle()

    audit = check(bot, label=f"error {name}")
    assert audit.counts["open"]


@on_sqlite
def test_an_error_inside_the_venues_transaction_is_an_unknown_outcome_that_is_settled(
    bot: Bot,
) -> None:
    for nth in (1, 4):
        bot.run("--for", "2s", failpoint=f"venue.before_commit:error:{nth}")
    bot.settle()

    check(bot, label="error in the venue's transaction")


# --- real failures of the database ---


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Keep every other writer out."""
    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database), timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.rollback()
    else:
        with psycopg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        ) as server:
            server.execute("LOCK TABLE lanes, leases IN ACCESS EXCLUSIVE MODE")
            yield
            server.rollback()


@on_sqlite
def test_a_database_locked_for_a_moment_is_waited_for(bot: Bot) -> None:
    process = bot.start()
    bot.await_fills(2)
    with locked(bot.database_url):
        at = bot.fill_count()
        bot.until(lambda: bot.fill_count() > at, what="fills while the database is locked")
    sequences = bot.sequences()
    bot.until(lambda: bot.sequences() != sequences, what="progress after the lock")
    process.kill()
    bot.settle()

    check(bot, label="locked for a moment")


def test_a_database_locked_beyond_the_lease_ends_the_process_and_the_next_one_completes(
    bot: Bot,
) -> None:
    bot.settings["lease_ttl"] = "3s"
    process = bot.start()
    bot.await_fills(2)
    with locked(bot.database_url):
        process.expect(CRASHED, FENCED)
    bot.settings["lease_ttl"] = "10s"
    bot.settle()

    check(bot, label="locked for long")


@on_sqlite
def test_a_disk_that_refuses_writes_ends_the_process_and_the_next_one_completes(bot: Bot) -> None:
    process = bot.start()
    bot.await_fills(2)
    process.limit_file_size(8192)
    process.expect(CRASHED, FENCED)
    bot.settle()

    check(bot, label="disk I/O error")


# --- what an operator changes between kill and restart ---

CHANGES_AT = (
    "workflow.input_journaled:9",
    "workflow.after_decide:9",
    "place.after_sends:3",
    "workflow.after_place:3",
    "record.inside:9",
)


def with_interval(settings: Json, number: int) -> Json:
    for symbol in settings["symbols"]:
        symbol["strategy"] |= {
            "interval_bps": str(4 + number),
            "order_notional_quote": str(100 + 7 * number),
        }
    return settings


def with_lanes(settings: Json, number: int) -> Json:
    return settings | {"lanes_max": (1, 3, 2, 1, 4)[number]}


def with_symbols(settings: Json, number: int) -> Json:
    wanted = ((BTC,), (BTC, ETH), (ETH,), (ETH, BTC), (BTC,))[number]
    by_name = {symbol["symbol"]: symbol for symbol in settings["symbols"]}
    return settings | {"symbols": [by_name[name] for name in wanted]}


CHANGES = {"interval": with_interval, "lanes": with_lanes, "symbols": with_symbols}


@cases(CHANGES, ["lanes"])
def test_settings_changed_between_kill_and_restart_lose_nothing(bot: Bot, name: str) -> None:
    change, settings = CHANGES[name], bot.settings
    for number, passage in enumerate(CHANGES_AT):
        bot.start(settings=settings, failpoint=arm(passage, "kill")).expect(KILLED)
        check_so_far(bot)
        settings = change(deepcopy(bot.settings), number)
    bot.settle()

    check(bot, label=f"changed {name}")


# --- commands ---


def add_command(bot: Bot, command_id: str, name: str) -> None:
    """Write a command as the command line does, with nobody there to take it."""
    url = parse_url(bot.database_url)
    statement = (
        "INSERT INTO commands (bot, command_id, name, symbol, argument, state, is_done,"
        " created_at, result) "
        "VALUES ({}, {}, {}, '', '', 'new', false, {}, '')"
    )
    values = (bot.name, command_id, name, datetime.now(UTC).isoformat())
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database), timeout=30)) as connection:
            connection.execute(statement.format(*"????"), values)
            connection.commit()
    else:
        with psycopg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        ) as server:
            server.execute(statement.format(*["%s"] * 4), values)


def command_states(bot: Bot) -> dict[str, str]:
    with rows(bot.database_url) as select:
        return {row["command_id"]: row["state"] for row in select("commands", bot.name)}


def modes(bot: Bot) -> dict[str, str]:
    status = json.loads(bot.command("status", "--json"))
    return {symbol["symbol"]: symbol["state"] for symbol in status["symbols"]}


@on_sqlite
def test_a_command_taken_twice_is_done_once(bot: Bot) -> None:
    bot.run("--for", "2s")
    add_command(bot, "pause-1", "pause")
    for nth in (3, 4, 5, 6):
        bot.crash_at(f"record.committed:kill:{nth}")
    process = bot.start()
    eventually(lambda: command_states(bot)["pause-1"] == "done", what="the command is done")
    process.kill()
    add_command(bot, "resume-1", "resume")
    bot.settle()

    assert command_states(bot) == {"pause-1": "done", "resume-1": "done"}
    assert set(modes(bot).values()) == {"QUOTING"}
    check(bot, label="command taken twice")


# --- company ---


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_second_bot_in_the_same_database_does_not_touch_what_the_first_left(
    make_bot: MakeBot,
) -> None:
    first, second = make_bot("first", tag="aaa"), make_bot("second", tag="bbb")
    for passage in ("workflow.after_decide:9", "place.among_sends:3"):
        first.crash_at(arm(passage, "kill"))
        second.run("--for", "2s")
    second.start()
    second.await_orders()
    first.settle()
    second.processes[-1].kill()
    second.settle()

    check(first)
    check(second)
