"""The risk gate; what passes it is claimed in the books before anything is sent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from market_maker.domain.intents import CancelIntent, PlaceIntent
from market_maker.domain.order import (
    CancelRequest,
    Order,
    OrderState,
    transition,
)
from market_maker.domain.risk.gate import Approved, GateContext, Refused, check
from market_maker.domain.risk.rules import (
    ORDER_CHURN,
    count_sent,
    open_breaker,
)
from market_maker.engine.deciding.draft import Draft
from market_maker.engine.deciding.given import ActorInput
from market_maker.engine.records import PlannedPlace, RefusalRecord

REFUSALS_PER_BATCH_MAX: Final = 50


def claim_cancels(draft: Draft, intents: Sequence[CancelIntent]) -> tuple[CancelRequest, ...]:
    """Mark the orders as being canceled and return the requests, strays included."""
    requests = []
    for intent in intents:
        order = draft.orders.get(intent.client_order_id)
        if order is None or not order.state.is_resting:
            continue
        if order.state is not OrderState.PENDING_CANCEL:
            draft.put_order(
                transition(replace(order, reason=intent.reason), OrderState.PENDING_CANCEL)
            )
        requests.append(
            CancelRequest(
                client_order_id=intent.client_order_id,
                exchange_order_id=intent.exchange_order_id,
                symbol=intent.symbol,
            )
        )
    return (*requests, *draft.to_cancel)


def pass_gate(
    draft: Draft, intents: Sequence[PlaceIntent], given: ActorInput
) -> tuple[tuple[PlannedPlace, ...], tuple[RefusalRecord, ...]]:
    """Ask the risk gate about every intent; what it approves is an order from here on."""
    held = draft.status.hold_until
    if not intents or (held is not None and draft.now < held):
        return (), ()
    if held is not None:
        draft.status = replace(draft.status, hold_until=None)
    context = GateContext(
        instrument=draft.instrument,
        limits=draft.settings.limits,
        market=draft.market,
        position=draft.position,
        orders=draft.orders,
        allowance=draft.allowance,
        counters=draft.risk,
        symbols_allowed=given.symbols_allowed,
        now=draft.now,
    )
    places: list[PlannedPlace] = []
    refusals: list[RefusalRecord] = []
    for verdict in check(intents, context):
        match verdict:
            case Approved():
                places.append(_claim_place(draft, verdict, given))
            case Refused():
                refusals.append(_to_refusal(verdict))
    if refusals:
        _count_refusals(draft, refusals)
    return tuple(places), tuple(refusals[:REFUSALS_PER_BATCH_MAX])


def _count_refusals(draft: Draft, refusals: Sequence[RefusalRecord]) -> None:
    count = draft.status.intents_refused_count + len(refusals)
    draft.status = replace(draft.status, intents_refused_count=count)
    if any(refusal.rule == ORDER_CHURN for refusal in refusals):
        draft.risk = open_breaker(draft.risk, ORDER_CHURN, now=draft.now)


def _claim_place(draft: Draft, approved: Approved, given: ActorInput) -> PlannedPlace:
    """Make the approved intent an order: claimed in the books before anything is sent."""
    intent = approved.intent
    client_order_id = given.next_client_order_id()
    stamp = draft.stamp
    order = Order(
        client_order_id=client_order_id,
        symbol=intent.symbol,
        side=intent.side,
        type=intent.type,
        price=intent.price,
        quantity=intent.quantity,
        time_in_force=intent.time_in_force,
        post_only=intent.post_only,
        reduce_only=intent.reduce_only,
        purpose=intent.purpose,
        slot=intent.slot,
        state=OrderState.PENDING_NEW,
        workflow_id=stamp.workflow_id,
        sequence=stamp.sequence,
        changed_sequence=stamp.sequence,
        correlation_id=intent.correlation_id or client_order_id,
        causation_id=given.updates[-1].id if given.updates else stamp.workflow_id,
        created_at=stamp.now,
        updated_at=stamp.now,
    )
    draft.orders[client_order_id] = order
    draft.strategy = draft.logic.on_planned(draft.strategy, order)
    draft.risk = count_sent(draft.risk, now=draft.now)
    return PlannedPlace(
        request=order.to_request(),
        after_cancel=intent.after_cancel,
        expected_cumulative=intent.expected_cumulative,
    )


def _to_refusal(refused: Refused) -> RefusalRecord:
    intent = refused.intent
    return RefusalRecord(
        symbol=intent.symbol,
        side=intent.side.value,
        price=str(intent.price),
        quantity=str(intent.quantity),
        rule=refused.rule,
        limit=str(refused.limit),
        value=str(refused.value),
    )
