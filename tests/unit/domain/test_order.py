# A Decimal equals the int that a reader sees beside it; mypy thinks that it cannot.
# mypy: disable-error-code="comparison-overlap"

from dataclasses import replace
from decimal import Decimal

import pytest

from market_maker.domain.errors import DuplicateFill, InvalidTransition, InvalidUpdate
from market_maker.domain.fill import Side
from market_maker.domain.order import (
    LEGAL_TRANSITIONS,
    OrderState,
    apply_fill,
    apply_report,
    derive_client_order_id,
    transition,
)
from tests.builders import a_fill, a_fill_of, a_report, an_order

S = OrderState


@pytest.mark.parametrize("state", [state for state in S if state.is_terminal])
def test_no_state_follows_a_terminal_one(state: OrderState) -> None:
    order = an_order(state=state)

    for other in S:
        if other is not state:
            with pytest.raises(InvalidTransition, match=f"{state} → {other}"):
                transition(order, other)


def test_every_state_says_where_it_may_go() -> None:
    assert set(LEGAL_TRANSITIONS) == set(S)


def test_nothing_becomes_pending_new_again() -> None:
    assert all(S.PENDING_NEW not in states for states in LEGAL_TRANSITIONS.values())


def test_entering_the_present_state_changes_nothing() -> None:
    order = an_order()

    assert transition(order, S.OPEN) is order


@pytest.mark.parametrize("state", [S.PENDING_NEW, S.UNKNOWN])
def test_a_fill_before_the_acknowledgement_wins_and_the_acknowledgement_does_not_undo_it(
    state: OrderState,
) -> None:
    order = an_order(state=state)

    order = apply_fill(order, a_fill_of(order, "0.4"))
    order = apply_report(order, a_report(order, S.OPEN, cumulative_quantity=0))

    assert order.state is S.PARTIALLY_FILLED
    assert order.filled_quantity == Decimal("0.4")


def test_trap_08_canceled_order_keeps_its_partial_fill_and_waits_for_the_missing_one() -> None:
    order = an_order()
    order = apply_report(order, a_report(order, S.CANCELED, cumulative_quantity="0.5"))
    assert order.state is S.OPEN
    assert order.is_fills_missing

    order = apply_fill(order, a_fill_of(order, "0.5"))

    assert order.state is S.CANCELED
    assert order.filled_quantity == Decimal("0.5")
    assert order.reported_state is None


def test_filled_without_a_cumulative_waits_for_every_fill() -> None:
    order = an_order()

    order = apply_report(order, a_report(order, S.FILLED, cumulative_quantity=0))

    assert order.state is S.OPEN
    assert order.is_fills_missing
    order = apply_fill(order, a_fill_of(order))
    assert order.state is S.FILLED


def test_a_canceled_order_whose_fills_complete_it_is_filled() -> None:
    order = an_order()
    order = apply_report(order, a_report(order, S.CANCELED, cumulative_quantity=1))

    order = apply_fill(order, a_fill_of(order))

    assert order.state is S.FILLED
    assert order.reported_state is None


def test_an_order_that_traded_was_not_rejected() -> None:
    order = an_order(state=S.UNKNOWN)
    order = apply_fill(order, a_fill_of(order, "0.5"))

    order = apply_report(order, a_report(order, S.REJECTED))

    assert order.state is S.CANCELED


def test_repeated_and_older_reports_change_nothing_at_all() -> None:
    order = apply_fill(an_order(), a_fill(quantity="0.2"))
    order = apply_report(order, a_report(order, S.CANCELED, cumulative_quantity="0.5"))
    canceled = a_report(order, S.CANCELED, cumulative_quantity="0.5")
    opened = a_report(order, S.OPEN, cumulative_quantity=0)

    assert apply_report(order, canceled) is order
    assert apply_report(order, opened) is order


def test_an_open_report_does_not_undo_a_pending_cancel() -> None:
    order = an_order(state=S.PENDING_CANCEL, exchange_order_id="x-o1")

    assert apply_report(order, a_report(order, S.OPEN)) is order


def test_a_venue_that_says_pending_cancel_says_that_the_order_rests() -> None:
    order = an_order(state=S.UNKNOWN)

    assert apply_report(order, a_report(order, S.PENDING_CANCEL)).state is S.OPEN


def test_news_that_is_no_news_leaves_an_unknown_order_unknown() -> None:
    order = an_order(state=S.UNKNOWN, exchange_order_id="x-o1")

    assert apply_report(order, a_report(order, S.PENDING_NEW)) is order


def test_a_late_cumulative_shows_on_an_ended_order() -> None:
    order = an_order(state=S.EXPIRED)

    order = apply_report(order, a_report(order, S.OPEN, cumulative_quantity="0.5"))

    assert order.state is S.EXPIRED
    assert order.is_fills_missing


def test_a_late_fill_of_an_ended_order_is_booked() -> None:
    order = an_order(state=S.CANCELED)

    order = apply_fill(order, a_fill_of(order, "0.5"))

    assert order.state is S.CANCELED
    assert order.filled_quantity == Decimal("0.5")


def test_trap_11_the_same_fill_twice_is_a_duplicate() -> None:
    order = apply_fill(an_order(), a_fill(trade_id="t1", quantity="0.5"))

    with pytest.raises(DuplicateFill):
        apply_fill(order, a_fill(trade_id="t1", quantity="0.5"))


@pytest.mark.parametrize(
    "overrides",
    [
        {"quantity": "1.1"},
        {"quantity": "0"},
        {"quantity": "NaN"},
        {"price": "-1"},
        {"price": "NaN"},
        {"fee": "Infinity"},
        {"side": Side.SELL},
        {"symbol": "ETH/USDT"},
    ],
)
def test_an_impossible_fill_is_refused(overrides: dict[str, object]) -> None:
    with pytest.raises(InvalidUpdate):
        apply_fill(an_order(), a_fill(**overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        {"cumulative_quantity": "1.1"},
        {"cumulative_quantity": "-1"},
        {"cumulative_quantity": "NaN"},
        {"side": Side.SELL},
        {"symbol": "ETH/USDT"},
    ],
)
def test_an_impossible_report_is_refused(overrides: dict[str, object]) -> None:
    order = an_order()

    with pytest.raises(InvalidUpdate):
        apply_report(order, a_report(order, S.OPEN, **overrides))


def test_a_request_carries_the_order() -> None:
    order = an_order()

    request = order.to_request()

    assert (request.client_order_id, request.price, request.quantity, request.post_only) == (
        "o1",
        100,
        1,
        True,
    )


def test_remaining_quantity_counts_what_the_venue_says_has_traded() -> None:
    order = an_order(cumulative_quantity="0.5", filled_quantity="0.2")

    assert order.remaining_quantity == Decimal("0.5")


def test_trap_04_a_client_order_id_comes_from_the_journaled_input_alone() -> None:
    given = {"tag": "abc", "bot": "paper", "lane": 0, "sequence": 7, "epoch": "e"}

    first = derive_client_order_id(**given, index=0)  # type: ignore[arg-type]

    assert first == derive_client_order_id(**given, index=0)  # type: ignore[arg-type]
    assert first != derive_client_order_id(**given, index=1)  # type: ignore[arg-type]
    assert len(first) == 18
    assert first.startswith("abc")
    assert first.isalnum()
    assert first == first.lower()


def test_a_late_exchange_order_id_is_kept() -> None:
    order = replace(an_order(), exchange_order_id="")

    assert apply_report(order, a_report(order, S.OPEN)).exchange_order_id == "x-o1"
