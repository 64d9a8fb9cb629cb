"""
SymbolActor: one symbol's state; batch in, decision out; pure.

`decide` folds the updates of a batch into a draft, then plans once at the end and passes every
intent through the risk gate. `apply_outcomes` folds what the venue answered. Neither reads
a clock, sends anything or touches the state it was given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from market_maker.domain.changes import merge_changes
from market_maker.domain.events import (
    AllowanceGranted,
    BookTopChanged,
    CommandIssued,
    FillReported,
    MalformedReceived,
    OrderLookedUp,
    OrderReported,
    StreamGap,
    TradePrinted,
    Update,
    VenueSnapshotTaken,
)
from market_maker.domain.fill import Side
from market_maker.domain.instrument import InstrumentKind
from market_maker.domain.intents import CancelIntent, Outcome, OutcomeKind, PlaceIntent
from market_maker.domain.order import (
    CancelRequest,
    Order,
    OrderState,
    OrderType,
    Purpose,
    RejectReason,
    TimeInForce,
    transition,
)
from market_maker.domain.quote import Market
from market_maker.domain.risk.gate import Approved, GateContext, Refused, check
from market_maker.domain.risk.rules import (
    ORDER_CHURN,
    count_rejected,
    count_sent,
    open_breaker,
)
from market_maker.domain.settings import SymbolSettings
from market_maker.domain.strategies.base import Plan, PlanContext, Strategy, StrategyState
from market_maker.domain.symbol import (
    SymbolChanges,
    SymbolMode,
    SymbolState,
)
from market_maker.engine.commands import apply_command
from market_maker.engine.draft import Draft, Stamp
from market_maker.engine.reconcile import book_lookup, compare
from market_maker.engine.records import Notice, PlannedPlace, RefusalRecord

HOLD_AFTER_NOT_SENT: Final = timedelta(seconds=1)
PARKED_PAUSE: Final = timedelta(seconds=1)
EXCHANGE_AHEAD_MAX: Final = timedelta(days=1)
BPS: Final = Decimal(10_000)
ZERO: Final = Decimal(0)
FLATTEN_COLLAR: Final = Decimal("0.01")
REFUSALS_PER_BATCH_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorInput:
    """One actor's part of a batch; `next_client_order_id` derives ids from the journaled input."""

    settings: SymbolSettings
    strategy: Strategy
    stamp: Stamp
    updates: Sequence[Update]
    skipped_count: int
    loaded: Mapping[str, Order]
    symbols_allowed: tuple[str, ...]
    is_account_dedicated: bool
    next_client_order_id: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorDecision:
    """What one actor decided, and the state it will have once the batch is recorded."""

    state: SymbolState
    changes: SymbolChanges | None
    cancels: tuple[CancelRequest, ...] = ()
    places: tuple[PlannedPlace, ...] = ()
    refusals: tuple[RefusalRecord, ...] = ()
    notices: tuple[Notice, ...] = ()


def decide(state: SymbolState, given: ActorInput) -> ActorDecision:
    """Fold a batch and plan once; the same state and input always give the same decision."""
    draft = Draft(
        state,
        settings=given.settings,
        strategy=given.strategy,
        stamp=given.stamp,
        loaded=given.loaded,
    )
    draft.processed_count = len(given.updates)
    if given.skipped_count:
        draft.status = replace(
            draft.status,
            updates_skipped_count=draft.status.updates_skipped_count + given.skipped_count,
        )
    _observe(draft, given)
    plan, idle_reason = _plan(draft)
    cancels = _claim_cancels(draft, plan.cancels)
    places, refusals = _pass_gate(draft, plan.places, given)
    wake_at = _earliest(draft.now, plan.wake_at, _stale_at(draft), draft.status.hold_until)
    new, changes = draft.finish(idle_reason=idle_reason, wake_at=wake_at)
    return ActorDecision(
        state=new,
        changes=changes,
        cancels=cancels,
        places=places,
        refusals=refusals,
        notices=tuple(draft.notices),
    )


def apply_outcomes(
    state: SymbolState,
    changes: SymbolChanges | None,
    outcomes: Sequence[Outcome],
    *,
    settings: SymbolSettings,
    strategy: Strategy,
    stamp: Stamp,
) -> tuple[SymbolState, SymbolChanges | None]:
    """Return the state after the venue's answers, and all that this workflow changed."""
    draft = Draft(
        state, settings=settings, strategy=strategy, stamp=stamp, loaded={}, phase="outcome."
    )
    for outcome in outcomes:
        order = draft.find_order(outcome.client_order_id)
        if order is None:
            continue
        if outcome.action == "place":
            _book_place_outcome(draft, order, outcome)
        else:
            _book_cancel_outcome(draft, order, outcome)
    new, more = draft.finish(
        idle_reason=state.status.idle_reason,
        wake_at=_earliest(draft.now, state.status.wake_at, draft.status.hold_until),
    )
    return new, merge_changes(changes, more)


def park(
    state: SymbolState, error: BaseException, stamp: Stamp, given: ActorInput
) -> ActorDecision:
    """Stop one symbol whose own code failed: incident, no quotes; its neighbours go on."""
    draft = Draft(state, settings=given.settings, strategy=given.strategy, stamp=stamp, loaded={})
    draft.processed_count = len(given.updates)
    draft.status = replace(draft.status, mode=SymbolMode.PARKED)
    draft.open_incident("actor_error", f"{type(error).__name__}: {error}")
    # Woken soon: the orders that still rest are canceled by the next decision that succeeds.
    wake_at = stamp.now + PARKED_PAUSE
    new, changes = draft.finish(idle_reason="parked after an error", wake_at=wake_at)
    return ActorDecision(state=new, changes=changes, notices=tuple(draft.notices))


