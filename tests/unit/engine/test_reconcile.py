"""Every row of the reconcile table, position rules, and what ends an incident."""

from datetime import timedelta
from decimal import Decimal

import pytest

from market_maker.domain.fill import Side
from market_maker.domain.instrument import InstrumentKind
from market_maker.domain.intents import OutcomeKind
from market_maker.domain.order import OrderState, Purpose
from market_maker.domain.symbol import SymbolMode
from tests.actor_desk import (
    TAG,
    ActorDesk,
    a_command,
    a_gap,
    a_venue_position,
    accepted_place,
    balances,
    ended_cancel,
    filled,
    looked_up,
    no_acceptance,
    reported,
    symbol_settings,
)
from tests.builders import a_fill_of, a_report, an_instrument, an_order, risk_limits


@pytest.fixture
def desk() -> ActorDesk:
    """Three buys rest at 99, 98 and 97."""
    desk = ActorDesk()
    desk.start()
    return desk


def a_derivative_desk(*, dedicated: bool) -> ActorDesk:
    settings = symbol_settings(instrument=an_instrument(kind=InstrumentKind.LINEAR))
    desk = ActorDesk(settings, is_account_dedicated=dedicated)
    desk.start()
    hold(desk)
    return desk


def hold(desk: ActorDesk, quantity: str = "1") -> None:
    """Have the nearest buy fill, so that the bot holds something."""
    desk.quote(filled(a_fill_of(desk.nearest_buy(), quantity, trade_id="1")))


# --- we think open, the venue says open ---


def test_open_on_both_sides_changes_nothing(desk: ActorDesk) -> None:
    orders = desk.state.orders

    made = desk.take(desk.snapshot())

    assert desk.state.orders == orders
    assert not made.cancels
    assert not made.places


