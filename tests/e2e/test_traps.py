"""
Known ways in which market makers lose money, each with a test named after it.

Here are those that only real processes can fall into. The others are beside what they are about:
04, 08, 11, 14 and 07 with orders and positions, 06, 07, 08, 12, 15, 17 and 19 with the grid, 13 and
18 with the risk gate, 01 in `test_run_command`.
"""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import create_engine, text

from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.adapters.exchange.simulated.reading import read_fills, read_orders, read_requests
from market_maker.adapters.exchange.simulated.settings import parse_settings
from market_maker.adapters.store.engines import parse_url
from market_maker.adapters.system import SystemClock
from market_maker.config.loader import load_settings
from market_maker.domain.fill import Side
from market_maker.domain.order import OrderRequest, OrderType
from tests.e2e.harness import BTC, ETH, KILLED, Bot, Json, check, rows, still

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


def workflow_ids(bot: Bot) -> list[str]:
    engine = create_engine(parse_url(bot.database_url))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT workflow_uuid FROM workflow_status"))
        ids = [str(row[0]) for row in found if str(row[0]).startswith(f"{bot.name}/")]
    engine.dispose()
    return ids


def status(bot: Bot) -> Json:
    found: Json = json.loads(bot.command("status", "--json"))
    return found


def test_trap_02_every_workflow_has_the_id_of_its_sequence_and_doubled_events_run_once(
    bot: Bot,
) -> None:
    bot.settings["venue"]["faults"] = {"update_duplicated_ratio": "0.5"}
    for passage in ("workflow.input_journaled:9", "workflow.after_place:2"):
        bot.crash_at(passage.replace(":", ":kill:"))
    bot.run("--for", "2s")
    bot.settle()

    ids = workflow_ids(bot)
    with rows(bot.database_url) as select:
        journaled = [row["workflow_id"] for row in select("journal", bot.name)]
    assert sorted(ids) == sorted(journaled)
    assert len(set(ids)) == len(ids)
    check(bot, label="trap 02")


def test_trap_03_memory_is_rebuilt_from_tables_when_recovery_skips_the_recorded_steps(
    bot: Bot,
) -> None:
    # Decide and place are recorded: the next process must not need to have run them.
    bot.crash_at("workflow.after_place:kill:1")
    bot.crash_at("recovery.end:kill:1")
    with rows(bot.database_url) as select:
        recovered = {row["client_order_id"]: row["state"] for row in select("orders", bot.name)}
    assert recovered
    bot.settle()

    assert bot.events()["resuming_workflow"] >= 1
    check(bot, label="trap 03")


def test_trap_05_orders_of_a_dead_bot_are_canceled_by_the_ids_that_were_stored(bot: Bot) -> None:
    process = bot.start()
    bot.await_orders()
    process.kill()

    bot.command("cancel-all", "--yes", settings=still(bot.settings))

    assert bot.open_order_count() == 0
    assert bot.fill_count() == len(read_fills(bot.venue_file))
    check(bot, label="trap 05")


def test_trap_09_an_order_that_is_not_listed_any_more_is_asked_for_not_taken_for_canceled(
    bot: Bot,
) -> None:
    # Half of all order and fill updates never come: only reconcile can find what happened.
    bot.settings["venue"]["faults"] = {"update_dropped_ratio": "0.5"}
    for _ in range(2):
        process = bot.start()
        bot.await_fills(6)
        process.kill()
    bot.settle()

    audit = check(bot, label="trap 09")
    filled = [order for order in read_orders(bot.venue_file) if order.state.value == "FILLED"]
    assert filled
    assert audit.counts["fills"] >= len(filled)


