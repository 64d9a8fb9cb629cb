"""One symbol's decisions: outcomes, fills, market data, commands and what is wrong with updates."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_maker.domain.events import Update
from market_maker.domain.fill import Side
from market_maker.domain.intents import OutcomeKind
from market_maker.domain.order import OrderState, Purpose, RejectReason
from market_maker.domain.symbol import NO_ALLOWANCE, SymbolMode
from market_maker.engine import records
from market_maker.engine.actor import park
from market_maker.engine.venue.settling import needs_settling
from tests.actor_desk import (
    BOOK_AGE_MAX,
    TAG,
    ActorDesk,
    a_book,
    a_command,
    a_gap,
    a_timer,
    a_trade,
    accepted_place,
    an_allowance_update,
    filled,
    looked_up,
    malformed,
    no_acceptance,
    reported,
)
from tests.builders import a_fill_of, a_report, an_allowance, an_order, at


@pytest.fixture
def desk() -> ActorDesk:
    """Three buys rest at 99, 98 and 97."""
    desk = ActorDesk()
    desk.start()
    return desk


@pytest.fixture
def placing() -> ActorDesk:
    """A first order is decided and not answered."""
    desk = ActorDesk()
    desk.quote(a_command("start"), an_allowance_update())
    desk.quote(desk.snapshot())
    desk.take(desk.trade(100))
    return desk


# --- determinism ---


def test_decisions_are_the_same_under_two_hash_seeds() -> None:
    script = (
        "from tests.unit.engine.test_actor import a_story\n"
        "from market_maker.engine import records\n"
        "print(records.digest(a_story()))"
    )
    root = Path(__file__).parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "4242")
    }
    assert len(digests) == 1
    assert digests.pop().strip()


def a_story() -> list[object]:
    """Decisions and states of a few busy batches, as records."""
    desk = ActorDesk()
    desk.start()
    told: list[object] = []
    for price in (98, 97, 101, 104, 99):
        order = desk.orders()[-1]
        made = desk.quote(
            filled(a_fill_of(order, "0.1", trade_id=f"{price}")), desk.trade(price), a_timer()
        )
        told += [[records.to_record(place) for place in made.places]]
        told += [[records.to_record(cancel) for cancel in made.cancels]]
        told.append(records.to_record(desk.state))
    return told


# --- outcomes ---


def test_an_accepted_order_is_open_and_its_slot_locked(placing: ActorDesk) -> None:
    placing.answer()

    assert {order.state for order in placing.orders()} == {OrderState.OPEN}
    assert {slot.state.value for slot in placing.state.strategy.slots.values()} == {"LOCKED"}


def test_a_rejected_order_frees_its_slot(placing: ActorDesk) -> None:
    rejected = placing.nearest_buy()

    placing.answer(
        no_acceptance(rejected.client_order_id, OutcomeKind.REJECTED, RejectReason.POST_ONLY)
    )

    assert placing.order(rejected.client_order_id).state is OrderState.REJECTED
    assert placing.state.strategy.slots[rejected.slot].post_only_rejections == 1
    assert placing.state.risk.rejected_count == 1


def test_an_unknown_order_blocks_only_its_slot_and_is_asked_for(placing: ActorDesk) -> None:
    unknown = placing.nearest_buy()

    placing.answer(no_acceptance(unknown.client_order_id, OutcomeKind.UNKNOWN))
    made = placing.take(placing.trade(100))

    assert placing.order(unknown.client_order_id).state is OrderState.UNKNOWN
    assert needs_settling(placing.order(unknown.client_order_id))
    assert all(place.request.price != unknown.price for place in made.places)
    assert len(placing.orders()) == 3


def test_what_was_not_sent_is_expired_and_nothing_is_sent_for_a_moment(placing: ActorDesk) -> None:
    late = placing.nearest_buy()

    placing.answer(no_acceptance(late.client_order_id, OutcomeKind.NOT_SENT))

    assert placing.order(late.client_order_id).state is OrderState.EXPIRED
    assert not placing.take(placing.trade(100), seconds=0.5).places
    assert placing.take(placing.trade(100), seconds=0.6).places


def test_a_fill_before_the_acknowledgement_wins(placing: ActorDesk) -> None:
    order = placing.nearest_buy()
    placing.answer(no_acceptance(order.client_order_id, OutcomeKind.UNKNOWN))

    placing.quote(filled(a_fill_of(order, "0.4", trade_id="1")))
    placing.quote(reported(a_report(order, OrderState.OPEN)))

    after = placing.order(order.client_order_id)
    assert after.state is OrderState.PARTIALLY_FILLED
    assert after.filled_quantity == placing.held == Decimal("0.4")


def test_a_whole_fill_before_the_acknowledgement_ends_the_order(placing: ActorDesk) -> None:
    order = placing.nearest_buy()
    placing.answer(no_acceptance(order.client_order_id, OutcomeKind.UNKNOWN))

    placing.quote(filled(a_fill_of(order, trade_id="1")))
    placing.quote(
        reported(a_report(order, OrderState.OPEN)),
        looked_up(order.client_order_id, a_report(order, OrderState.OPEN)),
    )

    assert placing.order(order.client_order_id).state is OrderState.FILLED
    assert placing.state.position.quantity == 1


def test_never_placed_needs_a_conclusion(placing: ActorDesk) -> None:
    order = placing.nearest_buy()
    placing.answer(no_acceptance(order.client_order_id, OutcomeKind.UNKNOWN))

    placing.quote(looked_up(order.client_order_id, None, is_conclusive=False))
    assert placing.order(order.client_order_id).state is OrderState.UNKNOWN

    placing.quote(looked_up(order.client_order_id, None))
    assert placing.order(order.client_order_id).state is OrderState.EXPIRED


def test_an_immediate_order_that_filled_in_part_waits_for_its_fills(placing: ActorDesk) -> None:
    order = placing.nearest_buy()
    outcome = accepted_place(order)
    assert outcome.report is not None
    ended = replace(outcome.report, state=OrderState.EXPIRED, cumulative_quantity=Decimal("0.3"))

    placing.answer(replace(outcome, report=ended))

    assert needs_settling(placing.order(order.client_order_id))
    placing.quote(filled(a_fill_of(order, "0.3", trade_id="1")))
    assert placing.order(order.client_order_id).state is OrderState.EXPIRED


def test_an_impossible_acknowledgement_is_an_incident_not_a_crash(placing: ActorDesk) -> None:
    order = placing.nearest_buy()
    outcome = accepted_place(order)
    assert outcome.report is not None

    placing.answer(replace(outcome, report=replace(outcome.report, side=Side.SELL)))

    assert placing.has_incident("impossible_report")


def test_incidents_of_a_decision_and_of_its_outcomes_have_different_ids(
    placing: ActorDesk,
) -> None:
    stray = a_report(an_order(client_order_id=f"{TAG}stray"), OrderState.OPEN)
    placing.answer()
    placing.quote(reported(a_report(placing.nearest_buy(), OrderState.CANCELED)))
    made = placing.take(placing.snapshot(open_orders=[stray]), a_command("cancel-all"))
    order = placing.order(made.cancels[0].client_order_id)
    outcome = replace(accepted_place(order), action="cancel")
    assert outcome.report is not None
    placing.answer(replace(outcome, report=replace(outcome.report, side=Side.SELL)))

    ids = [item.id for item in (*placing.closed, *placing.state.incidents.values())]
    assert len(ids) == len(set(ids)) == 2


# --- fills ---


def test_a_fill_twice_counts_once(desk: ActorDesk) -> None:
    fill = a_fill_of(desk.nearest_buy(), "0.5", trade_id="1")

    desk.quote(filled(fill), filled(fill))
    desk.quote(filled(fill))

    assert desk.state.position.quantity == desk.held == Decimal("0.5")
    assert len(desk.fills) == 1


def test_a_fill_of_an_ended_order_twice_counts_once(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    fill = a_fill_of(order, trade_id="1")
    desk.quote(filled(fill))
    assert desk.order(order.client_order_id).state is OrderState.FILLED

    desk.quote(filled(fill), desk.snapshot(fills=(fill,)))

    assert desk.state.position.quantity == 1
    assert not desk.state.incidents


def test_a_late_fill_is_booked_and_an_incident(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    desk.quote(reported(a_report(order, OrderState.CANCELED)))

    desk.quote(filled(a_fill_of(order, "0.5", trade_id="1")))

    assert desk.state.position.quantity == desk.held == Decimal("0.5")
    assert desk.has_incident("late_fill")


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({"quantity": "1.5"}, "impossible_fill"),
        ({"quantity": "0"}, "impossible_fill"),
        ({"quantity": "-1"}, "impossible_fill"),
        ({"quantity": "NaN"}, "impossible_fill"),
        ({"price": "NaN"}, "impossible_fill"),
        ({"price": "-1"}, "impossible_fill"),
        ({"fee": "Infinity"}, "impossible_fill"),
        ({"side": Side.SELL}, "impossible_fill"),
        ({"symbol": "ETH/USDT"}, "impossible_fill"),
        ({"client_order_id": f"{TAG}nobody"}, "impossible_fill"),
    ],
)
def test_an_impossible_fill_is_an_incident_and_books_nothing(
    desk: ActorDesk, overrides: dict[str, Any], kind: str
) -> None:
    order = desk.nearest_buy()
    fill = a_fill_of(order, **({"trade_id": "1"} | overrides))

    desk.take(replace(filled(fill), symbol=order.symbol))

    assert desk.has_incident(kind)
    assert desk.state.position.quantity == 0
    assert desk.order(order.client_order_id).filled_quantity == 0
    assert desk.state.status.updates_malformed_count == 1
    assert desk.mode() is not SymbolMode.PARKED


def test_missing_fills_are_booked_from_the_answer(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    report = a_report(order, OrderState.FILLED, cumulative_quantity=1)
    desk.take(reported(report))
    assert needs_settling(desk.order(order.client_order_id))

    fills = (a_fill_of(order, "0.6", trade_id="1"), a_fill_of(order, "0.4", trade_id="2"))
    desk.quote(looked_up(order.client_order_id, report, *fills))

    assert desk.order(order.client_order_id).state is OrderState.FILLED
    assert desk.state.position.quantity == 1
    assert desk.orders(Side.SELL, Purpose.CLOSING)


def test_distinct_incidents_are_bounded(desk: ActorDesk) -> None:
    order = desk.nearest_buy()

    desk.take(*[filled(a_fill_of(order, "5", trade_id=str(n))) for n in range(500)])

    assert len(desk.state.incidents) == 100
    assert desk.state.status.updates_malformed_count == 500


# --- market data ---


@pytest.mark.parametrize(
    "update",
    [
        a_trade("NaN"),
        a_trade("-1"),
        a_trade("0"),
        a_trade("Infinity"),
        a_trade(quantity=Decimal("NaN")),
        a_trade(quantity=Decimal("Infinity")),
        a_trade(quantity=Decimal(-1)),
        a_trade(quantity=Decimal(0)),
        a_book("NaN", 101),
        a_book(99, "NaN"),
        a_book(-1, 101),
        a_book(99, "Infinity"),
        malformed(),
    ],
    ids=repr,
)
def test_impossible_market_data_is_counted_and_changes_no_price(
    desk: ActorDesk, update: Update
) -> None:
    market = desk.state.market

    made = desk.take(update)

    assert desk.state.market == market
    assert desk.state.status.updates_malformed_count == 1
    assert len(made.notices) == 1
    assert desk.mode() is SymbolMode.QUOTING


def test_late_prices_are_counted_and_ignored(desk: ActorDesk) -> None:
    desk.quote(desk.trade(100), desk.book(99, 101))

    desk.take(a_trade(50, exchange_at=at(-60)), a_book(49, 51, exchange_at=at(-60)))

    assert desk.state.market.price == 100
    assert desk.state.status.updates_malformed_count == 2


def test_one_timestamp_of_the_far_future_does_not_make_everything_late(desk: ActorDesk) -> None:
    desk.quote(desk.trade(100, exchange_at=at(10**9)))

    desk.quote(desk.trade(101))

    assert desk.state.market.last_price == 101
    assert desk.state.status.updates_malformed_count == 0


def test_unreadable_updates_in_a_flood_leave_few_notices(desk: ActorDesk) -> None:
    made = desk.take(*[malformed(str(number)) for number in range(1_000)])

    assert desk.state.status.updates_malformed_count == 1_000
    assert len(made.notices) <= 20


def test_silence_pulls_quotes_and_the_next_price_brings_them_back(desk: ActorDesk) -> None:
    updated_at = desk.state.market.updated_at
    assert updated_at is not None
    assert desk.state.status.wake_at == updated_at + BOOK_AGE_MAX

    made = desk.quote(a_timer(), seconds=4)

    assert len(made.cancels) == 3
    assert "stale" in desk.state.status.idle_reason
    assert not records.to_record(desk.state.status)["wake_at"], "nothing more to wait for"
    assert desk.quote(desk.trade(100)).places


def test_a_crossed_book_pulls_quotes_until_it_is_healthy(desk: ActorDesk) -> None:
    assert len(desk.quote(desk.book(101, 100)).cancels) == 3
    assert not desk.quote(desk.trade(100)).places

    assert desk.quote(desk.book(99, 101)).places


def test_silence_while_the_venue_cannot_be_read_pulls_quotes_too(desk: ActorDesk) -> None:
    desk.quote(a_gap())

    made = desk.take(a_timer(), seconds=4)

    assert len(made.cancels) == 3


def test_a_start_plans_nothing_on_prices_of_before_and_keeps_what_rests(desk: ActorDesk) -> None:
    made = desk.quote(a_command("start"), an_allowance_update(), seconds=3600)
    assert not made.cancels
    assert not desk.state.market.price

    made = desk.quote(desk.snapshot())
    assert not made.cancels
    assert not made.places

    made = desk.take(desk.trade(100))
    assert not made.cancels
    assert len(desk.orders()) == 3


def test_a_start_into_silence_pulls_what_rests(desk: ActorDesk) -> None:
    desk.quote(a_command("start"), an_allowance_update(), seconds=3600)
    desk.quote(desk.snapshot())

    assert desk.state.status.wake_at is not None
    assert len(desk.take(a_timer(), seconds=3).cancels) == 3


def test_skipped_prices_are_counted(desk: ActorDesk) -> None:
    desk.take(desk.trade(100), skipped=7)
    desk.take(skipped=2)

    assert desk.state.status.updates_skipped_count == 9


# --- allowance ---


def test_without_an_allowance_nothing_opens(desk: ActorDesk) -> None:
    fresh = ActorDesk()
    fresh.quote(a_command("start"))
    fresh.quote(fresh.snapshot())

    assert not fresh.take(fresh.trade(100)).places
    assert fresh.state.allowance == NO_ALLOWANCE


def test_worst_case_exposure_with_unknown_orders_stays_within_the_allowance() -> None:
    desk = ActorDesk()
    desk.quote(
        a_command("start"), an_allowance_update(an_allowance(exposure_notional_quote_max=200))
    )
    desk.quote(desk.snapshot())
    made = desk.take(desk.trade(100))

    assert [place.request.price for place in made.places] == [Decimal(99), Decimal(98)]
    unknown = [
        no_acceptance(place.request.client_order_id, OutcomeKind.UNKNOWN) for place in made.places
    ]
    desk.answer(*unknown)
    made = desk.take(desk.trade(100))
    assert not made.places
    assert made.refusals


# --- commands ---


def test_pause_keeps_orders_and_places_nothing_until_resume(desk: ActorDesk) -> None:
    made = desk.quote(a_command("pause"), desk.trade(104))
    assert not made.cancels
    assert not made.places
    assert desk.mode() is SymbolMode.PAUSED

    desk.quote(a_command("resume"))
    made = desk.quote(desk.snapshot(), desk.trade(104))
    assert made.cancels


def test_cancel_all_implies_pause(desk: ActorDesk) -> None:
    assert len(desk.quote(a_command("cancel-all")).cancels) == 3

    assert not desk.quote(desk.trade(100)).places
    desk.quote(a_command("resume"))
    assert not desk.quote(desk.trade(100)).places, "the venue is read first"
    assert desk.quote(desk.snapshot()).places


def test_kill_holds_over_a_start_until_resume(desk: ActorDesk) -> None:
    assert len(desk.quote(a_command("kill")).cancels) == 3
    assert desk.mode() is SymbolMode.KILLED
    desk.quote(a_command("start"), an_allowance_update())
    desk.quote(desk.snapshot())
    assert not desk.quote(desk.trade(100)).places

    desk.quote(a_command("resume"))
    assert desk.quote(desk.snapshot(), desk.trade(100)).places


def test_kill_cancels_an_unknown_order_that_turns_out_live(placing: ActorDesk) -> None:
    unknown = placing.nearest_buy()
    placing.answer(no_acceptance(unknown.client_order_id, OutcomeKind.UNKNOWN))
    placing.quote(a_command("kill"))
    assert [order.client_order_id for order in placing.orders()] == [unknown.client_order_id]

    made = placing.take(looked_up(unknown.client_order_id, a_report(unknown, OrderState.OPEN)))

    assert [cancel.client_order_id for cancel in made.cancels] == [unknown.client_order_id]


def test_a_command_taken_up_twice_is_carried_out_once(desk: ActorDesk) -> None:
    """A crash may leave `resume` unmarked in its table; it must not undo the kill after it."""
    desk.quote(a_command("resume", command_id="c-resume"))
    desk.quote(a_command("kill", command_id="c-kill"))

    desk.quote(a_command("resume", command_id="c-resume"))

    assert desk.state.status.is_killed


def test_an_unknown_command_is_counted(desk: ActorDesk) -> None:
    made = desk.take(a_command("dance"))

    assert desk.state.status.updates_malformed_count == 1
    assert [notice.name for notice in made.notices] == ["unknown_command"]


# --- parking ---


def test_a_parked_symbol_keeps_its_books_and_cancels_at_the_next_batch(desk: ActorDesk) -> None:
    parked = park(
        desk.state,
        ZeroDivisionError("what"),
        desk._stamp(),
        desk._input([a_timer()], 0, loads=True),
    )
    assert parked.changes is not None
    assert parked.state.status.wake_at is not None
    assert parked.state.orders == desk.state.orders
    again = park(
        parked.state,
        ZeroDivisionError("what"),
        desk._stamp(),
        desk._input([a_timer()], 0, loads=True),
    )
    assert again.changes is not None, "every batch changes something, so that it can be told again"
    assert len(again.state.incidents) == 1

    desk.state = again.state
    assert len(desk.quote(a_timer()).cancels) == 3
    assert desk.mode() is SymbolMode.PARKED

    desk.quote(a_command("ignore", desk.incident("actor_error").id))
    assert desk.quote(desk.snapshot(), desk.trade(100)).places


def test_no_instant_of_waking_is_in_the_past(desk: ActorDesk) -> None:
    desk.take(desk.trade(100))
    for _ in range(5):
        desk.take(a_timer(), seconds=2)
        wake_at = desk.state.status.wake_at
        assert wake_at is None or wake_at > desk.now
    assert timedelta(0) < BOOK_AGE_MAX
    assert records.to_record(desk.state)
