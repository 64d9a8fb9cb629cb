"""
SymbolActor: one symbol's state; batch in, decision out; pure.

`decide` folds the updates of a batch into a draft, then plans once at the end and passes every
intent through the risk gate. `apply_outcomes` folds what the venue answered. Neither reads
a clock, sends anything or touches the state it was given.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
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
from market_maker.domain.intents import Outcome
from market_maker.domain.settings import SymbolSettings
from market_maker.domain.strategies.base import Strategy
from market_maker.domain.symbol import (
    SymbolChanges,
    SymbolMode,
    SymbolState,
)
from market_maker.engine.deciding.claiming import claim_cancels, pass_gate
from market_maker.engine.deciding.commands import apply_command
from market_maker.engine.deciding.comparing import book_lookup, compare
from market_maker.engine.deciding.draft import Draft, Stamp
from market_maker.engine.deciding.given import ActorDecision, ActorInput
from market_maker.engine.deciding.market import MarketFold
from market_maker.engine.deciding.outcomes import book_cancel_outcome, book_place_outcome
from market_maker.engine.deciding.planning import plan, stale_at

PARKED_PAUSE: Final = timedelta(seconds=1)


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
    planned, idle_reason = plan(draft)
    cancels = claim_cancels(draft, planned.cancels)
    places, refusals = pass_gate(draft, planned.places, given)
    wake_at = _earliest(draft.now, planned.wake_at, stale_at(draft), draft.status.hold_until)
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
            book_place_outcome(draft, order, outcome)
        else:
            book_cancel_outcome(draft, order, outcome)
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
    market = MarketFold(draft)
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


def _earliest(now: datetime, *instants: datetime | None) -> datetime | None:
    """The first instant that is still to come."""
    known = [instant for instant in instants if instant is not None and instant > now]
    return min(known) if known else None
