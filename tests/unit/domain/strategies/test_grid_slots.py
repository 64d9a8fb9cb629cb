"""The slot transition table of the grid, row by row."""

# A Decimal equals the int that a reader sees beside it; mypy thinks that it cannot.
# mypy: disable-error-code="comparison-overlap"

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from market_maker.domain.fill import Side
from market_maker.domain.intents import PlaceIntent
from market_maker.domain.order import OrderState, Purpose, RejectReason
from market_maker.domain.strategies.base import SlotState
from market_maker.domain.strategies.grid import GridMode
from tests.builders import SYMBOL, at, grid_settings
from tests.desk import Desk, prices


def a_desk_with_a_buy(**settings: object) -> tuple[Desk, str]:
    """One opening buy of 1 at 99, accepted."""
    desk = Desk(grid_settings(buy_levels_max=1, sell_levels_max=3, **settings))
    desk.quote(100)
    return desk, desk.live_at(Side.BUY, 99)


def test_a_planned_order_claims_its_slot_before_anything_is_sent() -> None:
    desk = Desk()
    intent = desk.plan(100).places[0]

    order_id = desk.claim(intent)

    slot = desk.slot("99")
    assert (slot.state, slot.client_order_id) == (SlotState.PENDING, order_id)


def test_acceptance_locks_the_slot() -> None:
    desk, order_id = a_desk_with_a_buy()

    assert desk.slot("99").state is SlotState.LOCKED
    assert desk.slot("99").client_order_id == order_id


def test_a_fill_before_the_acknowledgement_wins() -> None:
    desk = Desk()
    order_id = desk.claim(desk.plan(100).places[0])

    desk.fill(order_id, "0.4")
    desk.accept(order_id)

    assert desk.slot("99").state is SlotState.LOCKED
    assert desk.slot("99").holding == Decimal("0.4")


def test_a_rejection_frees_the_slot() -> None:
    desk = Desk()
    order_id = desk.claim(desk.plan(100).places[0])

    desk.reject(order_id)

    assert desk.state.slots == {}


def test_an_unknown_outcome_keeps_the_slot_pending_and_blocks_only_it() -> None:
    desk = Desk()
    first, second, third = (desk.claim(intent) for intent in desk.plan(100).places)
    desk.accept(second)
    desk.reject(third)

    desk.lose(first)

    assert desk.slot("99").state is SlotState.PENDING
    assert desk.slot("99").is_unknown
    assert [intent.price for intent in desk.plan(100).places] == [97]


def test_trap_19_an_order_that_was_never_placed_frees_its_slot_only_when_it_expired() -> None:
    desk = Desk()
    order_id = desk.claim(desk.plan(100).places[0])
    desk.lose(order_id)

    desk.expire(order_id)

    assert desk.state.slots == {}


def test_a_partial_fill_grows_the_holding_by_the_delta() -> None:
    desk, order_id = a_desk_with_a_buy()

    desk.fill(order_id, "0.4")
    desk.fill(order_id, "0.1")

    assert desk.slot("99").holding == Decimal("0.5")
    assert desk.slot("99").state is SlotState.LOCKED


def test_a_filled_opening_order_leaves_a_free_slot_that_holds() -> None:
    desk, order_id = a_desk_with_a_buy()

    desk.fill(order_id)

    slot = desk.slot("99")
    assert (slot.state, slot.holding, slot.entry_price) == (SlotState.FREE, 1, 99)


def test_trap_08_a_canceled_opening_order_keeps_its_partial_fill() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id, "0.4")

    desk.cancel(order_id)

    slot = desk.slot("99")
    assert (slot.state, slot.holding, slot.client_order_id) == (SlotState.FREE, Decimal("0.4"), "")


def test_a_canceled_opening_order_without_a_fill_empties_the_slot() -> None:
    desk, order_id = a_desk_with_a_buy()

    desk.cancel(order_id)

    assert desk.state.slots == {}


def test_trap_06_a_closing_order_keeps_the_slot_of_its_origin() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id)

    closing = desk.plan(99).places[0]
    desk.accept(desk.claim(closing))

    assert (closing.side, closing.price, closing.slot) == (Side.SELL, 100, "99")
    assert desk.slot("99").state is SlotState.LOCKED
    assert "100" not in desk.state.slots
    assert not [i for i in desk.plan("99.5").places if i.purpose is Purpose.CLOSING]


