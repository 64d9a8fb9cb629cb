"""
The slot machine of a grid: what orders and fills do to slots.

Every fill of ours ends in exactly one place. If its order is the slot's, the slot's holding moves.
A fill of an order that the slot no longer follows leaves every slot untouched and moves
`dust_quantity`, the base that no slot holds; an operator's flatten empties slots without an order.
So the holdings and the dust always add up to the position. Planning nets dust against holdings or
gives it a slot of its own, and no inventory is lost or sold twice.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import Order, OrderState, Purpose, RejectReason
from market_maker.domain.position import base_change, quote_change
from market_maker.domain.strategies.base import (
    Slot,
    SlotState,
    StrategyMemory,
    StrategyState,
)

ZERO = Decimal(0)


def claim(state: StrategyState, order: Order) -> StrategyState:
    """Return the state with the order's slot PENDING for it, before anything is sent."""
    if not order.slot:
        return state
    slot = state.slots.get(order.slot) or Slot(key=order.slot, price=Decimal(order.slot))
    claimed = replace(
        slot,
        state=SlotState.PENDING,
        client_order_id=order.client_order_id,
        is_unknown=False,
        correlation_id=order.correlation_id,
    )
    return with_slot(state, claimed)


def book_fill(
    state: StrategyState, order: Order, fill: Fill, instrument: Instrument
) -> StrategyState:
    """
    Return the state with one new fill booked.

    A closing fill's profit, after fees, goes to memory at once. A fill proves that the order was
    accepted, so a PENDING slot becomes LOCKED.
    """
    base, quote = base_change(fill, instrument), quote_change(fill, instrument)
    memory, slot = state.memory, find_slot_of(state, order)
    if slot is None:
        moved_dust = replace(memory, dust_quantity=memory.dust_quantity + base)
        unclaimed = StrategyState(memory=moved_dust, slots=state.slots)
        return _give_back(unclaimed) if order.purpose is Purpose.FLATTEN else unclaimed
    entry = slot.entry_price
    if order.purpose is Purpose.OPENING:
        entry = _average_cost(slot, base, quote)
    else:
        profit = memory.round_profit_quote + quote + entry * base
        memory = replace(memory, round_profit_quote=profit)
    moved = replace(
        slot,
        state=SlotState.LOCKED,
        is_unknown=False,
        holding=slot.holding + base,
        entry_price=entry,
    )
    return with_slot(state, moved, memory)


def follow_order(
    state: StrategyState,
    order: Order,
    *,
    now: datetime,
    instrument: Instrument,
    margin_lock: timedelta,
) -> StrategyState:
    """Return the state after an own order entered another state; repeating it changes nothing."""
    slot = find_slot_of(state, order)
    if slot is None or order.state is OrderState.PENDING_NEW:
        return state
    if order.state is OrderState.UNKNOWN:
        return _changed(state, slot, replace(slot, is_unknown=True))
    if order.state.is_resting:
        locked = replace(slot, state=SlotState.LOCKED, is_unknown=False, post_only_rejections=0)
        return _changed(state, slot, locked)
    if order.state is OrderState.REJECTED:
        return _reject(state, slot, order, unlock_at=now + margin_lock)
    return _release(state, slot, order, instrument)


def find_slot_of(state: StrategyState, order: Order) -> Slot | None:
    """Return the slot if this order is the one it follows."""
    slot = state.slots.get(order.slot) if order.slot else None
    if slot is None or slot.client_order_id != order.client_order_id:
        return None
    return slot


def net_dust(holders: Iterable[Slot], dust: Decimal) -> tuple[list[Slot], Decimal]:
    """
    Set dust off against slots that hold the other sign, the farthest exits first.

    Returns the slots that changed and the dust that is left.
    """
    reduced: list[Slot] = []
    for slot in sorted(holders, key=lambda slot: slot.price, reverse=dust < 0):
        if not dust:
            break
        netted = min(abs(slot.holding), abs(dust)).copy_sign(dust)
        dust -= netted
        reduced.append(with_holding(slot, slot.holding + netted))
    return reduced, dust


def with_holding(slot: Slot, holding: Decimal) -> Slot:
    """Return the slot with another holding; an empty one forgets its round."""
    if holding:
        return replace(slot, holding=holding)
    return replace(slot, holding=ZERO, entry_price=ZERO, correlation_id="", post_only_rejections=0)


def with_slot(
    state: StrategyState, slot: Slot, memory: StrategyMemory | None = None
) -> StrategyState:
    """Return the state with the slot replaced, or dropped if there is nothing to remember."""
    slots = dict(state.slots)
    store_slot(slots, slot)
    return StrategyState(memory=state.memory if memory is None else memory, slots=slots)


def store_slot(slots: dict[str, Slot], slot: Slot) -> None:
    """Replace the slot in `slots`, or drop it if there is nothing to remember."""
    if slot.is_empty and not slot.post_only_rejections:
        slots.pop(slot.key, None)
    else:
        slots[slot.key] = slot


def _give_back(state: StrategyState) -> StrategyState:
    """Take what the operator's exit returned out of the slots that have no order."""
    dust = state.memory.dust_quantity
    free = [slot for slot in state.slots.values() if slot.holding * dust < 0]
    reduced, dust = net_dust([slot for slot in free if not slot.client_order_id], dust)
    slots = dict(state.slots)
    for slot in reduced:
        store_slot(slots, slot)
    return StrategyState(memory=replace(state.memory, dust_quantity=dust), slots=slots)


def _changed(state: StrategyState, old: Slot, new: Slot) -> StrategyState:
    return state if new == old else with_slot(state, new)


def _average_cost(slot: Slot, base: Decimal, quote: Decimal) -> Decimal:
    """Quote paid (or received, for a short) per base held, fees included."""
    holding = slot.holding + base
    if not holding:
        return ZERO
    return abs((slot.holding * slot.entry_price - quote) / holding)


def _reject(
    state: StrategyState, slot: Slot, order: Order, *, unlock_at: datetime
) -> StrategyState:
    is_post_only = order.reject_reason is RejectReason.POST_ONLY
    memory = state.memory
    if order.reject_reason is RejectReason.INSUFFICIENT_BALANCE:
        memory = replace(memory, margin_lock_until=unlock_at)
    rejections = slot.post_only_rejections + (1 if is_post_only else 0)
    return with_slot(state, replace(_freed(slot), post_only_rejections=rejections), memory)


def _release(
    state: StrategyState, slot: Slot, order: Order, instrument: Instrument
) -> StrategyState:
    """
    Free the slot of an ended order; it keeps what it holds.

    What is left below one lot cannot be ordered any more, so it goes to the dust.
    """
    memory = state.memory
    if order.purpose is not Purpose.OPENING and order.state is OrderState.FILLED:
        memory = replace(memory, rounds_completed_count=memory.rounds_completed_count + 1)
    freed = _freed(slot)
    if freed.holding and abs(freed.holding) < instrument.lot_size:
        memory = replace(memory, dust_quantity=memory.dust_quantity + freed.holding)
        freed = with_holding(freed, ZERO)
    return with_slot(state, with_holding(freed, freed.holding), memory)


def _freed(slot: Slot) -> Slot:
    return replace(slot, state=SlotState.FREE, client_order_id="", is_unknown=False)
