"""
The working copy in which one actor folds one batch.

A `Draft` starts from an immutable state and ends in a new one; the old state is never touched, so a
decision that is thrown away leaves no trace. It books what venues report: orders forward only,
fills once, and whatever contradicts the books as an incident.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from market_maker.domain.changes import changes_between
from market_maker.domain.errors import DuplicateFill, InvalidUpdate
from market_maker.domain.fill import Fill
from market_maker.domain.ledger import LedgerEntry, entries_for
from market_maker.domain.order import (
    CancelRequest,
    Order,
    OrderReport,
    OrderState,
    apply_fill,
    apply_report,
)
from market_maker.domain.position import apply_fill as apply_fill_to_position
from market_maker.domain.risk.rules import count_traded
from market_maker.domain.settings import SymbolSettings
from market_maker.domain.strategies.base import Strategy
from market_maker.domain.symbol import (
    Incident,
    IncidentSeverity,
    SymbolChanges,
    SymbolMode,
    SymbolState,
)
from market_maker.engine.records import Notice

NOTICES_PER_BATCH_MAX = 20
INCIDENTS_OPEN_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which workflow is deciding: what new facts are stamped with."""

    bot: str
    tag: str
    lane: int
    sequence: int
    workflow_id: str
    now: datetime


class Draft:
    """Mutable while one batch is folded; `finish` freezes it."""

    def __init__(
        self,
        state: SymbolState,
        *,
        settings: SymbolSettings,
        strategy: Strategy,
        stamp: Stamp,
        loaded: Mapping[str, Order],
        phase: str = "",
    ) -> None:
        self.old = state
        self.phase = phase
        self.settings = settings
        self.instrument = settings.instrument
        self.logic = strategy
        self.stamp = stamp
        self.now = stamp.now
        self.loaded = loaded
        self.orders = dict(state.orders)
        self.ended: dict[str, Order] = {}
        self.incidents = dict(state.incidents)
        self.closed_incidents: list[Incident] = []
        self.position = state.position
        self.strategy = state.strategy
        self.risk = state.risk
        self.allowance = state.allowance
        self.status = state.status
        self.market = state.market
        self.fills: list[Fill] = []
        self.ledger: list[LedgerEntry] = []
        self.notices: list[Notice] = []
        self.to_cancel: list[CancelRequest] = []
        self.processed_count = 0
        self.malformed_count = 0

    # --- orders ---

    def is_ours(self, client_order_id: str) -> bool:
        """Whether an id carries this bot's tag."""
        return client_order_id.startswith(self.stamp.tag)

    def find_order(self, client_order_id: str) -> Order | None:
        """An own order of any age that this batch knows of."""
        return (
            self.orders.get(client_order_id)
            or self.ended.get(client_order_id)
            or self.loaded.get(client_order_id)
        )

    def put_order(self, order: Order) -> Order:
        """Keep an order that changed, and let the strategy follow it."""
        order = replace(order, changed_sequence=self.stamp.sequence, updated_at=self.stamp.now)
        if order.is_terminal:
            self.orders.pop(order.client_order_id, None)
            self.ended[order.client_order_id] = order
        else:
            self.orders[order.client_order_id] = order
        self.strategy = self.logic.on_order(
            self.strategy, order, now=self.now, instrument=self.instrument
        )
        return order

    def book_report(self, order: Order, report: OrderReport) -> None:
        """Move an order by what the venue said of it."""
        try:
            after = apply_report(order, report)
        except InvalidUpdate as error:
            self.reject_update("impossible_report", str(error))
            self.open_incident("impossible_report", f"{error}; report: {report}")
            return
        if after is not order:
            self.put_order(after)
        if self._contradicts_its_end(order, after, report):
            # Nobody asks for an order that has ended: reading the venue finds what is true.
            self.notice("order_not_ended", str(report))
            self.start_syncing()

    def book_fill(self, fill: Fill) -> None:
        """Book one execution: once, on order, position, ledger, risk counters and strategy."""
        if not self.is_ours(fill.client_order_id):
            return
        order = self.find_order(fill.client_order_id)
        problem = _fill_problem(order, fill)
        if order is None or problem:
            self.reject_update("impossible_fill", problem)
            self.open_incident("impossible_fill", f"{problem}; fill: {fill}")
            return
        try:
            after = apply_fill(order, fill)
        except DuplicateFill:
            return
        except InvalidUpdate as error:
            self.reject_update("impossible_fill", str(error))
            self.open_incident("impossible_fill", f"{error}; fill: {fill}")
            return
        self.fills.append(fill)
        self.status = replace(self.status, filled_at=self.now)
        self.position = apply_fill_to_position(self.position, fill, self.instrument)
        self.ledger.extend(entries_for(fill, self.instrument))
        self.risk = count_traded(self.risk, fill.notional, now=self.now)
        self.strategy = self.logic.on_fill(self.strategy, after, fill, self.instrument)
        self.put_order(after)
        if order.is_terminal:
            self.open_incident(
                "late_fill", f"order {order.client_order_id} had ended {order.state}; fill: {fill}"
            )

    @staticmethod
    def _contradicts_its_end(order: Order, after: Order, report: OrderReport) -> bool:
        if not order.is_terminal:
            return False
        is_live = order.state is OrderState.EXPIRED and report.state.is_resting
        return is_live or (after is not order and after.is_fills_missing)

    def start_syncing(self) -> None:
        """Quote nothing until a snapshot that was begun after this batch agrees."""
        self.status = replace(self.status, mode=SymbolMode.SYNCING, syncing_since=self.now)

    # --- what goes wrong ---

    def reject_update(self, name: str, content: str) -> None:
        """Count an update that is of no use, and have it logged."""
        self.malformed_count += 1
        self.notice(name, content)

    def notice(self, name: str, content: str) -> None:
        """Have something logged after the batch; bounded."""
        if len(self.notices) < NOTICES_PER_BATCH_MAX:
            self.notices.append(Notice(symbol=self.old.symbol, name=name, content=content[:1000]))

    def open_incident(
        self, kind: str, content: str, severity: IncidentSeverity = IncidentSeverity.OPEN
    ) -> None:
        """Open an incident unless the same one is open already."""
        if any(i.kind == kind and i.content == content for i in self.incidents.values()):
            return
        if len(self.incidents) >= INCIDENTS_OPEN_MAX:
            self.notice(f"incident_{kind}", content)
            return
        number = len(self.incidents) + len(self.closed_incidents)
        incident = Incident(
            id=f"{self.stamp.workflow_id}/{self.old.symbol}/{self.phase}{number}",
            symbol=self.old.symbol,
            kind=kind,
            severity=severity,
            content=content[:2000],
            opened_at=self.now,
        )
        self.notice(f"incident_{kind}", content)
        if severity is IncidentSeverity.OPEN:
            self.incidents[incident.id] = incident
        else:
            self.closed_incidents.append(replace(incident, closed_at=self.now, resolution="info"))

    def close_incident(self, incident_id: str, resolution: str) -> Incident | None:
        """Close an open incident with the operator's word; None if it is not open."""
        incident = self.incidents.pop(incident_id, None)
        if incident is not None:
            incident = replace(incident, closed_at=self.now, resolution=resolution)
            self.closed_incidents.append(incident)
        return incident

    # --- the end ---

    def finish(
        self, *, idle_reason: str, wake_at: datetime | None
    ) -> tuple[SymbolState, SymbolChanges | None]:
        """Freeze the draft and say what changed."""
        status = replace(
            self.status,
            mode=self._mode(),
            idle_reason=idle_reason,
            updates_processed_count=self.status.updates_processed_count + self.processed_count,
            updates_malformed_count=self.status.updates_malformed_count + self.malformed_count,
            last_update_at=self.now if self.processed_count else self.status.last_update_at,
            wake_at=wake_at,
        )
        new = SymbolState(
            symbol=self.old.symbol,
            position=self.position,
            status=self.old.status if status == self.old.status else status,
            market=self.market,
            strategy=self.strategy,
            risk=self.risk,
            allowance=self.allowance,
            orders=self.orders,
            incidents=self.incidents,
        )
        changes = changes_between(
            self.old,
            new,
            fills=tuple(self.fills),
            ledger=tuple(self.ledger),
            ended_orders=tuple(self.ended.values()),
            closed_incidents=tuple(self.closed_incidents),
        )
        return new, changes

    def _mode(self) -> SymbolMode:
        status = self.status
        if status.mode in {SymbolMode.PARKED, SymbolMode.SYNCING}:
            return status.mode
        if status.is_killed:
            return SymbolMode.KILLED
        return SymbolMode.PAUSED if status.is_paused else SymbolMode.QUOTING


def _fill_problem(order: Order | None, fill: Fill) -> str:
    if order is None:
        return f"fill {fill.trade_id} is of an order that we do not know"
    if not (fill.price.is_finite() and fill.quantity.is_finite() and fill.fee.is_finite()):
        return f"fill {fill.trade_id} holds a number that is not finite"
    if fill.price <= 0 or fill.quantity <= 0:
        return f"fill {fill.trade_id} has a price or quantity that is not above zero"
    if fill.side is not order.side:
        return f"fill {fill.trade_id} is a {fill.side}, its order a {order.side}"
    return ""