def test_a_filled_closing_order_completes_a_round_and_the_slot_may_open_again() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id)
    desk.quote(99)

    desk.fill(desk.live_at(Side.SELL, 100), fee="0.1")

    assert "99" not in desk.state.slots
    assert desk.state.memory.rounds_completed_count == 1
    assert desk.state.memory.round_profit_quote == Decimal("0.9")
    desk.quote(100)  # cancels the buy at 98, which 99 replaces
    assert [intent.price for intent in desk.plan(100).places] == [99]


def test_round_profit_counts_the_fees_of_both_orders() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id, fee="0.1")
    desk.quote(99)

    desk.fill(desk.live_at(Side.SELL, 100), fee="0.1")

    assert desk.state.memory.round_profit_quote == Decimal("0.8")


def test_a_canceled_closing_order_leaves_the_remainder_to_be_closed_again() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id)
    desk.quote(99)
    closing_id = desk.live_at(Side.SELL, 100)
    desk.fill(closing_id, "0.4")

    desk.cancel(closing_id)

    assert desk.slot("99").holding == Decimal("0.6")
    again = desk.plan(99).places[0]
    assert (again.slot, again.quantity) == ("99", Decimal("0.6"))


def test_trap_07_a_short_is_held_and_closed_one_interval_below() -> None:
    desk = Desk(grid_settings(mode=GridMode.NEUTRAL, buy_levels_max=1, sell_levels_max=1))
    desk.quote(100)
    desk.fill(desk.live_at(Side.SELL, 101), fee="0.1")

    slot = desk.slot("101")
    closing = desk.plan(101).places[0]

    assert (slot.holding, slot.entry_price) == (-1, Decimal("100.9"))
    assert (closing.side, closing.price, closing.quantity, closing.slot) == (
        Side.BUY,
        100,
        1,
        "101",
    )
    desk.accept(desk.claim(closing))
    desk.fill(desk.live_at(Side.BUY, 100), fee="0.1")
    assert "101" not in desk.state.slots
    assert desk.state.memory.round_profit_quote == Decimal("0.8")


def test_an_order_that_is_not_the_slots_leaves_the_slot_untouched_and_its_fill_is_dust() -> None:
    desk, first = a_desk_with_a_buy()
    desk.cancel(first)
    desk.quote(100)
    before = desk.slot("99")

    desk.fill(first, "0.5")

    assert desk.slot("99") == before
    assert desk.state.memory.dust_quantity == Decimal("0.5")
    assert desk.held == desk.position.quantity


def test_a_late_fill_gets_a_slot_of_its_own_and_is_sold() -> None:
    desk, first = a_desk_with_a_buy()
    desk.cancel(first)
    desk.quote(100)
    desk.fill(first, "0.5")

    closing = desk.plan(100).places[0]

    assert (closing.side, closing.quantity, closing.price) == (Side.SELL, Decimal("0.5"), 101)
    assert desk.state.memory.dust_quantity == 0


def test_a_late_closing_fill_is_set_off_against_the_holding_and_never_sold_twice() -> None:
    desk, first = a_desk_with_a_buy()
    desk.fill(first)
    desk.quote(99)
    closing_id = desk.live_at(Side.SELL, 100)
    desk.cancel(closing_id)
    desk.fill(closing_id)

    plan = desk.plan(99)

    assert desk.position.quantity == 0
    assert not [i for i in plan.places if i.side is Side.SELL]
    assert desk.held == 0


def test_a_flatten_empties_the_slots() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id)
    exit_intent = PlaceIntent(
        symbol=SYMBOL,
        side=Side.SELL,
        price=Decimal(99),
        quantity=Decimal(1),
        purpose=Purpose.FLATTEN,
    )

    desk.fill(desk.claim(exit_intent))

    assert desk.state.slots == {}
    assert desk.state.memory.dust_quantity == 0


def test_news_of_an_order_without_a_slot_changes_nothing() -> None:
    desk, _ = a_desk_with_a_buy()
    state = desk.state
    foreign = replace(desk.find(desk.live_at(Side.BUY, 99)), client_order_id="other")

    after = desk.strategy.on_order(
        state,
        replace(foreign, state=OrderState.CANCELED),
        now=desk.now,
        instrument=desk.instrument,
    )

    assert after is state