# --- observing ---


def _observe(draft: Draft, given: ActorInput) -> None:
    """Fold every update; prices take the short way, they are nearly all there is."""
    market = _MarketFold(draft)
    for update in given.updates:
        if type(update) is TradePrinted:
            market.trade(update)
        elif type(update) is BookTopChanged:
            market.book(update)
        else:
            market.flush()
            _observe_other(draft, update, given)
    market.flush()


def _observe_other(draft: Draft, update: Update, given: ActorInput) -> None:
    match update:
        case OrderReported(report=report):
            order = draft.find_order(report.client_order_id)
            if order is not None:
                draft.book_report(order, report)
            elif draft.is_ours(report.client_order_id) and report.state.is_resting:
                draft.notice("order_unknown_to_us", str(report))
                draft.start_syncing()
        case FillReported(fill=fill):
            draft.book_fill(fill)
        case OrderLookedUp():
            book_lookup(draft, update)
        case VenueSnapshotTaken():
            compare(draft, update, is_account_dedicated=given.is_account_dedicated)
        case StreamGap(reason=reason):
            draft.notice("stream_gap", reason)
            draft.start_syncing()
        case CommandIssued():
            apply_command(draft, update)
        case AllowanceGranted(allowance=allowance):
            draft.allowance = allowance
        case MalformedReceived(content=content, reason=reason):
            draft.reject_update("malformed_update", f"{reason}: {content}")
        case _:
            pass


class _MarketFold:
    """Keeps the newest prices in local fields and builds one `Market` per run of price updates."""

    __slots__ = (
        "ask",
        "bid",
        "book_at",
        "draft",
        "is_dirty",
        "last_price",
        "trade_at",
        "updated_at",
    )

    def __init__(self, draft: Draft) -> None:
        market = draft.market
        self.draft = draft
        self.bid, self.ask, self.last_price = market.bid, market.ask, market.last_price
        self.trade_at, self.book_at = market.exchange_at, market.book_at
        self.updated_at = market.updated_at
        self.is_dirty = False

    def trade(self, update: TradePrinted) -> None:
        price = update.price
        quantity = update.quantity
        if not (price.is_finite() and price > 0 and quantity.is_finite() and quantity > 0):
            self.draft.reject_update("impossible_trade", str(update))
            return
        at = update.exchange_at
        if at is not None:
            if _is_late(at, self.trade_at, update.received_at):
                self.draft.reject_update("late_trade", str(update))
                return
            self.trade_at = at
        self.last_price = price
        self.updated_at = update.received_at
        self.is_dirty = True

    def book(self, update: BookTopChanged) -> None:
        bid, ask = update.bid, update.ask
        if not (bid.is_finite() and ask.is_finite() and bid > 0 and ask > 0):
            self.draft.reject_update("impossible_book", str(update))
            return
        at = update.exchange_at
        if at is not None:
            if _is_late(at, self.book_at, update.received_at):
                self.draft.reject_update("late_book", str(update))
                return
            self.book_at = at
        if bid >= ask:
            self.draft.reject_update("crossed_book", str(update))
        self.bid, self.ask = bid, ask
        self.updated_at = update.received_at
        self.is_dirty = True

    def flush(self) -> None:
        if not self.is_dirty:
            return
        self.draft.market = Market(
            bid=self.bid,
            ask=self.ask,
            last_price=self.last_price,
            exchange_at=self.trade_at,
            book_at=self.book_at,
            updated_at=self.updated_at,
        )
        self.is_dirty = False


def _is_late(at: datetime, newest: datetime | None, received_at: datetime) -> bool:
    """
    Whether an update is older than one that we have.

    A newest time from the far future was an error: believing it would make all that follows late.
    """
    return newest is not None and at < newest <= received_at + EXCHANGE_AHEAD_MAX


# --- planning ---


def _plan(draft: Draft) -> tuple[Plan, str]:
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
    stale_at = _stale_at(draft)
    return "stale market data" if stale_at is not None and draft.now >= stale_at else ""


def _stale_at(draft: Draft) -> datetime | None:
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


# --- the gate ---


def _claim_cancels(draft: Draft, intents: Sequence[CancelIntent]) -> tuple[CancelRequest, ...]:
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


def _pass_gate(
    draft: Draft, intents: Sequence[PlaceIntent], given: ActorInput
) -> tuple[tuple[PlannedPlace, ...], tuple[RefusalRecord, ...]]:
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


# --- outcomes ---


def _book_place_outcome(draft: Draft, order: Order, outcome: Outcome) -> None:
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
                draft.status = replace(draft.status, hold_until=draft.now + HOLD_AFTER_NOT_SENT)
            draft.put_order(transition(replace(order, reject_reason=reason), OrderState.REJECTED))
        case OutcomeKind.UNKNOWN:
            if order.state is OrderState.PENDING_NEW:
                draft.put_order(transition(order, OrderState.UNKNOWN))
        case OutcomeKind.NOT_SENT:
            hold = max(outcome.retry_after or HOLD_AFTER_NOT_SENT, HOLD_AFTER_NOT_SENT)
            draft.status = replace(draft.status, hold_until=draft.now + hold)
            draft.put_order(transition(order, OrderState.EXPIRED))


def _book_cancel_outcome(draft: Draft, order: Order, outcome: Outcome) -> None:
    """An acknowledged cancel carries the order's end; every other answer leaves it to settling."""
    if outcome.kind is OutcomeKind.ACCEPTED and outcome.report is not None:
        draft.book_report(order, outcome.report)


def _earliest(now: datetime, *instants: datetime | None) -> datetime | None:
    """The first instant that is still to come."""
    known = [instant for instant in instants if instant is not None and instant > now]
    return min(known) if known else None
