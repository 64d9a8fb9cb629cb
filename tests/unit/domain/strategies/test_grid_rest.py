"""On a market that stands still a grid comes to rest: no plan undoes the one before."""

from dataclasses import replace
from decimal import Decimal
from itertools import count

import pytest

from market_maker.domain.fill import Side
from market_maker.domain.order import Purpose
from market_maker.domain.strategies.base import Slot
from market_maker.domain.strategies.grid import GridMode
from tests.builders import grid_settings
from tests.desk import Desk

ROUNDS_MAX = 50


def holding(desk: Desk, *prices: int, quantity: int = 1) -> None:
    """Slots that hold something and wait for a closing order."""
    slots = dict(desk.state.slots)
    for price in prices:
        key = str(price)
        slots[key] = Slot(
            key=key, price=Decimal(price), holding=Decimal(quantity), entry_price=Decimal(price)
        )
    desk.state = replace(desk.state, slots=slots)


def rounds_until_rest(desk: Desk, price: str) -> int:
    for rounds in count():
        plan = desk.quote(price)
        if not plan.places and not plan.cancels:
            return rounds
        assert rounds < ROUNDS_MAX, f"still {plan.places} and {plan.cancels}"
    raise AssertionError


@pytest.mark.parametrize(
    ("side", "price", "far", "passed", "next_"),
    [
        (Side.SELL, "100.6", (80, 81, 82, 83), (98, 99), 100),
        (Side.BUY, "99.4", (117, 118, 119, 120), (101, 102), 100),
    ],
)
def test_holdings_whose_orders_follow_the_market_leave_room_to_nearer_ones(
    side: Side, price: str, far: tuple[int, ...], passed: tuple[int, ...], next_: int
) -> None:
    desk = Desk(grid_settings(mode=GridMode.NEUTRAL, window_levels=8))
    quantity = 1 if side is Side.SELL else -1
    holding(desk, *far, quantity=quantity)
    desk.quote(price)
    # The market has just passed where these close: they are nearest of all.
    holding(desk, *passed, next_, quantity=quantity)

    assert rounds_until_rest(desk, price) < 10

    assert {order.slot for order in desk.live(side, Purpose.CLOSING)} >= set(map(str, passed))
