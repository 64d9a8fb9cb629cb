"""What the grid places and cancels."""

# A Decimal equals the int that a reader sees beside it; mypy thinks that it cannot.
# mypy: disable-error-code="comparison-overlap"

from decimal import Decimal

import pytest

from market_maker.domain.errors import ConfigError
from market_maker.domain.fill import Side
from market_maker.domain.order import OrderState, Purpose, transition
from market_maker.domain.strategies.base import Slot, StrategyMemory, StrategyState
from market_maker.domain.strategies.grid import GridMode, GridStrategy, rebuild
from market_maker.domain.strategies.registry import settings_type_for, strategy_for
from tests.builders import (
    a_market,
    a_plan_context,
    an_allowance,
    an_instrument,
    grid_settings,
)
from tests.desk import Desk, prices

NEUTRAL = grid_settings(mode=GridMode.NEUTRAL)


def test_opening_buys_lie_below_the_price_nearest_first() -> None:
    plan = Desk().plan("100.4")

    assert [(i.side, i.price, i.quantity) for i in plan.places] == [
        (Side.BUY, 100, 1),
        (Side.BUY, 99, 1),
        (Side.BUY, 98, 1),
    ]
    assert all(intent.post_only for intent in plan.places)


def test_a_level_within_a_tenth_of_an_interval_is_not_eligible() -> None:
    assert Desk().plan("100.10").places[0].price == 99
    assert Desk().plan("100.11").places[0].price == 100


def test_neutral_mode_mirrors_the_buys_above() -> None:
    plan = Desk(NEUTRAL).plan(100)

    assert sorted((i.side.value, i.price) for i in plan.places) == [
        ("BUY", 97),
        ("BUY", 98),
        ("BUY", 99),
        ("SELL", 101),
        ("SELL", 102),
        ("SELL", 103),
    ]


def test_nothing_is_planned_twice() -> None:
    desk = Desk(NEUTRAL)
    desk.quote(100)

    plan = desk.plan(100)

    assert (plan.places, plan.cancels, plan.idle_reason) == ((), (), "")
    assert plan.state is desk.state


def test_trap_15_the_anchor_is_the_first_price_ever_seen_and_survives_a_restart() -> None:
    settings = grid_settings(anchor=None, interval_quote=None, interval_bps=Decimal(100))
    desk = Desk(settings)
    desk.quote("100.50")
    assert prices(desk.live(Side.BUY)) == ["97.47", "98.48", "99.49"]

    restarted = GridStrategy(settings).plan(desk.state, a_plan_context("103.30"))

    assert restarted.state.memory.anchor == Decimal("100.50")
    assert restarted.places[0].price == Decimal("102.52")


def test_an_anchor_in_the_settings_wins_over_the_stored_one() -> None:
    state = StrategyState(memory=StrategyMemory(anchor=Decimal("7.77")))

    plan = GridStrategy(grid_settings(anchor=Decimal(100))).plan(state, a_plan_context(100))

    assert plan.state.memory.anchor == 100


def test_trap_12_notional_is_quote_and_quantity_is_base() -> None:
    by_notional = grid_settings(order_quantity_base=None, order_notional_quote=Decimal(50))

    plan = Desk(by_notional).plan(100)

    assert plan.places[0].quantity == Decimal("0.505")  # 50 / 99, down to the lot


def test_an_order_below_the_least_notional_with_its_margin_is_not_planned() -> None:
    settings = grid_settings(order_quantity_base=None, order_notional_quote=Decimal("5.2"))

    plan = Desk(settings).plan(100)

    assert plan.places == ()
    assert plan.idle_reason == "an order would be below the venue's minimum"


def test_bounds_hold_for_opening_orders() -> None:
    desk = Desk(grid_settings(lower=Decimal(98), upper=Decimal(101)))

    assert [intent.price for intent in desk.plan(100).places] == [99, 98]
    assert desk.plan(200).places == ()
    assert desk.plan(200).idle_reason == "the market is outside the bounds"


def test_opening_orders_outside_new_bounds_are_canceled() -> None:
    desk = Desk()
    desk.quote(100)
    desk.strategy = GridStrategy(grid_settings(lower=Decimal(98)))

    plan = desk.plan(100)

    assert [cancel.client_order_id for cancel in plan.cancels] == [desk.live_at(Side.BUY, 97)]