def place_foreign_order(bot: Bot) -> str:
    """An order of the account's owner, by hand, while the bot is down."""

    async def place() -> str:
        settings = load_settings([bot.write(still(bot.settings))], environment={})
        venue = parse_settings(settings.venue.model_dump())
        exchange = SimulatedExchange(venue, clock=SystemClock())
        await exchange.open()
        report = await exchange.place_foreign_order(
            OrderRequest(
                client_order_id="byhand000000000001",
                symbol=BTC,
                side=Side.BUY,
                type=OrderType.LIMIT,
                price=Decimal("20000.00"),
                quantity=Decimal("0.01000"),
            )
        )
        await exchange.close()
        return report.client_order_id

    return asyncio.run(place())


def test_trap_10_orders_that_this_bot_did_not_create_are_listed_and_never_touched(
    bot: Bot,
) -> None:
    process = bot.start()
    bot.await_orders()
    process.kill()
    foreign = place_foreign_order(bot)

    bot.settle()
    counts = {s["symbol"]: s["foreign_order_count"] for s in status(bot)["symbols"]}
    bot.command("cancel-all", "--yes", settings=still(bot.settings))

    assert counts == {BTC: 1, ETH: 0}
    left = read_orders(bot.venue_file, only_open=True)
    assert [order.client_order_id for order in left] == [foreign]
    check(bot, label="trap 10")


def test_trap_11_fills_that_are_doubled_reordered_and_dropped_are_booked_once_each(
    bot: Bot,
) -> None:
    bot.settings["venue"]["faults"] = {
        "update_duplicated_ratio": "0.3",
        "update_reordered_ratio": "0.3",
        "update_dropped_ratio": "0.2",
        "stream_cut_ratio": "0.02",
    }
    process = bot.start()
    bot.await_fills(25)
    process.kill()
    bot.settle()

    assert check(bot, label="trap 11").counts["fills"] >= 25


def test_trap_16_a_crash_is_sigkill_to_a_real_process_that_could_not_clean_up(bot: Bot) -> None:
    process = bot.start()
    bot.await_orders()
    process.kill()

    assert process.popen.returncode == KILLED
    assert bot.events()["stopping"] == 0
    with rows(bot.database_url) as select:
        expires_at = datetime.fromisoformat(select("leases", bot.name)[0]["expires_at"])
    assert expires_at > datetime.now(UTC)
    bot.settle()
    check(bot, label="trap 16")


def test_trap_18_a_kill_switch_survives_restarts_and_no_order_goes_out_after_it(bot: Bot) -> None:
    process = bot.start()
    bot.await_orders()
    bot.command("kill", "--yes")
    requests = bot.request_count()
    assert bot.open_order_count() == 0
    process.kill()
    for _ in range(2):
        bot.run("--for", "2s")

    assert bot.request_count() == requests
    assert {symbol["state"] for symbol in status(bot)["symbols"]} == {"KILLED"}
    bot.command("resume")
    bot.settle()
    assert check(bot, label="trap 18").counts["open"]


def test_trap_19_a_request_that_timed_out_may_still_arrive_and_is_asked_for_until_it_cannot(
    bot: Bot,
) -> None:
    # Later than `place_wait` but inside the lifetime, then beyond the lifetime.
    for late, seed in (("600ms", 1), ("1500ms", 2)):
        bot.settings["venue"]["faults"] = {
            "seed": seed,
            "late_request_ratio": "0.4",
            "late_request": late,
        }
        bot.run("--for", "3s")
    bot.settle()

    check(bot, label="trap 19")
    verdicts = [request.verdict for request in read_requests(bot.venue_file)]
    assert any("expired" in verdict for verdict in verdicts)
    assert bot.events()["order_settled"] > 0


@pytest.mark.parametrize("skew", ["8s", "-8s"])
def test_trap_20_a_venue_whose_clock_differs_still_accepts_what_is_signed_in_time(
    bot: Bot, skew: str
) -> None:
    bot.settings["venue"]["faults"] = {"clock_skew": skew}
    process = bot.start()
    bot.await_orders()
    process.kill()
    bot.settle()

    check(bot, label="trap 20")
    verdicts = [request.verdict for request in read_requests(bot.venue_file)]
    assert not [verdict for verdict in verdicts if "expired" in verdict]
