"""
The grid, the reference strategy: buy one interval below, sell one interval above, again and again.

Its parts: settings in `grid_settings`, geometry in `ladder`, what orders and fills do to slots in
`slots`, slots by side and dust in `grid_books`, what to place and cancel in `grid_plan`.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Final

from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import Order, Purpose
from market_maker.domain.strategies.base import (
    Plan,
    PlanContext,
    Slot,
    SlotState,
    StrategyMemory,
    StrategyState,
)
from market_maker.domain.strategies.grid_plan import GridPlanning
from market_maker.domain.strategies.grid_settings import GridMode, GridSettings
from market_maker.domain.strategies.ladder import Ladder, anchor_for, ladder_at, slot_key
from market_maker.domain.strategies.slots import book_fill, claim, follow_order

__all__ = ["GridMode", "GridSettings", "GridStrategy", "rebuild"]

# A position of more levels than this was not made by this grid; the last level takes the rest.
REBUILD_LEVELS_MAX: Final = 1_000


class GridStrategy:
    """A grid with its settings bound; it remembers nothing between calls."""

    def __init__(self, settings: GridSettings) -> None:
        self.settings = settings

    def on_planned(self, state: StrategyState, order: Order) -> StrategyState:
        """Claim the order's slot."""
        return claim(state, order)

    def on_fill(
        self, state: StrategyState, order: Order, fill: Fill, instrument: Instrument
    ) -> StrategyState:
        """Book one new fill into the order's slot, or into the dust if the slot has moved on."""
        return book_fill(state, order, fill, instrument)

    def on_order(
        self, state: StrategyState, order: Order, *, now: datetime, instrument: Instrument
    ) -> StrategyState:
        """Follow an own order that entered another state."""
        return follow_order(
            state, order, now=now, instrument=instrument, margin_lock=self.settings.margin_lock
        )

    def wants(self, state: StrategyState, order: Order) -> bool:
        """Whether the order's slot is free and still has the use for it that it was planned for."""
        slot = state.slots.get(order.slot)
        if order.purpose is Purpose.OPENING:
            return slot is None or slot.is_empty
        is_free = slot is not None and slot.state is SlotState.FREE
        return is_free and slot is not None and abs(slot.holding) >= order.remaining_quantity

    def plan(self, state: StrategyState, context: PlanContext) -> Plan:
        """Say what to place and cancel; without a usable price nothing changes."""
        price = context.market.price
        if price is None:
            return Plan(state=state, idle_reason="no price yet")
        if context.market.is_crossed:
            return Plan(state=state, idle_reason="the book is crossed")
        memory = self._remember(state.memory, context, price)
        planning = GridPlanning(
            ladder=ladder_at(self.settings, context.instrument, memory.anchor or price),
            state=state,
            memory=memory,
            context=context,
            price=price,
            closing_only_reason=_closing_only_reason(memory, context),
        )
        return planning.make(memory.margin_lock_until)

    def _remember(
        self, memory: StrategyMemory, context: PlanContext, price: Decimal
    ) -> StrategyMemory:
        """
        Set the anchor once and forget a margin lock that has expired.

        An anchor in the settings wins over the stored one: the operator moved the grid on purpose.
        """
        anchor = memory.anchor
        if anchor is None or self.settings.anchor is not None:
            anchor = anchor_for(self.settings, context.instrument, price)
        lock = memory.margin_lock_until
        if lock is not None and context.now >= lock:
            lock = None
        if anchor == memory.anchor and lock is memory.margin_lock_until:
            return memory
        return replace(memory, anchor=anchor, margin_lock_until=lock)


def rebuild(
    settings: GridSettings,
    state: StrategyState,
    *,
    quantity: Decimal,
    price: Decimal,
    instrument: Instrument,
) -> StrategyState:
    """
    Return the state of a grid that holds `quantity` (signed base), whatever it held before.

    Slots are filled from one interval beyond the anchor, upwards for a long and downwards for a
    short position, in proportion to what each level orders; the last takes the remainder, so that
    the sum is exact. The cost basis is lost: entry prices are the slots' own. Slots with a live
    order stay as they are and count.
    """
    anchor = state.memory.anchor or anchor_for(settings, instrument, price)
    kept = {key: slot for key, slot in state.slots.items() if slot.client_order_id}
    left = quantity - sum((slot.holding for slot in kept.values()), Decimal(0))
    memory = replace(state.memory, anchor=anchor, dust_quantity=Decimal(0))
    if left * quantity < 0 or not quantity:
        # The live orders' slots hold more than there is; planning sets it off against them.
        return StrategyState(memory=replace(memory, dust_quantity=left), slots=kept)
    ladder = ladder_at(settings, instrument, anchor)
    return StrategyState(memory=memory, slots={**kept, **_spread(ladder, left, kept)})


def _spread(ladder: Ladder, quantity: Decimal, taken: Mapping[str, Slot]) -> dict[str, Slot]:
    prices = _rebuild_prices(ladder, quantity, taken)
    weights = [_theory_quantity(ladder.settings, price) for price in prices]
    total, left = sum(weights), quantity
    slots: dict[str, Slot] = {}
    for number, (price, weight) in enumerate(zip(prices, weights, strict=True), start=1):
        share = ladder.instrument.floor_to_lot(abs(quantity) * weight / total)
        holding = left if number == len(prices) else share.copy_sign(quantity)
        left -= holding
        if holding:
            key = slot_key(price)
            slots[key] = Slot(key=key, price=price, holding=holding, entry_price=price)
    return slots


def _rebuild_prices(ladder: Ladder, quantity: Decimal, taken: Mapping[str, Slot]) -> list[Decimal]:
    """Levels for what is held, without those of live orders; at least one."""
    theory = _theory_quantity(ladder.settings, ladder.anchor)
    count = int((abs(quantity) / theory).to_integral_value(ROUND_CEILING))
    count = min(count, REBUILD_LEVELS_MAX)
    step = 1 if quantity > 0 else -1
    prices: list[Decimal] = []
    number = 1
    while len(prices) < count:
        price = ladder.price_at(step * number)
        # A short closes one interval below its slot, and no price reaches zero.
        if price <= ladder.interval:
            break
        if slot_key(price) not in taken:
            prices.append(price)
        number += 1
    return prices or [ladder.price_at(number)]


def _theory_quantity(settings: GridSettings, price: Decimal) -> Decimal:
    if settings.order_quantity_base is not None:
        return settings.order_quantity_base
    return (settings.order_notional_quote or Decimal(0)) / price


def _closing_only_reason(memory: StrategyMemory, context: PlanContext) -> str:
    if not context.allowance.is_opening_allowed:
        return context.allowance.reason or "opening is not allowed"
    if not context.is_opening_allowed:
        return "opening is not allowed"
    if memory.margin_lock_until is not None:
        return "margin lock"
    return ""