def test_the_grid_follows_the_market_by_canceling_the_farthest_order_first() -> None:
    desk = Desk()
    desk.quote(100)

    first = desk.quote(101)
    second = desk.quote(101)

    assert first.places == ()
    assert len(first.cancels) == 1
    assert [intent.price for intent in second.places] == [100]
    assert prices(desk.live(Side.BUY)) == ["98", "99", "100"]


def test_a_cancel_under_way_is_not_asked_for_again() -> None:
    desk = Desk()
    desk.quote(100)
    (cancel,) = desk.plan(101).cancels
    order = desk.find(cancel.client_order_id)
    desk.put(transition(order, OrderState.PENDING_CANCEL))

    again = desk.plan(101)

    assert (again.places, again.cancels) == ((), ())


def test_orders_beyond_the_window_are_canceled_partly_filled_ones_last() -> None:
    desk = Desk(grid_settings(window_levels=4))
    desk.quote(100)
    far = desk.live_at(Side.BUY, 97)
    desk.fill(far, "0.5")

    plan = desk.plan(103)

    beyond = [c.client_order_id for c in plan.cancels if c.reason == "beyond the window"]
    assert beyond == [
        desk.live_at(Side.BUY, 98),
        far,
    ]


def test_holdings_beyond_the_window_wait_for_the_market() -> None:
    desk = Desk(grid_settings(window_levels=5))
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.quote(90)

    assert desk.live(Side.SELL) == []
    assert prices(_after(desk, 96).live(Side.SELL)) == ["100"]


def test_closing_orders_come_first_nearest_first_up_to_the_level_count() -> None:
    desk = Desk(grid_settings(buy_levels_max=4, sell_levels_max=2))
    desk.quote(100)
    for price in (99, 98, 97):
        desk.fill(desk.live_at(Side.BUY, price))

    plan = desk.plan(97)

    closings = [i for i in plan.places if i.purpose is Purpose.CLOSING]
    assert [(i.price, i.slot) for i in closings] == [(98, "97"), (99, "98")]
    assert plan.places[:2] == tuple(closings)


def test_a_nearer_closing_order_takes_the_room_of_the_farthest() -> None:
    desk = Desk(grid_settings(buy_levels_max=4, sell_levels_max=2))
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.fill(desk.live_at(Side.BUY, 98))
    desk.quote(98)
    desk.fill(desk.live_at(Side.BUY, 97))

    plan = desk.plan(97)

    assert [cancel.client_order_id for cancel in plan.cancels] == [desk.live_at(Side.SELL, 100)]


def test_a_holding_that_the_market_ran_past_follows_it() -> None:
    state = StrategyState(
        slots={"50": Slot(key="50", price=Decimal(50), holding=Decimal(1), entry_price=Decimal(50))}
    )

    plan = GridStrategy(grid_settings()).plan(state, a_plan_context("100.4"))

    assert (plan.places[0].side, plan.places[0].price) == (Side.SELL, 101)


def test_a_short_that_the_market_fell_away_from_follows_it() -> None:
    state = StrategyState(
        slots={
            "150": Slot(
                key="150", price=Decimal(150), holding=Decimal(-1), entry_price=Decimal(150)
            )
        }
    )

    plan = GridStrategy(NEUTRAL).plan(state, a_plan_context("100.4"))

    assert (plan.places[0].side, plan.places[0].price) == (Side.BUY, 100)


def test_no_order_is_planned_that_would_meet_an_own_one() -> None:
    desk = Desk()
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.quote(99)
    desk.fill(desk.live_at(Side.SELL, 100), "0.5")

    desk.quote("100.5")  # the rest of the sell at 100 is about to trade
    plan = desk.plan("100.5")

    assert Decimal(100) not in [intent.price for intent in plan.places]
    desk.fill(desk.live_at(Side.SELL, 100))
    desk.quote("100.5")
    desk.quote("100.5")
    assert Decimal(100) in [order.price for order in desk.live(Side.BUY)]


def test_an_order_that_turned_out_live_may_have_its_slot_back_while_it_is_free() -> None:
    desk = Desk()
    desk.quote(100)
    opening = desk.find(desk.live_at(Side.BUY, 99))
    assert not desk.strategy.wants(desk.state, opening)

    desk.cancel(opening.client_order_id)
    assert desk.strategy.wants(desk.state, opening)

    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.quote(99)
    closing = desk.find(desk.live_at(Side.SELL, 100))
    assert not desk.strategy.wants(desk.state, closing)
    desk.cancel(closing.client_order_id)
    assert desk.strategy.wants(desk.state, closing)


