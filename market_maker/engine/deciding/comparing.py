"""
Agree with the venue: a journaled snapshot against the books, row by row of the reconcile table.

What we think open is compared with what the venue lists. Orders that changed after the snapshot
began are left alone, because the snapshot may be older than what we know of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from market_maker.domain.events import Balance, OrderLookedUp, VenueSnapshotTaken
from market_maker.domain.instrument import InstrumentKind
from market_maker.domain.order import (
    CancelRequest,
    Order,
    OrderReport,
    OrderState,
    transition,
)
from market_maker.domain.symbol import IncidentSeverity, SymbolMode
from market_maker.engine.deciding.draft import Draft

OVERLAP: Final = 5
POSITION_MISMATCH: Final = "position_mismatch"
ORDER_VANISHED: Final = "order_vanished"
UNSETTLED: Final = frozenset({OrderState.PENDING_NEW, OrderState.UNKNOWN})


def book_lookup(draft: Draft, lookup: OrderLookedUp) -> None:
    """Apply the answer to a question about one order; only a conclusive "not found" ends it."""
    order = draft.find_order(lookup.client_order_id)
    if order is None:
        return
    for fill in lookup.fills:
        draft.book_fill(fill)
    order = draft.find_order(lookup.client_order_id) or order
    if lookup.report is not None:
        if order.state is OrderState.PENDING_CANCEL and lookup.report.state.is_resting:
            # The cancel never arrived: the order is live and may be canceled again.
            back = OrderState.PARTIALLY_FILLED if order.filled_quantity else OrderState.OPEN
            order = draft.put_order(transition(order, back))
        draft.book_report(order, lookup.report)
    elif lookup.is_conclusive and not order.is_terminal:
        if order.state in UNSETTLED:
            draft.put_order(transition(replace(order, reason="never placed"), OrderState.EXPIRED))
        else:
            draft.open_incident(
                ORDER_VANISHED, f"the venue no longer knows order {order.client_order_id}"
            )


def compare(draft: Draft, snapshot: VenueSnapshotTaken, *, is_account_dedicated: bool) -> None:
    """Walk the reconcile table over one snapshot; quoting may resume afterwards."""
    has_filled_since = _has_filled_since(draft, snapshot.since_at)
    # Before the snapshot's own fills are booked: an order that they change is not newer than it.
    unchanged = {
        order.client_order_id
        for order in draft.orders.values()
        if order.updated_at <= snapshot.since_at
    }
    for fill in snapshot.fills:
        draft.book_fill(fill)
    foreign_count = 0
    for report in snapshot.open_orders:
        if draft.is_ours(report.client_order_id):
            _compare_open(draft, report, snapshot.since_at)
        else:
            foreign_count += 1
    # An order outside the books has no settling: the venue is read until it lists none.
    has_strays = bool(draft.to_cancel)
    for lookup in snapshot.lookups:
        order = draft.orders.get(lookup.client_order_id)
        if order is not None and order.client_order_id in unchanged:
            book_lookup(draft, lookup)
            if lookup.report is None:
                _cancel_missing(draft, order)
    if not has_filled_since:
        _compare_position(draft, snapshot, is_account_dedicated=is_account_dedicated)
    status = draft.status
    is_fresh = status.syncing_since is None or snapshot.since_at >= status.syncing_since
    is_agreed = is_fresh and not has_filled_since and not has_strays
    is_synced = status.mode is SymbolMode.SYNCING and is_agreed
    draft.status = replace(
        status,
        mode=SymbolMode.QUOTING if is_synced else status.mode,
        last_trade_id=_watermark(snapshot, status.last_trade_id),
        foreign_order_count=foreign_count,
    )
    if has_strays and draft.status.mode is SymbolMode.QUOTING:
        draft.start_syncing()


def _watermark(snapshot: VenueSnapshotTaken, last_trade_id: str) -> str:
    """Where the next reading of fills begins: some fills back, so that two readings overlap."""
    if len(snapshot.fills) <= OVERLAP:
        return last_trade_id
    return snapshot.fills[-1 - OVERLAP].trade_id


def _compare_open(draft: Draft, report: OrderReport, since_at: datetime) -> None:
    order = draft.find_order(report.client_order_id)
    if order is not None and not order.is_terminal:
        draft.book_report(order, report)
        return
    if order is not None and order.updated_at > since_at:
        return
    can_trade = order is not None and order.remaining_quantity > 0
    if order is not None and can_trade and draft.logic.wants(draft.strategy, order):
        _adopt(draft, order, report)
        return
    draft.open_incident(
        "order_not_in_books",
        f"the venue lists order {report.client_order_id} ({report.side} {report.quantity} at "
        f"{report.price}) as open; our books do not: canceling it",
        IncidentSeverity.INFO,
    )
    draft.to_cancel.append(
        CancelRequest(
            client_order_id=report.client_order_id,
            exchange_order_id=report.exchange_order_id,
            symbol=report.symbol,
        )
    )


def _has_filled_since(draft: Draft, since_at: datetime) -> bool:
    """Whether fills were booked that the snapshot's balances may not hold: they prove nothing."""
    filled_at = draft.status.filled_at
    return filled_at is not None and filled_at > since_at


