"""
The difference between two states of one symbol, and its application.

`apply_changes(old, changes_between(old, new, …)) == new` for every state that an actor builds, so
the rows that hold the changes are the state. Identity is compared first: what a batch did not
touch costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from market_maker.domain.errors import InvalidTransition
from market_maker.domain.fill import Fill
from market_maker.domain.ledger import LedgerEntry
from market_maker.domain.order import Order
from market_maker.domain.strategies.base import Slot, StrategyState
from market_maker.domain.symbol import Incident, SymbolChanges, SymbolState

T = TypeVar("T")


def changes_between(
    old: SymbolState,
    new: SymbolState,
    *,
    fills: Sequence[Fill] = (),
    ledger: Sequence[LedgerEntry] = (),
    ended_orders: Sequence[Order] = (),
    closed_incidents: Sequence[Incident] = (),
) -> SymbolChanges | None:
    """
    Return what makes `new` of `old`, or None if nothing does.

    Orders that ended and incidents that closed are in neither state's mapping any more, so they are
    given. A slot that `new` does not know is written empty. Raises `InvalidTransition` for an order
    that vanished without an end.
    """
    changes = SymbolChanges(
        symbol=new.symbol,
        status=_if_changed(old.status, new.status),
        market=_if_changed(old.market, new.market),
        memory=_if_changed(old.strategy.memory, new.strategy.memory),
        risk=_if_changed(old.risk, new.risk),
        allowance=_if_changed(old.allowance, new.allowance),
        position=_if_changed(old.position, new.position),
        orders=_changed_orders(old.orders, new.orders, ended_orders),
        slots=_changed_slots(old.strategy.slots, new.strategy.slots),
        incidents=(*_changed_values(old.incidents, new.incidents), *closed_incidents),
        fills=tuple(fills),
        ledger=tuple(ledger),
    )
    return None if changes == SymbolChanges(symbol=new.symbol) else changes


def apply_changes(old: SymbolState, changes: SymbolChanges) -> SymbolState:
    """Return the state after the changes: no ended orders, closed incidents or empty slots."""
    strategy = old.strategy
    if changes.memory is not None or changes.slots:
        strategy = StrategyState(
            memory=strategy.memory if changes.memory is None else changes.memory,
            slots=_apply_slots(strategy.slots, changes.slots),
        )
    return replace(
        old,
        status=old.status if changes.status is None else changes.status,
        market=old.market if changes.market is None else changes.market,
        strategy=strategy,
        risk=old.risk if changes.risk is None else changes.risk,
        allowance=old.allowance if changes.allowance is None else changes.allowance,
        position=old.position if changes.position is None else changes.position,
        orders=_apply_orders(old.orders, changes.orders),
        incidents=_apply_incidents(old.incidents, changes.incidents),
    )


def merge_changes(
    first: SymbolChanges | None, second: SymbolChanges | None
) -> SymbolChanges | None:
    """Return one change that does what both do, one after the other."""
    if first is None or second is None:
        return first or second
    orders = {order.client_order_id: order for order in (*first.orders, *second.orders)}
    slots = {slot.key: slot for slot in (*first.slots, *second.slots)}
    incidents = {incident.id: incident for incident in (*first.incidents, *second.incidents)}
    return SymbolChanges(
        symbol=first.symbol,
        status=_newer(first.status, second.status),
        market=_newer(first.market, second.market),
        memory=_newer(first.memory, second.memory),
        risk=_newer(first.risk, second.risk),
        allowance=_newer(first.allowance, second.allowance),
        position=_newer(first.position, second.position),
        orders=tuple(orders.values()),
        slots=tuple(slots.values()),
        incidents=tuple(incidents.values()),
        fills=first.fills + second.fills,
        ledger=first.ledger + second.ledger,
    )


def _if_changed(old: T, new: T) -> T | None:
    return None if new is old or new == old else new


def _newer(first: T | None, second: T | None) -> T | None:
    return first if second is None else second


def _changed_values(old: Mapping[str, T], new: Mapping[str, T]) -> tuple[T, ...]:
    if old is new:
        return ()
    return tuple(
        [
            value
            for key, value in new.items()
            if (before := old.get(key)) is not value and before != value
        ]
    )


def _changed_orders(
    old: Mapping[str, Order], new: Mapping[str, Order], ended: Sequence[Order]
) -> tuple[Order, ...]:
    if old is not new:
        ended_ids = {order.client_order_id for order in ended}
        for client_order_id in old:
            if client_order_id not in new and client_order_id not in ended_ids:
                raise InvalidTransition(f"order {client_order_id} vanished without an end")
    return (*_changed_values(old, new), *ended)


def _changed_slots(old: Mapping[str, Slot], new: Mapping[str, Slot]) -> tuple[Slot, ...]:
    if old is new:
        return ()
    emptied = [Slot(key=key, price=slot.price) for key, slot in old.items() if key not in new]
    return (*_changed_values(old, new), *emptied)


def _apply_orders(orders: Mapping[str, Order], changed: Sequence[Order]) -> Mapping[str, Order]:
    if not changed:
        return orders
    applied = dict(orders)
    for order in changed:
        if order.is_terminal:
            applied.pop(order.client_order_id, None)
        else:
            applied[order.client_order_id] = order
    return applied


def _apply_incidents(
    incidents: Mapping[str, Incident], changed: Sequence[Incident]
) -> Mapping[str, Incident]:
    if not changed:
        return incidents
    applied = dict(incidents)
    for incident in changed:
        if incident.closed_at is not None:
            applied.pop(incident.id, None)
        else:
            applied[incident.id] = incident
    return applied


def _apply_slots(slots: Mapping[str, Slot], changed: Sequence[Slot]) -> Mapping[str, Slot]:
    if not changed:
        return slots
    applied = dict(slots)
    for slot in changed:
        if slot.is_empty and not slot.post_only_rejections:
            applied.pop(slot.key, None)
        else:
            applied[slot.key] = slot
    return applied