def test_a_larger_cumulative_marks_the_fills_as_missing(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    report = a_report(order, OrderState.PARTIALLY_FILLED, cumulative_quantity="0.5")

    desk.take(desk.snapshot(open_orders=[report]))

    assert desk.order(order.client_order_id).is_fills_missing
    assert desk.state.position.quantity == 0


def test_fills_of_the_snapshot_are_booked_once(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    fill = a_fill_of(order, "0.5", trade_id="7")

    desk.take(desk.snapshot(fills=(fill,)))
    desk.take(desk.snapshot(fills=(fill,)), filled(fill))

    assert desk.state.position.quantity == Decimal("0.5")
    assert desk.fills == [fill]


def test_the_watermark_stays_some_fills_behind_so_that_readings_overlap(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    fills = tuple(a_fill_of(order, "0.1", trade_id=str(number)) for number in range(1, 8))

    desk.take(desk.snapshot(fills=fills[:5]))
    assert desk.state.status.last_trade_id == ""
    desk.take(desk.snapshot(fills=fills))

    assert desk.state.status.last_trade_id == "2"
    assert desk.state.position.quantity == Decimal("0.7")


def test_an_order_outside_the_books_keeps_the_symbol_waiting_until_the_venue_lists_none(
    desk: ActorDesk,
) -> None:
    stray = a_report(an_order(client_order_id=f"{TAG}stray"), OrderState.OPEN)

    first = desk.take(desk.snapshot(open_orders=[stray]))
    assert [cancel.client_order_id for cancel in first.cancels] == [f"{TAG}stray"]
    assert desk.mode() is SymbolMode.SYNCING
    second = desk.take(desk.snapshot(open_orders=[stray]))
    assert second.cancels
    desk.take(desk.snapshot(open_orders=[]))

    assert desk.mode() is SymbolMode.QUOTING


# --- we think open, the venue does not list it ---


def test_not_listed_but_filled_takes_its_true_fate(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    fill = a_fill_of(order, trade_id="7")
    report = a_report(order, OrderState.FILLED, cumulative_quantity=order.quantity)
    others = [a_report(other, OrderState.OPEN) for other in desk.orders()[:-1]]

    desk.take(
        desk.snapshot(open_orders=others, lookups=(looked_up(order.client_order_id, report, fill),))
    )

    assert desk.order(order.client_order_id).state is OrderState.FILLED
    assert desk.state.position.quantity == order.quantity


def test_not_listed_and_canceled_after_a_part_keeps_the_part(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    fill = a_fill_of(order, "0.4", trade_id="7")
    report = a_report(order, OrderState.CANCELED, cumulative_quantity="0.4")

    desk.take(desk.snapshot(lookups=(looked_up(order.client_order_id, report, fill),)))

    assert desk.order(order.client_order_id).state is OrderState.CANCELED
    assert desk.state.position.quantity == desk.held == Decimal("0.4")


def test_not_listed_and_filled_in_part_by_the_same_snapshot_takes_its_true_fate(
    desk: ActorDesk,
) -> None:
    order = desk.nearest_buy()
    fill = a_fill_of(order, "0.4", trade_id="7")
    report = a_report(order, OrderState.CANCELED, cumulative_quantity="0.4")
    lookup = looked_up(order.client_order_id, report, fill)

    desk.take(desk.snapshot(fills=(fill,), lookups=(lookup,)))

    assert desk.order(order.client_order_id).state is OrderState.CANCELED


def test_not_listed_and_not_looked_up_is_left_alone(desk: ActorDesk) -> None:
    orders = desk.state.orders

    desk.take(desk.snapshot(open_orders=()))

    assert desk.state.orders == orders


def test_an_order_lost_in_the_venue_is_canceled_then_an_incident_then_ended(
    desk: ActorDesk,
) -> None:
    order = desk.nearest_buy()
    unknown = looked_up(order.client_order_id, None, is_conclusive=False)
    others = [a_report(other, OrderState.OPEN) for other in desk.orders()[:-1]]

    made = desk.take(desk.snapshot(open_orders=others, lookups=(unknown,)))

    assert [cancel.client_order_id for cancel in made.cancels] == [order.client_order_id]
    assert desk.order(order.client_order_id).state is OrderState.PENDING_CANCEL

    desk.answer(no_acceptance(order.client_order_id, OutcomeKind.REJECTED, action="cancel"))
    desk.quote(looked_up(order.client_order_id, None))
    incident = desk.incident("order_vanished")
    desk.quote(looked_up(order.client_order_id, None))
    assert desk.incident("order_vanished") == incident, "asking again opens no second incident"

    desk.quote(a_command("ignore", incident.id))

    assert not desk.state.incidents
    assert desk.order(order.client_order_id).state is OrderState.CANCELED
    assert not desk.state.orders


# --- we do not think open, the venue lists it ---


def expire_one(desk: ActorDesk) -> str:
    """An order whose outcome was unknown and that was settled as never placed."""
    desk.quote(desk.trade(101))  # makes room for a nearer order
    made = desk.take(desk.trade(101))
    client_order_id = made.places[0].request.client_order_id
    desk.answer(no_acceptance(client_order_id, OutcomeKind.UNKNOWN))
    return client_order_id


def test_an_order_given_up_that_its_slot_still_wants_is_adopted(desk: ActorDesk) -> None:
    client_order_id = expire_one(desk)
    desk.take(a_command("pause"), looked_up(client_order_id, None))
    order = desk.order(client_order_id)
    assert order.state is OrderState.EXPIRED

    report = a_report(order, OrderState.OPEN)
    made = desk.take(desk.snapshot(open_orders=[report]))

    assert desk.order(client_order_id).state is OrderState.OPEN
    assert desk.state.strategy.slots[order.slot].client_order_id == client_order_id
    assert not made.cancels
    assert [item.kind for item in desk.closed] == ["order_adopted"]
    assert not desk.state.incidents


def test_an_order_given_up_whose_slot_has_moved_on_is_canceled_by_id(desk: ActorDesk) -> None:
    client_order_id = expire_one(desk)
    desk.quote(looked_up(client_order_id, None))  # and its level is ordered anew
    report = a_report(desk.order(client_order_id), OrderState.OPEN, exchange_order_id="x9")

    made = desk.take(desk.snapshot(open_orders=[report]))

    assert [(c.client_order_id, c.exchange_order_id) for c in made.cancels] == [
        (client_order_id, "x9")
    ]
    assert [item.kind for item in desk.closed] == ["order_not_in_books"]
    assert not desk.state.incidents


def test_an_order_of_our_tag_that_no_table_knows_is_canceled(desk: ActorDesk) -> None:
    stray = an_order(client_order_id=f"{TAG}stray")

    made = desk.take(desk.snapshot(open_orders=[a_report(stray, OrderState.OPEN)]))

    assert [cancel.client_order_id for cancel in made.cancels] == [stray.client_order_id]


def test_a_filled_order_that_a_lagging_list_still_shows_is_not_adopted(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    desk.quote(filled(a_fill_of(order, trade_id="1")))
    (closing,) = desk.orders(Side.SELL)
    desk.quote(filled(a_fill_of(closing, trade_id="2")))

    desk.take(desk.snapshot(open_orders=[a_report(closing, OrderState.OPEN)]))

    assert closing.client_order_id not in desk.state.orders


def test_a_resting_report_of_an_expired_order_reads_the_venue_again(desk: ActorDesk) -> None:
    client_order_id = expire_one(desk)
    desk.quote(looked_up(client_order_id, None))
    assert desk.mode() is SymbolMode.QUOTING

    desk.take(reported(a_report(desk.order(client_order_id), OrderState.OPEN)))

    assert desk.mode() is SymbolMode.SYNCING


def test_a_larger_cumulative_of_an_ended_order_reads_the_venue_again(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    desk.take(reported(a_report(order, OrderState.CANCELED)))
    assert desk.order(order.client_order_id).state is OrderState.CANCELED

    desk.take(reported(a_report(order, OrderState.CANCELED, cumulative_quantity="0.5")))

    assert desk.mode() is SymbolMode.SYNCING


# --- foreign orders ---


def test_foreign_orders_are_counted_and_never_touched(desk: ActorDesk) -> None:
    foreign = [
        a_report(an_order(client_order_id=client_order_id), OrderState.OPEN)
        for client_order_id in ("web_1", "xyz000", "")
    ]
    orders = desk.state.orders

    made = desk.take(desk.snapshot(open_orders=foreign))

    assert desk.state.status.foreign_order_count == 3
    assert not made.cancels
    assert desk.state.orders == orders


def test_fills_of_foreign_orders_move_nothing(desk: ActorDesk) -> None:
    foreign = a_fill_of(an_order(client_order_id="web_1"), trade_id="5")

    desk.take(desk.snapshot(fills=(foreign,)), filled(foreign))

    assert desk.state.position.quantity == 0
    assert not desk.state.incidents


# --- what changed after the snapshot began ---


def test_orders_that_changed_after_the_snapshot_began_are_left_alone(desk: ActorDesk) -> None:
    desk.quote(desk.trade(101))
    before = desk.now
    made = desk.quote(desk.trade(101))
    new = made.places[0].request.client_order_id
    canceled = desk.nearest_buy()
    lookup = looked_up(new, None, is_conclusive=False)

    made = desk.take(
        desk.snapshot(
            since_at=before,
            open_orders=[a_report(canceled, OrderState.OPEN)],
            lookups=(lookup,),
        )
    )

    assert desk.order(new).state is OrderState.OPEN
    assert not made.cancels


def test_an_order_that_ended_after_the_snapshot_began_is_not_canceled_again(
    desk: ActorDesk,
) -> None:
    before = desk.now
    order = desk.nearest_buy()
    desk.quote(reported(a_report(order, OrderState.CANCELED)))

    made = desk.take(desk.snapshot(since_at=before, open_orders=[a_report(order, OrderState.OPEN)]))

    assert not made.cancels
    assert not desk.closed


def test_pending_and_unknown_orders_that_are_not_listed_stay_as_they_are(desk: ActorDesk) -> None:
    client_order_id = expire_one(desk)

    desk.take(desk.snapshot())

    assert desk.order(client_order_id).state is OrderState.UNKNOWN


def test_an_unknown_order_that_is_listed_is_open(desk: ActorDesk) -> None:
    client_order_id = expire_one(desk)
    report = a_report(desk.order(client_order_id), OrderState.OPEN)

    desk.take(desk.snapshot(open_orders=[report]))

    assert desk.order(client_order_id).state is OrderState.OPEN


# --- syncing ---


def test_a_gap_stops_quoting_until_a_snapshot_that_was_begun_after_it(desk: ActorDesk) -> None:
    before = desk.now
    desk.quote(reported(a_report(desk.nearest_buy(), OrderState.CANCELED)), a_gap())
    assert len(desk.orders()) == 2
    assert desk.mode() is SymbolMode.SYNCING

    assert not desk.take(desk.snapshot(since_at=before), desk.trade(100)).places
    assert desk.mode() is SymbolMode.SYNCING

    assert desk.take(desk.snapshot(), desk.trade(100)).places
    assert desk.mode() is SymbolMode.QUOTING


# --- positions ---


@pytest.mark.parametrize(("base", "is_mismatch"), [("5", False), ("1", False), ("0.5", True)])
def test_spot_needs_at_least_what_the_slots_hold(
    desk: ActorDesk, base: str, *, is_mismatch: bool
) -> None:
    hold(desk)

    desk.take(desk.snapshot(balances=balances(base)))

    assert bool(desk.state.incidents) is is_mismatch


@pytest.mark.parametrize(
    ("dedicated", "venue", "is_mismatch"),
    [
        (True, "1", False),
        (True, "1.5", True),
        (True, "0.5", True),
        (True, "-1", True),
        (False, "1", False),
        (False, "1.5", False),
        (False, "0.5", True),
        (False, "-1", True),
    ],
)
def test_derivatives_need_equality_on_a_dedicated_account_else_at_least_ours(
    venue: str, *, dedicated: bool, is_mismatch: bool
) -> None:
    desk = a_derivative_desk(dedicated=dedicated)

    desk.take(desk.snapshot(position=a_venue_position(venue)))

    assert bool(desk.state.incidents) is is_mismatch


def test_a_position_is_not_compared_while_fills_are_missing(desk: ActorDesk) -> None:
    hold(desk)
    order = desk.nearest_buy()
    report = a_report(order, OrderState.PARTIALLY_FILLED, cumulative_quantity="0.5")

    desk.take(desk.snapshot(open_orders=[report], balances=balances("0.5")))

    assert not desk.state.incidents


def test_a_fill_booked_while_the_venue_was_read_is_no_mismatch(desk: ActorDesk) -> None:
    """The stream may be faster than the answer: the balance is then older than our fills."""
    before = desk.now
    desk.quote(a_gap())
    begun = desk.now
    hold(desk)

    desk.take(desk.snapshot(since_at=begun, balances=balances("0")))

    assert begun > before
    assert not desk.state.incidents
    assert desk.mode() is SymbolMode.SYNCING, "it is read once more"
    desk.take(desk.snapshot(balances=balances("1")))
    assert desk.mode() is SymbolMode.QUOTING


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_a_balance_that_is_no_number_is_counted_and_proves_nothing(
    desk: ActorDesk, amount: str
) -> None:
    hold(desk)

    desk.take(desk.snapshot(balances=balances(amount)))

    assert not desk.state.incidents
    assert desk.state.status.updates_malformed_count == 1


# --- incidents ---


def a_mismatch(desk: ActorDesk, venue: str = "0.5") -> str:
    hold(desk)
    desk.quote(desk.snapshot(balances=balances(venue)))
    return desk.incident("position_mismatch").id


def test_an_open_incident_cancels_every_order_and_stops_quoting(desk: ActorDesk) -> None:
    a_mismatch(desk)

    assert not desk.state.orders
    assert not desk.take(desk.trade(90)).places
    assert "incident" in desk.state.status.idle_reason


def test_the_same_mismatch_is_one_incident_however_often_it_is_seen(desk: ActorDesk) -> None:
    first = a_mismatch(desk)

    desk.quote(desk.snapshot(balances=balances("0.5")))
    desk.quote(desk.snapshot(balances=balances("0.25")))

    assert list(desk.state.incidents) == [first]
    assert "0.25" in desk.incident("position_mismatch").content


def test_adopt_takes_what_the_venue_holds_and_quoting_resumes(desk: ActorDesk) -> None:
    incident = a_mismatch(desk)

    desk.quote(a_command("adopt", incident))
    assert desk.state.position.quantity == desk.held == Decimal("0.5")
    assert not desk.take(desk.trade(100)).places, "the venue is read first"

    desk.quote(desk.snapshot(balances=balances("0.5")))
    assert not desk.state.incidents
    assert desk.orders(Side.SELL)[0].quantity == Decimal("0.5")


def test_ignore_accepts_this_mismatch_at_every_later_reconcile_but_no_other(
    desk: ActorDesk,
) -> None:
    incident = a_mismatch(desk)

    desk.quote(a_command("ignore", incident))
    for _ in range(3):
        desk.quote(desk.snapshot(balances=balances("0.5")), desk.trade(100))
    assert not desk.state.incidents
    assert desk.mode() is SymbolMode.QUOTING
    assert desk.state.position.quantity == 1

    desk.quote(desk.snapshot(balances=balances("0.3")))
    assert desk.has_incident("position_mismatch")


def test_an_ignored_difference_is_forgotten_once_the_venue_agrees(desk: ActorDesk) -> None:
    desk.quote(a_command("ignore", a_mismatch(desk)))
    desk.quote(desk.snapshot(balances=balances("1")))

    desk.quote(desk.snapshot(balances=balances("0.5")))

    assert desk.has_incident("position_mismatch")


def test_flatten_gives_back_what_the_venue_holds_and_ends_paused(desk: ActorDesk) -> None:
    incident = a_mismatch(desk)

    made = desk.take(a_command("flatten", incident), desk.trade(100))

    (place,) = made.places
    assert (place.request.side, place.request.quantity) == (Side.SELL, Decimal("0.5"))
    desk.answer()
    (order,) = desk.orders()
    assert order.purpose is Purpose.FLATTEN
    desk.quote(filled(a_fill_of(order, trade_id="9")))
    assert desk.state.position.quantity == 0
    assert not desk.state.orders
    assert not desk.state.status.is_flattening
    assert desk.state.status.is_paused


def test_flatten_ends_with_less_than_an_order_and_keeps_it_as_dust(desk: ActorDesk) -> None:
    """0.04 at 100 is below the least notional of 5: no order can give it back."""
    hold(desk, "0.04")
    desk.quote(desk.snapshot(balances=balances("0.01")))

    desk.quote(a_command("flatten", desk.incident("position_mismatch").id), desk.trade(100))
    desk.quote(desk.trade(100))

    assert not desk.state.status.is_flattening
    assert desk.state.status.is_paused
    assert desk.held == desk.state.position.quantity == Decimal("0.01")


def test_flatten_stays_within_a_narrow_collar() -> None:
    desk = ActorDesk(limits=risk_limits(price_collar_bps=Decimal(50)))
    desk.start("99.4")
    hold(desk)
    desk.quote(desk.snapshot(balances=balances("0.5")))

    made = desk.take(
        a_command("flatten", desk.incident("position_mismatch").id), desk.trade("99.4")
    )

    assert made.places
    assert not made.refusals


def test_flatten_after_cancel_all_goes_on_and_a_later_cancel_all_stops_it(desk: ActorDesk) -> None:
    incident = a_mismatch(desk)
    desk.quote(a_command("cancel-all"))

    assert desk.take(a_command("flatten", incident), desk.trade(100)).places

    desk.answer(no_acceptance(desk.orders()[0].client_order_id, OutcomeKind.NOT_SENT))
    desk.quote(a_command("cancel-all"))
    assert not desk.take(desk.trade(100), seconds=5).places


def test_flatten_is_refused_while_killed_and_its_incident_stays_open(desk: ActorDesk) -> None:
    incident = a_mismatch(desk)
    desk.quote(a_command("kill"))

    assert not desk.take(a_command("flatten", incident), desk.trade(100)).places

    assert incident in desk.state.incidents


def test_a_rejected_exit_is_not_sent_again_at_once(desk: ActorDesk) -> None:
    made = desk.take(a_command("flatten", a_mismatch(desk)), desk.trade(100))
    desk.answer(no_acceptance(made.places[0].request.client_order_id, OutcomeKind.REJECTED))

    assert not desk.take(desk.trade(100), seconds=0.1).places
    assert desk.take(desk.trade(100), seconds=1.5).places


def test_ending_an_incident_twice_or_one_that_is_not_there_changes_nothing(
    desk: ActorDesk,
) -> None:
    incident = a_mismatch(desk)
    desk.quote(a_command("adopt", incident))
    desk.quote(desk.snapshot(balances=balances("0.5")))
    position = desk.state.position

    desk.quote(a_command("flatten", incident), a_command("adopt", "nothing"))

    assert desk.state.position == position
    assert desk.mode() is SymbolMode.QUOTING
    assert not desk.state.status.is_flattening


# --- canceling ---


def test_a_cancel_that_never_arrived_is_sent_again(desk: ActorDesk) -> None:
    made = desk.take(a_command("cancel-all"))
    first = made.cancels[0].client_order_id
    others = [ended_cancel(o) for o in desk.orders() if o.client_order_id != first]
    desk.answer(*others, no_acceptance(first, OutcomeKind.UNKNOWN, action="cancel"))
    assert desk.order(first).state is OrderState.PENDING_CANCEL

    made = desk.take(looked_up(first, a_report(desk.order(first), OrderState.OPEN)))

    assert [cancel.client_order_id for cancel in made.cancels] == [first]


def test_cancel_after_a_part_fill_keeps_the_fill(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    desk.take(a_command("cancel-all"))
    desk.answer(ended_cancel(order, cumulative_quantity="0.4"))
    assert desk.order(order.client_order_id).state is OrderState.PENDING_CANCEL, "a fill is missing"

    desk.take(filled(a_fill_of(order, "0.4", trade_id="3")))

    assert desk.order(order.client_order_id).state is OrderState.CANCELED
    assert desk.state.position.quantity == desk.held == Decimal("0.4")


def test_a_snapshot_of_an_acknowledged_order_is_idempotent(desk: ActorDesk) -> None:
    order = desk.nearest_buy()
    report = accepted_place(order).report
    assert report is not None

    desk.take(reported(report), reported(report), desk.snapshot(since_at=desk.now))

    assert desk.order(order.client_order_id) == order
    assert desk.now - order.updated_at >= timedelta(seconds=1)
