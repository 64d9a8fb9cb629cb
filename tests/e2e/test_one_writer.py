"""Of two processes on one account at most one trades, whichever of them dies or freezes."""

import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from market_maker.adapters.exchange.simulated.reading import read_requests
from market_maker.adapters.store.engines import parse_url
from tests.e2e.harness import FENCED, Bot, Process, check, check_so_far, eventually, rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# Outside of any transaction: nothing but the process itself is frozen.
FROZEN_AT = (
    "workflow.input_journaled:12",
    "workflow.after_decide:12",
    "place.before_send:3",
    "place.among_sends:3",
    "place.after_sends:2",
    "record.begin:12",
    "record.before_checkpoint:12",
    "reconcile.read:3",
)
# On PostgreSQL the road is the same, only the locks differ.
FROZEN_AT_ON_SERVER = ("place.before_send:3", "record.before_checkpoint:12")


def lease_has_expired(bot: Bot) -> bool:
    with rows(bot.database_url) as select:
        expires_at = datetime.fromisoformat(select("leases", bot.name)[0]["expires_at"])
    return expires_at < datetime.now(UTC)


def test_a_second_process_is_refused_while_the_first_one_trades(bot: Bot) -> None:
    first = bot.start()
    bot.await_orders()

    second = bot.run(code=FENCED)

    assert "held by" in second.err()
    fills = bot.fill_count()
    eventually(lambda: bot.fill_count() > fills, what="the first one trades on")
    first.send(signal.SIGTERM)
    first.expect(0)
    bot.settle()
    check(bot, label="refused")


def test_a_restart_right_after_sigkill_is_never_refused(bot: Bot) -> None:
    for _ in range(3):
        process = bot.start()
        orders = bot.request_count()
        bot.until(lambda seen=orders: bot.request_count() > seen, what="a new order")  # type: ignore[misc]
        process.kill()
    bot.settle()

    check(bot, label="restarted at once")


@pytest.mark.parametrize("passages", [FROZEN_AT[:4], FROZEN_AT[4:]])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_frozen_process_that_was_taken_over_wakes_up_fenced(
    bot: Bot, passages: tuple[str, ...]
) -> None:
    for passage in passages:
        freeze_take_over_and_wake(bot, passage)
    bot.settle()

    check(bot, label="frozen and taken over")


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_frozen_process_that_was_taken_over_wakes_up_fenced_on_a_server(bot: Bot) -> None:
    for passage in FROZEN_AT_ON_SERVER:
        freeze_take_over_and_wake(bot, passage)
    bot.settle()

    check(bot, label="frozen and taken over")


def freeze_take_over_and_wake(bot: Bot, passage: str) -> None:
    # One lane: another one might be inside a transaction when this one freezes.
    bot.settings |= {"lease_ttl": "3s", "lanes_max": 1}
    frozen = freeze(bot, passage)
    eventually(lambda: lease_has_expired(bot), what="the lease expires")

    other = bot.start()
    requests = bot.request_count()
    bot.until(lambda: bot.request_count() > requests, what="an order of the other one")
    known = {request.sequence for request in read_requests(bot.venue_file)}
    woken_at = datetime.now(UTC)
    frozen.send(signal.SIGCONT)
    frozen.expect(FENCED)

    fenced_orders = late_orders(bot, known, woken_at)
    assert len(fenced_orders) <= 1, f"{passage}: {fenced_orders}"
    assert other.is_running, other.tail()
    other.kill()
    check_so_far(bot)


def freeze(bot: Bot, passage: str) -> Process:
    """A process stopped there; again if one of its other threads was just writing."""
    name, _, nth = passage.partition(":")
    for attempt in range(5):
        process = bot.start(failpoint=f"{name}:stop:{int(nth) + attempt}")
        eventually(process.is_frozen, what=f"{name} freezes it")
        if is_writable(bot):
            return process
        process.kill()
    raise AssertionError(f"{name} always froze inside a transaction")


def is_writable(bot: Bot) -> bool:
    url = parse_url(bot.database_url)
    if url.get_backend_name() != "sqlite":
        return True
    with closing(sqlite3.connect(str(url.database), timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def late_orders(bot: Bot, known: set[int], woken_at: datetime) -> list[str]:
    """
    Orders accepted after the frozen one woke up that had been decided, and given up, before.

    What nobody had decided at all, the final audit would find missing in the books.
    """
    with rows(bot.database_url) as select:
        recorded = {row["client_order_id"]: row for row in select("orders", bot.name)}
    return [
        request.client_order_id
        for request in read_requests(bot.venue_file)
        if request.sequence not in known
        and request.verdict == "accepted"
        and request.client_order_id in recorded
        and datetime.fromisoformat(recorded[request.client_order_id]["created_at"]) < woken_at
        and recorded[request.client_order_id]["state"] in {"UNKNOWN", "EXPIRED"}
    ]
