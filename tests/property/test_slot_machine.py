"""The slot machine under everything a venue can do, in any order."""

from collections import Counter
from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from market_maker.domain.errors import DuplicateFill
from market_maker.domain.fill import Side
from market_maker.domain.intents import PlaceIntent
from market_maker.domain.order import (
    OrderState,
    OrderType,
    Purpose,
    RejectReason,
    transition,
)
from market_maker.domain.strategies.base import SlotState, StrategyState
from market_maker.domain.strategies.grid import GridMode, GridSettings
from tests.builders import SYMBOL, a_plan_context, an_instrument, at, grid_settings
from tests.desk import Desk

PRICES = st.decimals(min_value=80, max_value=120, places=2)
PARTS = st.sampled_from([Decimal("0.001"), Decimal("0.25"), Decimal("0.5"), Decimal(1)])


class SlotMachine(RuleBasedStateMachine):
    """Invariants: nothing lost, nothing sold twice, limits hold, plans are stable."""

    grid: GridSettings = grid_settings(
        buy_levels_max=3, sell_levels_max=3, window_levels=6, lower=Decimal(85)
    )
    fee_asset = "USDT"
    fee_ratio = Decimal(0)

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(self.grid, an_instrument())
        self.price = Decimal(100)
        self.seconds = 0
        self.last_fill: tuple[str, str] | None = None
        self.is_disturbed = False

    def _some(self, data: st.DataObject, *states: OrderState) -> str | None:
        ids = sorted(i for i, order in self.desk.orders.items() if order.state in states)
        return data.draw(st.sampled_from(ids)) if ids else None

    # --- what happens ---

    @rule(price=PRICES)
    def move_price(self, price: Decimal) -> None:
        self.price = price

    @rule(data=st.data(), opening=st.booleans(), room=st.sampled_from([2, 100]))
    def plan(self, data: st.DataObject, opening: bool, room: int) -> None:
        desk = self.desk
        self.seconds += 10
        desk.now = at(self.seconds)
        allowance = a_plan_context().allowance
        context = {
            "is_opening_allowed": opening,
            "allowance": type(allowance)(
                exposure_notional_quote_max=Decimal(10**6), order_count_max=room
            ),
        }
        before = len(desk.orders)
        plan = desk.plan(self.price, **context)
        again = desk.plan(self.price, **context)
        assert (again.places, again.cancels) == (plan.places, plan.cancels)
        assert again.state == plan.state
        assert not plan.places or before + len(plan.places) <= room
        assert opening or all(intent.purpose is Purpose.CLOSING for intent in plan.places)
        for cancel in plan.cancels:
            assert desk.orders[cancel.client_order_id].state in {
                OrderState.OPEN,
                OrderState.PARTIALLY_FILLED,
            }
            order = desk.orders[cancel.client_order_id]
            desk.put(transition(order, OrderState.PENDING_CANCEL))
        for intent in plan.places:
            if data.draw(st.booleans()):
                desk.claim(intent)

    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        found = self._some(data, OrderState.PENDING_NEW, OrderState.UNKNOWN)
        if found:
            self.desk.accept(found)

    @rule(data=st.data(), reason=st.sampled_from(RejectReason))
    def reject(self, data: st.DataObject, reason: RejectReason) -> None:
        found = self._some(data, OrderState.PENDING_NEW)
        if found and not self.desk.orders[found].filled_quantity:
            self.desk.reject(found, reason)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        found = self._some(data, OrderState.PENDING_NEW)
        if found:
            self.desk.lose(found)

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        found = self._some(data, OrderState.UNKNOWN)
        if found:
            self.desk.expire(found)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        resting = (OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL)
        found = self._some(data, *resting)
        if found:
            self.desk.cancel(found)

    @rule(data=st.data(), part=PARTS)
    def fill(self, data: st.DataObject, part: Decimal) -> None:
        found = self._some(
            data,
            OrderState.PENDING_NEW,
            OrderState.UNKNOWN,
            OrderState.OPEN,
            OrderState.PARTIALLY_FILLED,
            OrderState.PENDING_CANCEL,
        )
        if found:
            self._fill(found, part)

    def _fill(self, client_order_id: str, part: Decimal) -> None:
        order = self.desk.find(client_order_id)
        quantity = min(part, order.quantity - order.filled_quantity)
        if not quantity:
            return
        price = order.price or self.price
        fee = quantity * self.fee_ratio
        if self.fee_asset == "USDT" or order.side is Side.SELL:
            self.desk.fill(client_order_id, quantity, fee=fee * price, fee_asset="USDT")
        else:
            self.desk.fill(client_order_id, quantity, fee=fee, fee_asset=self.fee_asset)

    @rule(data=st.data(), part=PARTS)
    def fill_late(self, data: st.DataObject, part: Decimal) -> None:
        """An order that we thought had ended traded after all."""
        ids = sorted(i for i, order in self.desk.ended.items() if order.slot)
        if ids:
            self._fill(data.draw(st.sampled_from(ids)), part)
            self.is_disturbed = True

    @rule(data=st.data())
    def repeat_news(self, data: st.DataObject) -> None:
        """The same fill and the same state once more change nothing."""
        desk = self.desk
        ids = sorted({**desk.orders, **desk.ended})
        if not ids:
            return
        order = desk.find(data.draw(st.sampled_from(ids)))
        state = desk.state
        desk.put(order)
        assert desk.state == state
        if order.trade_ids:
            with pytest.raises(DuplicateFill):
                desk.fill(order.client_order_id, Decimal("0.001"), trade_id=order.trade_ids[-1])
        assert desk.state == state

    @precondition(lambda self: not self.desk.orders and self.desk.position.quantity)
    @rule()
    def flatten(self) -> None:
        """The operator's exit, once no order is left."""
        desk = self.desk
        held = desk.position.quantity
        quantity = desk.instrument.floor_to_lot(abs(held))
        if not quantity:
            return
        intent = PlaceIntent(
            symbol=SYMBOL,
            side=Side.SELL if held > 0 else Side.BUY,
            price=self.price,
            quantity=quantity,
            purpose=Purpose.FLATTEN,
            type=OrderType.LIMIT,
        )
        desk.fill(desk.claim(intent))
        if self.grid.mode is GridMode.LONG and not self.is_disturbed:
            holdings = [slot.holding for slot in desk.state.slots.values()]
            assert sum(holdings, Decimal(0)) < desk.instrument.lot_size

    @rule()
    def restart(self) -> None:
        """Rows come back from a database in another order."""
        state = self.desk.state
        self.desk.state = StrategyState(
            memory=state.memory, slots=dict(sorted(state.slots.items(), reverse=True))
        )
        self.desk.orders = dict(sorted(self.desk.orders.items(), reverse=True))

    # --- what always holds ---

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.desk.held == self.desk.position.quantity

    @invariant()
    def every_live_order_has_its_own_slot(self) -> None:
        claimed = Counter(
            slot.client_order_id for slot in self.desk.state.slots.values() if slot.client_order_id
        )
        live = {i for i, order in self.desk.orders.items() if order.slot}
        assert claimed == Counter(live)

    @invariant()
    def a_slot_with_an_order_is_not_free(self) -> None:
        for slot in self.desk.state.slots.values():
            assert bool(slot.client_order_id) is (slot.state is not SlotState.FREE)

    @invariant()
    def a_closing_order_never_exceeds_its_slot(self) -> None:
        for order in self.desk.orders.values():
            if order.purpose is Purpose.CLOSING:
                left = order.quantity - order.filled_quantity
                assert left <= abs(self.desk.state.slots[order.slot].holding)

    @invariant()
    def opening_orders_stay_within_the_level_count(self) -> None:
        for side in Side:
            assert len(self.desk.live(side, Purpose.OPENING)) <= 3
            assert len(self.desk.live(side, Purpose.CLOSING)) <= 3

    @invariant()
    def a_long_grid_never_sells_what_it_does_not_hold(self) -> None:
        if self.grid.mode is GridMode.LONG and not self.is_disturbed:
            assert self.desk.position.quantity >= 0


class NeutralSlotMachine(SlotMachine):
    grid = grid_settings(
        mode=GridMode.NEUTRAL, buy_levels_max=3, sell_levels_max=3, upper=Decimal(115)
    )
    fee_ratio = Decimal("0.001")


class BaseFeeSlotMachine(SlotMachine):
    fee_asset = "BTC"
    fee_ratio = Decimal("0.001")


class NeutralBaseFeeSlotMachine(NeutralSlotMachine):
    fee_asset = "BTC"


FEW = settings(max_examples=60, stateful_step_count=40, derandomize=True, deadline=None)
TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = FEW
TestNeutralSlotMachine = NeutralSlotMachine.TestCase
TestNeutralSlotMachine.settings = FEW
TestBaseFeeSlotMachine = BaseFeeSlotMachine.TestCase
TestBaseFeeSlotMachine.settings = FEW
TestNeutralBaseFeeSlotMachine = NeutralBaseFeeSlotMachine.TestCase
TestNeutralBaseFeeSlotMachine.settings = FEW