def test_an_opening_order_never_doubles_the_level_of_a_closing_order() -> None:
    desk = Desk(NEUTRAL)
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.fill(desk.live_at(Side.BUY, 98))

    desk.quote(98)
    desk.quote(98)

    assert prices(desk.live(Side.SELL)) == ["99", "100", "101"]


def test_the_allowance_bounds_the_order_count_and_trims_opening_orders_first() -> None:
    desk = Desk(NEUTRAL)
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.quote(99)

    plan = desk.plan(99, allowance=an_allowance(order_count_max=2))

    left = {order.price for order in desk.orders.values()} - {
        desk.find(cancel.client_order_id).price for cancel in plan.cancels
    }
    assert left == {Decimal(100), Decimal(98)}
    assert plan.places == ()


def test_without_opening_only_closing_orders_are_planned_and_opening_ones_canceled() -> None:
    desk = Desk()
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))

    plan = desk.plan(99, is_opening_allowed=False)

    assert [intent.purpose for intent in plan.places] == [Purpose.CLOSING]
    assert len(plan.cancels) == 2


def test_a_withdrawn_allowance_says_why_nothing_is_quoted() -> None:
    allowance = an_allowance(is_opening_allowed=False, reason="breaker drawdown")

    assert Desk().plan(100, allowance=allowance).idle_reason == "breaker drawdown"


def test_without_a_price_nothing_is_planned() -> None:
    plan = GridStrategy(grid_settings()).plan(StrategyState(), a_plan_context(None))

    assert (plan.places, plan.idle_reason) == ((), "no price yet")


def test_a_crossed_book_is_not_quoted() -> None:
    context = a_plan_context(market=a_market(100, bid=101, ask=100))

    plan = GridStrategy(grid_settings()).plan(StrategyState(), context)

    assert (plan.places, plan.idle_reason) == ((), "the book is crossed")


def test_a_round_keeps_its_correlation_id() -> None:
    desk = Desk()
    desk.quote(100)
    opening_id = desk.live_at(Side.BUY, 99)
    desk.fill(opening_id)

    closing = desk.plan(99).places[0]

    assert closing.correlation_id == desk.find(opening_id).correlation_id == "bot/0/1/99"


def test_a_plan_does_not_depend_on_the_order_of_rows() -> None:
    desk = Desk(NEUTRAL)
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99))
    desk.fill(desk.live_at(Side.SELL, 101))
    reordered = StrategyState(
        memory=desk.state.memory, slots=dict(reversed(list(desk.state.slots.items())))
    )
    orders = list(desk.orders.values())

    one = desk.strategy.plan(desk.state, a_plan_context("100.2", orders=orders))
    other = desk.strategy.plan(reordered, a_plan_context("100.2", orders=orders[::-1]))

    assert (one.places, one.cancels) == (other.places, other.cancels)


# --- rebuild ---


def test_rebuild_fills_slots_upwards_and_the_last_takes_the_remainder() -> None:
    state = rebuild(
        grid_settings(anchor=None),
        StrategyState(),
        quantity=Decimal("2.5005"),
        price=Decimal(100),
        instrument=an_instrument(),
    )

    assert [(slot.key, slot.holding) for slot in state.slots.values()] == [
        ("101", Decimal("0.833")),
        ("102", Decimal("0.833")),
        ("103", Decimal("0.8345")),
    ]
    assert state.memory.anchor == 100


def test_rebuild_mirrors_a_short_downwards() -> None:
    state = rebuild(
        NEUTRAL,
        StrategyState(),
        quantity=Decimal(-2),
        price=Decimal(100),
        instrument=an_instrument(),
    )

    assert [(slot.key, slot.holding) for slot in state.slots.values()] == [("99", -1), ("98", -1)]


def test_rebuild_keeps_the_slots_of_live_orders_and_counts_what_they_hold() -> None:
    desk = Desk()
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99), "0.5")

    state = rebuild(
        grid_settings(),
        desk.state,
        quantity=Decimal("1.5"),
        price=Decimal(100),
        instrument=desk.instrument,
    )

    assert state.slots["99"] == desk.slot("99")
    assert state.slots["101"].holding == 1


