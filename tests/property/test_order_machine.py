"""An order under duplicated, late and reordered reports and fills ends where the venue says."""

from decimal import Decimal

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from market_maker.domain.errors import DuplicateFill
from market_maker.domain.fill import Fill
from market_maker.domain.order import (
    LEGAL_TRANSITIONS,
    Order,
    OrderReport,
    OrderState,
    apply_fill,
    apply_report,
    transition,
)
from tests.builders import a_fill_of, a_report, an_order

S = OrderState


class OrderMachine(RuleBasedStateMachine):
    """The venue goes its way and writes every message down; we hear them in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[OrderReport | Fill] = []
        self.true_filled = Decimal(0)
        self.true_state = S.PENDING_NEW

    @initialize(state=st.sampled_from([S.PENDING_NEW, S.UNKNOWN]))
    def begin(self, state: OrderState) -> None:
        self.order: Order = an_order(state=state)
        self.states = [state]

    # --- the venue ---

    def _say(self, state: OrderState) -> None:
        self.true_state = state
        self.messages.append(a_report(self.order, state, cumulative_quantity=self.true_filled))

    @precondition(lambda self: self.true_state is S.PENDING_NEW)
    @rule(is_accepted=st.booleans())
    def answer(self, is_accepted: bool) -> None:
        self._say(S.OPEN if is_accepted else S.REJECTED)

    @precondition(lambda self: self.true_state in {S.OPEN, S.PARTIALLY_FILLED})
    @rule(part=st.sampled_from(["0.1", "0.3", "1"]))
    def trade(self, part: str) -> None:
        quantity = min(Decimal(part), self.order.quantity - self.true_filled)
        self.true_filled += quantity
        self.messages.append(a_fill_of(self.order, quantity, trade_id=f"t{len(self.messages)}"))
        is_full = self.true_filled == self.order.quantity
        self._say(S.FILLED if is_full else S.PARTIALLY_FILLED)

    @precondition(lambda self: self.true_state in {S.OPEN, S.PARTIALLY_FILLED})
    @rule(state=st.sampled_from([S.CANCELED, S.EXPIRED]))
    def end(self, state: OrderState) -> None:
        self._say(state)

    # --- us ---

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        self._hear(data.draw(st.sampled_from(self.messages)))

    @precondition(lambda self: self.order.state in {S.OPEN, S.PARTIALLY_FILLED})
    @rule()
    def ask_to_cancel(self) -> None:
        self._become(transition(self.order, S.PENDING_CANCEL))

    @precondition(lambda self: self.order.state is S.PENDING_NEW)
    @rule()
    def lose_the_answer(self) -> None:
        self._become(transition(self.order, S.UNKNOWN))

    def _hear(self, message: OrderReport | Fill) -> None:
        if isinstance(message, OrderReport):
            self._become(apply_report(self.order, message))
            assert apply_report(self.order, message) is self.order
            return
        try:
            self._become(apply_fill(self.order, message))
        except DuplicateFill:
            assert message.trade_id in self.order.trade_ids

    def _become(self, order: Order) -> None:
        assert order.filled_quantity >= self.order.filled_quantity
        assert order.cumulative_quantity >= self.order.cumulative_quantity
        if order.state is not self.order.state:
            assert order.state in LEGAL_TRANSITIONS[self.order.state]
        self.order = order

    def teardown(self) -> None:
        """Whatever was lost is read again at the next reconcile, in the venue's order."""
        for message in self.messages:
            self._hear(message)
        if self.true_state.is_terminal and self.messages:
            assert self.order.state is self.true_state
            assert self.order.filled_quantity == self.true_filled
            assert self.order.reported_state is None

    @invariant()
    def an_ended_order_has_all_its_fills(self) -> None:
        order = self.order
        if order.is_terminal:
            assert not order.is_fills_missing
            assert order.filled_quantity == self.true_filled
            assert order.state is self.true_state

    @invariant()
    def booked_fills_never_exceed_the_truth(self) -> None:
        assert self.order.filled_quantity <= self.order.cumulative_quantity <= self.true_filled


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(
    max_examples=150, stateful_step_count=30, derandomize=True, deadline=None
)