def _cancel_missing(draft: Draft, order: Order) -> None:
    """
    Cancel an order that should rest, and that the venue neither lists nor knows.

    Either it is there after all and ends, or settling asks until it is certain that it is lost.
    """
    if order.state is OrderState.PENDING_CANCEL or draft.find_order(order.client_order_id) != order:
        return
    reason = "the venue does not know it"
    draft.put_order(transition(replace(order, reason=reason), OrderState.PENDING_CANCEL))
    draft.to_cancel.append(
        CancelRequest(
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            symbol=order.symbol,
        )
    )


def _adopt(draft: Draft, order: Order, report: OrderReport) -> None:
    """An order that we gave up is live after all, and its slot still wants it."""
    draft.open_incident(
        "order_adopted",
        f"order {order.client_order_id} had ended {order.state}; the venue lists it open: adopted",
        IncidentSeverity.INFO,
    )
    revived = replace(
        order,
        state=OrderState.OPEN,
        reported_state=None,
        exchange_order_id=report.exchange_order_id,
        reason="adopted",
    )
    draft.strategy = draft.logic.on_planned(draft.strategy, revived)
    draft.ended.pop(order.client_order_id, None)
    draft.put_order(revived)
    draft.book_report(revived, report)


def _compare_position(
    draft: Draft, snapshot: VenueSnapshotTaken, *, is_account_dedicated: bool
) -> None:
    if any(order.is_fills_missing for order in draft.orders.values()):
        return
    own = draft.position.quantity
    if draft.instrument.kind is InstrumentKind.SPOT:
        venue = _total(snapshot.balances, draft.instrument.base_asset)
    else:
        venue = snapshot.position.quantity if snapshot.position else Decimal(0)
    if not venue.is_finite():
        draft.reject_update("impossible_position", f"the venue holds {venue}")
        return
    ignored = draft.status.difference_ignored
    if _agrees(draft, venue, is_account_dedicated=is_account_dedicated):
        draft.status = replace(draft.status, difference_ignored=Decimal(0))
    elif not ignored or not _agrees(
        draft, venue - ignored, is_account_dedicated=is_account_dedicated
    ):
        _open_mismatch(draft, f"the venue holds {venue}, our fills say {own}")


def _open_mismatch(draft: Draft, content: str) -> None:
    """One incident per symbol, kept up to date: what is adopted is what the venue holds now."""
    for incident in draft.incidents.values():
        if incident.kind == POSITION_MISMATCH:
            draft.incidents[incident.id] = replace(incident, content=content)
            return
    draft.open_incident(POSITION_MISMATCH, content)


def _agrees(draft: Draft, venue: Decimal, *, is_account_dedicated: bool) -> bool:
    """Whether the venue holds what our fills say: at least that, unless it can only be ours."""
    own = draft.position.quantity
    if draft.instrument.kind is InstrumentKind.SPOT:
        return venue >= own - draft.instrument.lot_size
    if is_account_dedicated:
        return venue == own
    return venue * own >= 0 and abs(venue) >= abs(own)


def _total(balances: Sequence[Balance], asset: str) -> Decimal:
    return sum((b.free + b.locked for b in balances if b.asset == asset), Decimal(0))
