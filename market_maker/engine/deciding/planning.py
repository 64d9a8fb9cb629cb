"""Ask the strategy, unless something forbids quoting; every such reason has a name."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from market_maker.domain.fill import Side
from market_maker.domain.instrument import InstrumentKind
from market_maker.domain.intents import CancelIntent, PlaceIntent
from market_maker.domain.order import (
    OrderState,
    OrderType,
    Purpose,
    TimeInForce,
)
from market_maker.domain.strategies.base import Plan, PlanContext, StrategyState
from market_maker.domain.symbol import (
    SymbolMode,
)
from market_maker.engine.deciding.draft import Draft

BPS: Final = Decimal(10_000)
ZERO: Final = Decimal(0)
FLATTEN_COLLAR: Final = Decimal("0.01")


def plan(draft: Draft) -> tuple[Plan, str]:
    """Ask the strategy, unless something forbids quoting; say why if nothing is quoted."""
    status = draft.status
    halt = _halt_reason(draft)
    if halt:
        return Plan(state=draft.strategy, cancels=_cancel_all(draft, halt)), halt
    if status.is_flattening:
        return _plan_flatten(draft), "flattening"
    if status.is_observing:
        return Plan(state=draft.strategy), "only carrying out commands"
    if status.is_paused:
        return Plan(state=draft.strategy), "paused by the operator"
    stale = _stale_reason(draft)
    if stale:
        return Plan(state=draft.strategy, cancels=_cancel_all(draft, stale)), stale
    if status.mode is SymbolMode.SYNCING:
        return Plan(state=draft.strategy), "waiting for the venue's snapshot"
    if draft.market.price is None:
        return Plan(state=draft.strategy), "no price yet"
    plan = draft.logic.plan(draft.strategy, _plan_context(draft))
    draft.strategy = plan.state
    return plan, plan.idle_reason


def _halt_reason(draft: Draft) -> str:
    if draft.status.is_killed:
        return "killed by the operator"
    if draft.status.is_canceling:
        return "canceling all orders"
    if draft.status.mode is SymbolMode.PARKED:
        return "parked after an error"
    if draft.incidents and not draft.status.is_flattening:
        return f"{len(draft.incidents)} open incident(s)"
    return ""


def _stale_reason(draft: Draft) -> str:
    if draft.market.is_crossed:
        return "crossed book"
    at = stale_at(draft)
    return "stale market data" if at is not None and draft.now >= at else ""


def stale_at(draft: Draft) -> datetime | None:
    """When the prices that we have will be too old to quote on."""
    updated_at = draft.market.updated_at
    return None if updated_at is None else updated_at + draft.settings.book_age_max


def _plan_context(draft: Draft) -> PlanContext:
    opening = draft.allowance.is_opening_allowed and not draft.risk.breaker
    return PlanContext(
        instrument=draft.instrument,
        market=draft.market,
        now=draft.now,
        orders=draft.orders,
        allowance=draft.allowance,
        is_opening_allowed=opening,
        round_id=draft.stamp.workflow_id,
    )


def _cancel_all(draft: Draft, reason: str) -> tuple[CancelIntent, ...]:
    return tuple(
        CancelIntent(
            symbol=order.symbol,
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            reason=reason,
        )
        for order in draft.orders.values()
        if order.state in {OrderState.OPEN, OrderState.PARTIALLY_FILLED}
    )


def _plan_flatten(draft: Draft) -> Plan:
    """Once no own order is left, cross the market with what is held; done when it is too little."""
    cancels = _cancel_all(draft, "flatten")
    price = draft.market.price
    held = draft.position.quantity
    quantity = draft.instrument.floor_to_lot(abs(held))
    if draft.orders or (quantity and price is None):
        return Plan(state=draft.strategy, cancels=cancels)
    side = Side.SELL if held > 0 else Side.BUY
    limit = _flatten_limit(draft, side, price or ZERO)
    if quantity < draft.instrument.quantity_min or quantity * limit < draft.instrument.min_notional:
        # What no order can give back any more is kept as dust.
        draft.status = replace(draft.status, is_flattening=False, is_paused=True)
        memory = draft.strategy.memory
        draft.strategy = StrategyState(
            memory=replace(memory, margin_lock_until=None, dust_quantity=held)
        )
        return Plan(state=draft.strategy)
    intent = PlaceIntent(
        symbol=draft.old.symbol,
        side=side,
        price=limit,
        quantity=quantity,
        purpose=Purpose.FLATTEN,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.IOC,
        post_only=False,
        reduce_only=draft.instrument.kind is InstrumentKind.LINEAR,
    )
    return Plan(state=draft.strategy, cancels=cancels, places=(intent,))


def _flatten_limit(draft: Draft, side: Side, price: Decimal) -> Decimal:
    """As far through the market as the exit may go: never beyond the collar of the risk gate."""
    reach = min(FLATTEN_COLLAR, draft.settings.limits.price_collar_bps / BPS)
    if side is Side.SELL:
        return draft.instrument.ask_to_tick(price * (1 - reach))
    return draft.instrument.bid_to_tick(price * (1 + reach))