def test_repeated_news_returns_the_very_same_state() -> None:
    desk, order_id = a_desk_with_a_buy()
    state = desk.state

    desk.put(desk.find(order_id))

    assert desk.state is state


# --- fees in base ---


def test_the_closing_quantity_is_what_was_received_rounded_down_to_the_lot() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id, fee="0.0005", fee_asset="BTC")

    closing = desk.plan(99).places[0]

    assert closing.quantity == Decimal("0.999")
    assert desk.state.memory.dust_quantity == Decimal("0.0005")
    assert desk.slot("99").holding == Decimal("0.999")


def test_dust_is_sold_with_a_closing_order_once_it_reaches_a_lot() -> None:
    desk = Desk(grid_settings(buy_levels_max=1))
    for price in (99, 98):
        desk.quote(price + 1)
        desk.fill(desk.live_at(Side.BUY, price), fee="0.0005", fee_asset="BTC")

    closing = desk.plan(98).places[0]

    assert desk.state.memory.dust_quantity == 0
    assert sum((i.quantity for i in desk.plan(98).places if i.side is Side.SELL), Decimal(0)) + sum(
        (order.quantity for order in desk.live(Side.SELL)), Decimal(0)
    ) == Decimal("1.999")
    assert closing.quantity == Decimal("1.000")


def test_a_partial_fill_below_the_least_notional_is_never_immortal() -> None:
    desk, order_id = a_desk_with_a_buy()
    desk.fill(order_id, "0.01")  # worth 0.99, the venue takes nothing below 5
    desk.cancel(order_id)

    plan = desk.plan(100)

    assert [intent.purpose for intent in plan.places] == [Purpose.OPENING]
    assert desk.state.memory.dust_quantity == Decimal("0.01")
    desk.accept(desk.claim(plan.places[0]))
    desk.fill(desk.live_at(Side.BUY, 99))
    assert desk.plan(99).places[0].quantity == Decimal("1.01")


# --- rejections ---


def test_trap_17_a_post_only_rejection_is_never_answered_by_an_immediate_taker_order() -> None:
    desk = Desk()
    seen: list[PlaceIntent] = []

    for _ in range(4):
        intent = next(i for i in desk.plan(100).places if i.slot == "99")
        seen.append(intent)
        desk.reject(desk.claim(intent), RejectReason.POST_ONLY)

    assert [intent.post_only for intent in seen] == [True, True, True, False]
    assert {intent.price for intent in seen} == {Decimal(99)}
    assert {intent.type.value for intent in seen} == {"LIMIT"}


def test_acceptance_forgets_post_only_rejections() -> None:
    desk = Desk()
    desk.reject(desk.claim(desk.plan(100).places[0]), RejectReason.POST_ONLY)
    order_id = desk.claim(desk.plan(100).places[0])

    desk.accept(order_id)

    assert desk.slot("99").post_only_rejections == 0


def test_rejections_of_levels_far_away_are_forgotten() -> None:
    desk = Desk()
    desk.reject(desk.claim(desk.plan(100).places[0]), RejectReason.POST_ONLY)
    assert desk.slot("99").post_only_rejections == 1

    desk.plan(500)

    assert "99" not in desk.state.slots


def test_insufficient_balance_starts_the_margin_lock_closing_only_until_it_expires() -> None:
    desk = Desk(grid_settings(margin_lock=timedelta(seconds=60)))
    first, second, third = (desk.claim(intent) for intent in desk.plan(100).places)
    desk.accept(first)
    desk.fill(first)
    desk.accept(second)
    desk.reject(third, RejectReason.INSUFFICIENT_BALANCE)

    locked = desk.plan(99)

    assert [cancel.client_order_id for cancel in locked.cancels] == [second]
    assert [intent.purpose for intent in locked.places] == [Purpose.CLOSING]
    assert locked.wake_at == at(60)
    desk.cancel(second)
    desk.now = at(60)
    unlocked = desk.plan(99)
    assert unlocked.wake_at is None
    assert Purpose.OPENING in [intent.purpose for intent in unlocked.places]


def test_desk_prices_read_as_numbers() -> None:
    desk = Desk()
    desk.quote(100)

    assert prices(desk.live(Side.BUY)) == ["97", "98", "99"]
