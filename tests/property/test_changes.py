"""Applying the changes between two states to the first gives the second."""

from dataclasses import replace
from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from market_maker.domain.changes import apply_changes, changes_between, merge_changes
from market_maker.domain.errors import InvalidTransition
from market_maker.domain.order import Order, OrderState
from market_maker.domain.risk.limits import RiskCounters
from market_maker.domain.strategies.base import Slot, SlotState, StrategyMemory, StrategyState
from market_maker.domain.symbol import Incident, IncidentSeverity, SymbolState, SymbolStatus
from tests.builders import (
    NOW,
    SYMBOL,
    a_fill,
    a_market,
    a_position,
    an_allowance,
    an_order,
)

IDS = ("a", "b", "c")
LIVE = st.sampled_from([OrderState.OPEN, OrderState.UNKNOWN, OrderState.PENDING_CANCEL])
KEYS = st.sampled_from(["98", "99", "100"])


def _slot(key: str, holding: int, rejections: int, is_live: bool) -> Slot:
    return Slot(
        key=key,
        price=Decimal(key),
        holding=Decimal(holding),
        state=SlotState.LOCKED if is_live else SlotState.FREE,
        client_order_id="a" if is_live else "",
        post_only_rejections=rejections,
    )


def _worth_keeping(slot: Slot) -> bool:
    return not slot.is_empty or slot.post_only_rejections > 0


SLOTS = st.dictionaries(
    KEYS, st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=3
).map(
    lambda drawn: {
        key: slot for key, values in drawn.items() if _worth_keeping(slot := _slot(key, *values))
    }
)
ORDERS = st.dictionaries(st.sampled_from(IDS), LIVE, max_size=3).map(
    lambda drawn: {key: an_order(client_order_id=key, state=state) for key, state in drawn.items()}
)
INCIDENTS = st.dictionaries(st.sampled_from(IDS), st.just(""), max_size=3).map(
    lambda drawn: {
        key: Incident(
            id=key,
            symbol=SYMBOL,
            kind="test",
            severity=IncidentSeverity.OPEN,
            content="",
            opened_at=NOW,
        )
        for key in drawn
    }
)
STATES = st.builds(
    SymbolState,
    symbol=st.just(SYMBOL),
    position=st.integers(-1, 1).map(a_position),
    status=st.builds(SymbolStatus, updates_processed_count=st.integers(0, 2)),
    market=st.integers(99, 101).map(a_market),
    strategy=st.builds(
        StrategyState,
        memory=st.builds(StrategyMemory, rounds_completed_count=st.integers(0, 2)),
        slots=SLOTS,
    ),
    risk=st.builds(RiskCounters, sent_count=st.integers(0, 2)),
    allowance=st.integers(0, 2).map(lambda count: an_allowance(order_count_max=count)),
    orders=ORDERS,
    incidents=INCIDENTS,
)


def _ended(old: SymbolState, new: SymbolState) -> tuple[Order, ...]:
    return tuple(
        replace(order, state=OrderState.CANCELED)
        for key, order in old.orders.items()
        if key not in new.orders
    )


def _closed(old: SymbolState, new: SymbolState) -> tuple[Incident, ...]:
    return tuple(
        replace(incident, closed_at=NOW)
        for key, incident in old.incidents.items()
        if key not in new.incidents
    )


def _between(old: SymbolState, new: SymbolState) -> SymbolState:
    changes = changes_between(
        old, new, ended_orders=_ended(old, new), closed_incidents=_closed(old, new)
    )
    return old if changes is None else apply_changes(old, changes)


@settings(derandomize=True, max_examples=200)
@given(STATES, STATES)
def test_applying_the_changes_gives_the_new_state(old: SymbolState, new: SymbolState) -> None:
    assert _between(old, new) == new


@settings(derandomize=True, max_examples=100)
@given(STATES, STATES, STATES)
def test_merged_changes_do_what_both_do(
    first: SymbolState, second: SymbolState, third: SymbolState
) -> None:
    one = changes_between(
        first, second, ended_orders=_ended(first, second), closed_incidents=_closed(first, second)
    )
    two = changes_between(
        second, third, ended_orders=_ended(second, third), closed_incidents=_closed(second, third)
    )

    merged = merge_changes(one, two)

    assert (first if merged is None else apply_changes(first, merged)) == third


@settings(derandomize=True, max_examples=50)
@given(STATES)
def test_the_same_state_has_no_changes(state: SymbolState) -> None:
    assert changes_between(state, state) is None
    assert changes_between(state, replace(state, orders=dict(state.orders))) is None


def test_an_order_that_vanished_without_an_end_is_an_error() -> None:
    old = SymbolState(symbol=SYMBOL, position=a_position(), orders={"a": an_order()})

    with pytest.raises(InvalidTransition, match="order a vanished without an end"):
        changes_between(old, replace(old, orders={}))


def test_an_order_that_came_and_ended_in_one_batch_is_in_the_changes_once() -> None:
    state = SymbolState(symbol=SYMBOL, position=a_position())
    ended = an_order(state=OrderState.REJECTED)

    changes = changes_between(state, state, ended_orders=[ended])

    assert changes is not None
    assert changes.orders == (ended,)
    assert apply_changes(state, changes) == state


def test_fills_alone_are_a_change() -> None:
    state = SymbolState(symbol=SYMBOL, position=a_position())

    changes = changes_between(state, state, fills=[a_fill()])

    assert changes is not None
    assert changes.fills == (a_fill(),)
    assert merge_changes(None, changes) is changes