def test_rebuild_with_live_orders_that_hold_too_much_sets_the_difference_off_later() -> None:
    desk = Desk()
    desk.quote(100)
    desk.fill(desk.live_at(Side.BUY, 99), "0.5")

    state = rebuild(
        grid_settings(),
        desk.state,
        quantity=Decimal("0.2"),
        price=Decimal(100),
        instrument=desk.instrument,
    )

    assert state.memory.dust_quantity == Decimal("-0.3")
    assert set(state.slots) == {"97", "98", "99"}


def test_rebuild_passes_over_the_slots_of_live_orders() -> None:
    desk = Desk(NEUTRAL)
    desk.quote(100)

    state = rebuild(
        NEUTRAL, desk.state, quantity=Decimal(2), price=Decimal(100), instrument=desk.instrument
    )

    assert [key for key, slot in state.slots.items() if slot.holding] == ["104", "105"]


def test_rebuild_of_a_short_never_reaches_a_price_of_zero() -> None:
    state = rebuild(
        grid_settings(mode=GridMode.NEUTRAL, anchor=Decimal(4)),
        StrategyState(),
        quantity=Decimal(-9),
        price=Decimal(4),
        instrument=an_instrument(),
    )

    assert [(slot.key, slot.holding) for slot in state.slots.values()] == [
        ("3", Decimal("-4.5")),
        ("2", Decimal("-4.5")),
    ]


def test_rebuild_is_bounded() -> None:
    state = rebuild(
        grid_settings(),
        StrategyState(),
        quantity=Decimal(5000),
        price=Decimal(100),
        instrument=an_instrument(),
    )

    assert len(state.slots) == 1000
    assert sum(slot.holding for slot in state.slots.values()) == 5000


def test_rebuild_of_nothing_is_empty() -> None:
    state = rebuild(
        grid_settings(),
        StrategyState(),
        quantity=Decimal(0),
        price=Decimal(100),
        instrument=an_instrument(),
    )

    assert state.slots == {}


# --- settings and registry ---


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"interval_bps": Decimal(1)}, "exactly one of interval_quote and interval_bps"),
        ({"interval_quote": None}, "exactly one of interval_quote and interval_bps"),
        ({"order_quantity_base": Decimal(0)}, "order_quantity_base must be above 0"),
        ({"buy_levels_max": 0, "sell_levels_max": 0}, "must not be negative nor both 0"),
        ({"window_levels": 3}, "window_levels must be at least 4"),
        ({"lower": Decimal(2), "upper": Decimal(1)}, "lower 2 must be below upper 1"),
        ({"anchor": Decimal(-1)}, "anchor must be above 0"),
        ({"eligibility_gap_ratio": Decimal("0.5")}, "eligibility_gap_ratio"),
    ],
)
def test_settings_that_are_no_grid_are_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grid_settings(**overrides)


def test_the_registry_finds_the_strategy_of_settings() -> None:
    settings = grid_settings()

    assert isinstance(strategy_for(settings), GridStrategy)
    assert settings_type_for("grid") is type(settings)
    with pytest.raises(ConfigError, match="'gird', expected one of: grid"):
        settings_type_for("gird")


def test_the_interval_is_rounded_up_to_the_tick() -> None:
    settings = grid_settings(interval_quote=Decimal("0.995"))

    plan = Desk(settings, an_instrument(tick_size=Decimal("0.1"))).plan(100)

    assert plan.places[0].price == Decimal("99.0")


def _after(desk: Desk, price: int) -> Desk:
    desk.quote(price)
    return desk


def test_closings_that_the_market_has_passed_are_not_traded_for_one_another() -> None:
    """Ordered by the bare distance, one would be canceled for the next at every batch, for ever."""
    desk = Desk(grid_settings(sell_levels_max=3, buy_levels_max=0))
    desk.state = StrategyState(
        memory=StrategyMemory(anchor=Decimal(100)),
        slots={
            key: Slot(key=key, price=Decimal(key), holding=Decimal(1), entry_price=Decimal(key))
            for key in ("92", "93", "94", "97")
        },
    )
    desk.quote(100)
    desk.quote(100)

    for _ in range(5):
        plan = desk.quote(100)
        assert plan.cancels == ()
        assert plan.places == ()
