"""What the venue answered, booked on the orders that it is about."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from market_maker.domain.intents import Outcome, OutcomeKind
from market_maker.domain.order import (
    Order,
    OrderState,
    Purpose,
    RejectReason,
    transition,
)
from market_maker.domain.risk.rules import (
    count_rejected,
)
from market_maker.engine.deciding.draft import Draft

HOLD_MIN: Final = timedelta(seconds=1)


def book_place_outcome(draft: Draft, order: Order, outcome: Outcome) -> None:
    """Accepted, rejected, unknown or never sent: each has one meaning for an order."""
    if outcome.signed_until is not None:
        order = replace(order, signed_until=outcome.signed_until)
    if outcome.reason:
        order = replace(order, reason=outcome.reason)
    match outcome.kind:
        case OutcomeKind.ACCEPTED:
            draft.orders[order.client_order_id] = order
            if outcome.report is not None:
                draft.book_report(order, outcome.report)
        case OutcomeKind.REJECTED:
            reason = outcome.reject_reason or RejectReason.OTHER
            draft.risk = count_rejected(draft.risk, now=draft.now)
            if order.purpose is Purpose.FLATTEN:
                # No churn limit stops the operator's exit; this keeps it from being sent at once.
                draft.status = replace(draft.status, hold_until=draft.now + HOLD_MIN)
            draft.put_order(transition(replace(order, reject_reason=reason), OrderState.REJECTED))
        case OutcomeKind.UNKNOWN:
            if order.state is OrderState.PENDING_NEW:
                draft.put_order(transition(order, OrderState.UNKNOWN))
        case OutcomeKind.NOT_SENT:
            hold = max(outcome.retry_after or HOLD_MIN, HOLD_MIN)
            draft.status = replace(draft.status, hold_until=draft.now + hold)
            draft.put_order(transition(order, OrderState.EXPIRED))


def book_cancel_outcome(draft: Draft, order: Order, outcome: Outcome) -> None:
    """An acknowledged cancel carries the order's end; every other answer leaves it to settling."""
    if outcome.kind is OutcomeKind.ACCEPTED and outcome.report is not None:
        draft.book_report(order, outcome.report)
