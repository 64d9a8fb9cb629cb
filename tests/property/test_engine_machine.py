"""
One actor against a small venue, in any order that the world may choose.

The venue accepts, rejects, loses and delays; its news comes late, twice, in the wrong order or not
at all; the process dies between any two batches, or in the middle of one, and lives on from what
its tables say. Whatever happens, bot and venue agree in the end and nothing is ever sent twice.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from market_maker.domain.changes import apply_changes
from market_maker.domain.events import OrderLookedUp, Update, VenueSnapshotTaken
from market_maker.domain.fill import Fill
from market_maker.domain.intents import Outcome, OutcomeKind
from market_maker.domain.order import (
    CancelRequest,
    Order,
    OrderReport,
    OrderRequest,
    OrderState,
    Purpose,
    RejectReason,
)
from market_maker.domain.symbol import SymbolMode, SymbolState
from market_maker.engine import records
from market_maker.engine.records import Decision
from market_maker.engine.venue.settling import needs_settling
from tests.actor_desk import (
    ActorDesk,
    a_command,
    a_gap,
    accepted_place,
    an_allowance_update,
    balances,
    filled,
    looked_up,
    reported,
)
from tests.builders import a_fill, an_allowance

LIFETIME = timedelta(seconds=2)
MARGIN = timedelta(milliseconds=250)
ALLOWANCE = Decimal(450)
ROUNDS_MAX = 60

PLACE_FATES = st.sampled_from(
    ["accepted"] * 6 + ["rejected", "post_only", "poor", "answer lost", "lost", "late", "not sent"]
)
CANCEL_FATES = st.sampled_from(["done"] * 4 + ["answer lost", "lost", "not sent"])


class Venue:
    """Orders by id, fills in order, requests that are still on their way."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderReport] = {}
        self.fills: list[Fill] = []
        self.sent: list[str] = []
        self.late: list[tuple[OrderRequest, datetime]] = []
        self.news: list[Update] = []
        self.price = Decimal(100)

    def receive(self, request: OrderRequest, *, until: datetime, now: datetime) -> None:
        if now > until or (request.post_only and self.is_crossing(request)):
            return
        report = OrderReport(
            client_order_id=request.client_order_id,
            exchange_order_id=f"x-{request.client_order_id}",
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            cumulative_quantity=Decimal(0),
            state=OrderState.OPEN,
        )
        self.orders[request.client_order_id] = report
        self.news.append(reported(report))
        if self.is_crossing(request):
            self.trade(request.client_order_id, request.quantity)

    def cancel(self, client_order_id: str) -> OrderReport | None:
        report = self.orders.get(client_order_id)
        if report is None or not report.state.is_resting:
            return None
        canceled = replace(report, state=OrderState.CANCELED)
        self.orders[client_order_id] = canceled
        self.news.append(reported(canceled))
        return canceled

    def trade(self, client_order_id: str, quantity: Decimal) -> None:
        report = self.orders[client_order_id]
        cumulative = report.cumulative_quantity + quantity
        is_done = cumulative == report.quantity
        state = OrderState.FILLED if is_done else OrderState.PARTIALLY_FILLED
        report = replace(report, cumulative_quantity=cumulative, state=state)
        self.orders[client_order_id] = report
        fill = a_fill(
            trade_id=str(len(self.fills) + 1),
            client_order_id=client_order_id,
            exchange_order_id=report.exchange_order_id,
            side=report.side,
            price=report.price,
            quantity=quantity,
        )
        self.fills.append(fill)
        self.news += [filled(fill), reported(report)]

    def move(self, price: Decimal) -> None:
        """The market moves: what rests on its way trades."""
        self.price = price
        for report in self.open_orders:
            if self.is_crossing(report):
                self.trade(report.client_order_id, report.quantity - report.cumulative_quantity)

    def is_crossing(self, order: OrderReport | OrderRequest) -> bool:
        assert order.price is not None
        return (order.price - self.price) * order.side.sign > 0

    @property
    def open_orders(self) -> list[OrderReport]:
        return [report for report in self.orders.values() if report.state.is_resting]

    @property
    def base(self) -> Decimal:
        return sum((fill.side.sign * fill.quantity for fill in self.fills), Decimal(0))

    def fills_of(self, client_order_id: str) -> tuple[Fill, ...]:
        return tuple(fill for fill in self.fills if fill.client_order_id == client_order_id)


class EngineMachine(RuleBasedStateMachine):
    """Every rule is something that the world may do; a batch is what the bot does about it."""

    def __init__(self) -> None:
        super().__init__()
        self.venue = Venue()
        self.desk = ActorDesk()
        self.inbox: list[Update] = []
        self.snapshot: VenueSnapshotTaken | None = None
        self.lookups: dict[str, OrderLookedUp] = {}
        self.not_found: dict[str, int] = {}
        self.tables: SymbolState = self.desk.state

    @initialize()
    def quote(self) -> None:
        self.start()
        for _ in range(3):
            self.calm_round()
        assert self.desk.state.orders

    def start(self) -> None:
        self.inbox += [a_command("start"), an_allowance_update(self.allowance())]

    # --- the bot ---

    @rule(data=st.data(), prices=st.lists(st.integers(94, 106), min_size=1, max_size=4))
    def busy_batches(self, data: st.DataObject, prices: list[int]) -> None:
        """The usual case: all is heard and asked in time, and trades go on meanwhile."""
        for price in prices:
            self.hear_all()
            self.settle()
            self.hear_answers()
            if self.desk.state.status.mode is SymbolMode.SYNCING:
                self.read()
                self.hear_reading()
            self.batch_of(data, price)
            self.trade_one(data)

    @rule(data=st.data(), price=st.integers(94, 106))
    def batch(self, data: st.DataObject, price: int) -> None:
        """Only what happened to be heard."""
        self.batch_of(data, price)

    def batch_of(self, data: st.DataObject, price: int) -> None:
        self.venue.move(Decimal(price))
        waiting, self.inbox = self.inbox, []
        self.decide(data, [*waiting, self.desk.trade(price)], crash=False)

    @rule(data=st.data(), price=st.integers(94, 106))
    def batch_that_kills(self, data: st.DataObject, price: int) -> None:
        self.venue.move(Decimal(price))
        waiting, self.inbox = self.inbox, []
        self.decide(data, [*waiting, self.desk.trade(price)], crash=True)

    @rule(data=st.data(), count=st.integers(1, 4))
    def silent_batches(self, data: st.DataObject, count: int) -> None:
        """Time goes by: lifetimes end, and market data gets stale."""
        for _ in range(count):
            waiting, self.inbox = self.inbox, []
            self.decide(data, waiting, crash=False)

    def decide(self, data: st.DataObject, updates: list[Update], *, crash: bool) -> None:
        made = self.desk.take(*updates)
        self.check_exposure(made.places)
        places = [place.request for place in made.places]
        if crash:
            self.crash_while_placing(data, made.cancels, places)
        else:
            outcomes = [self.send_cancel(data.draw(CANCEL_FATES), item) for item in made.cancels]
            outcomes += [self.send(data.draw(PLACE_FATES), request) for request in places]
            self.desk.answer(*outcomes)
        self.tables = self.desk.state
        self.lookups = {
            key: found for key, found in self.lookups.items() if key in self.desk.state.orders
        }

    def send(self, fate: str, request: OrderRequest) -> Outcome:
        order = self.desk.order(request.client_order_id)
        until = self.desk.now + LIFETIME
        outcome = replace(accepted_place(order), signed_at=self.desk.now, signed_until=until)
        nothing = replace(outcome, report=None, kind=OutcomeKind.UNKNOWN)
        if fate == "not sent":
            return replace(nothing, kind=OutcomeKind.NOT_SENT, signed_at=None, signed_until=None)
        self.note_sent(request)
        reasons = {
            "rejected": RejectReason.OTHER,
            "post_only": RejectReason.POST_ONLY,
            "poor": RejectReason.INSUFFICIENT_BALANCE,
        }
        if fate == "accepted" and request.post_only and self.venue.is_crossing(request):
            fate = "post_only"
        if fate in reasons:
            return replace(nothing, kind=OutcomeKind.REJECTED, reject_reason=reasons[fate])
        if fate == "late":
            self.venue.late.append((request, until))
        elif fate != "lost":
            self.venue.receive(request, until=until, now=self.desk.now)
        return outcome if fate == "accepted" else nothing

    def send_cancel(self, fate: str, request: CancelRequest) -> Outcome:
        outcome = Outcome(
            action="cancel",
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            kind=OutcomeKind.UNKNOWN,
        )
        if fate == "not sent":
            return replace(outcome, kind=OutcomeKind.NOT_SENT)
        if fate == "lost":
            return outcome
        report = self.venue.cancel(request.client_order_id)
        if fate == "answer lost":
            return outcome
        if report is None:
            return replace(outcome, kind=OutcomeKind.REJECTED)
        return replace(outcome, kind=OutcomeKind.ACCEPTED, report=report)

    def crash_while_placing(
        self, data: st.DataObject, cancels: Iterable[CancelRequest], places: list[OrderRequest]
    ) -> None:
        """The decision is journaled; of the requests some left. The next process asks for each."""
        for cancel in cancels:
            if data.draw(st.booleans()):
                self.venue.cancel(cancel.client_order_id)
        for request in places:
            fate = data.draw(st.sampled_from(["never left", "arrived", "late"]))
            if fate == "never left":
                continue
            self.note_sent(request)
            until = self.desk.now + LIFETIME
            if fate == "late":
                self.venue.late.append((request, until))
            else:
                self.venue.receive(request, until=until, now=self.desk.now)
        self.reload_from_journal()
        outcomes = [self.send_cancel("done", cancel) for cancel in cancels]
        self.desk.answer(*outcomes, *[self.ask(request) for request in places])
        self.tables = self.desk.state
        self.forget_process()

    def ask(self, request: OrderRequest) -> Outcome:
        report = self.venue.orders.get(request.client_order_id)
        return replace(
            accepted_place(self.desk.order(request.client_order_id)),
            kind=OutcomeKind.UNKNOWN if report is None else OutcomeKind.ACCEPTED,
            report=report,
            signed_at=None,
            signed_until=self.desk.now + LIFETIME,
        )

    def reload_from_journal(self) -> None:
        """What another process makes of the tables of n−1 and the journaled decision of n."""
        made = self.desk.decision
        assert made is not None
        changes = () if made.changes is None else (made.changes,)
        record = records.encode_decision(Decision(changes=changes))
        state = self.tables
        for item in records.decode_decision(record).changes:
            state = apply_changes(state, item)
        assert records.digest(records.to_record(state)) == records.digest(
            records.to_record(self.desk.state)
        )
        self.desk.state = state

    def note_sent(self, request: OrderRequest) -> None:
        assert request.client_order_id not in self.venue.sent, "sent twice"
        self.venue.sent.append(request.client_order_id)

    # --- the process ---

    @rule()
    def restart(self) -> None:
        """Everything that was not recorded is gone."""
        self.desk.state = self.tables
        self.forget_process()

    def forget_process(self) -> None:
        self.inbox, self.venue.news, self.snapshot = [], [], None
        self.lookups, self.not_found = {}, {}
        self.start()

    # --- the venue ---

    @rule(data=st.data())
    def trade(self, data: st.DataObject) -> None:
        self.trade_one(data)

    def trade_one(self, data: st.DataObject) -> None:
        if not self.venue.open_orders:
            return
        tenths = data.draw(st.integers(1, 10))
        report = data.draw(st.sampled_from(self.venue.open_orders))
        left = report.quantity - report.cumulative_quantity
        self.venue.trade(report.client_order_id, min(left, Decimal(tenths) / 10))

    @rule(data=st.data())
    def cancel_by_the_venue(self, data: st.DataObject) -> None:
        if self.venue.open_orders:
            report = data.draw(st.sampled_from(self.venue.open_orders))
            self.venue.cancel(report.client_order_id)

    @rule()
    def late_requests(self) -> None:
        late, self.venue.late = self.venue.late, []
        for request, until in late:
            self.venue.receive(request, until=until, now=self.desk.now)

    # --- the stream ---

    @rule(data=st.data(), is_kept=st.booleans())
    def hear(self, data: st.DataObject, *, is_kept: bool) -> None:
        """Any of the news, in any order; kept, it comes again."""
        if not self.venue.news:
            return
        index = data.draw(st.integers(0, len(self.venue.news) - 1))
        self.inbox.append(self.venue.news[index] if is_kept else self.venue.news.pop(index))

    @rule()
    def hear_all(self) -> None:
        self.inbox += self.venue.news
        self.venue.news = []

    @rule()
    def lose_the_stream(self) -> None:
        self.venue.news = []
        self.inbox.append(a_gap())

    # --- asking ---

    @rule()
    def read(self) -> None:
        """What one reading of the venue sees now; it is heard whenever `hear_reading` says."""
        if self.snapshot is not None:
            return
        state = self.desk.state
        listed = self.venue.open_orders
        ids = {report.client_order_id for report in listed}
        missing = [
            order
            for order in state.orders.values()
            if order.state.is_resting and order.client_order_id not in ids
        ]
        after = int(state.status.last_trade_id or 0)
        self.snapshot = self.desk.snapshot(
            open_orders=listed,
            since_at=self.desk.now,
            lookups=tuple(self.look_up(order, is_conclusive=False) for order in missing),
            fills=tuple(fill for fill in self.venue.fills if int(fill.trade_id) > after),
            balances=balances(self.venue.base),
        )

    @rule()
    def hear_reading(self) -> None:
        if self.snapshot is not None:
            self.inbox.append(self.snapshot)
            self.snapshot = None

    @rule()
    def settle(self) -> None:
        for order in self.desk.state.orders.values():
            if needs_settling(order):
                self.settle_one(order)

    def settle_one(self, order: Order) -> None:
        key = order.client_order_id
        if key in self.lookups:
            return
        is_known = key in self.venue.orders
        if not is_known:
            until = order.signed_until
            if until is not None and self.desk.now <= until + MARGIN:
                return
            self.not_found[key] = self.not_found.get(key, 0) + 1
            if self.not_found[key] < 2:
                return
        self.lookups[key] = self.look_up(order, is_conclusive=True)

    def look_up(self, order: Order, *, is_conclusive: bool) -> OrderLookedUp:
        report = self.venue.orders.get(order.client_order_id)
        fills = self.venue.fills_of(order.client_order_id)
        return looked_up(
            order.client_order_id,
            report,
            *fills,
            is_conclusive=is_conclusive or report is not None,
        )

    @rule()
    def hear_answers(self) -> None:
        self.inbox += self.lookups.values()
        self.lookups = {}

    # --- the operator ---

    @rule(name=st.sampled_from(["pause", "cancel-all", "kill"]), is_resumed=st.booleans())
    def command(self, name: str, *, is_resumed: bool) -> None:
        self.inbox.append(a_command(name))
        if is_resumed:
            self.inbox.append(a_command("resume"))

    @rule()
    def resume(self) -> None:
        self.inbox.append(a_command("resume"))

    # --- what must always hold ---

    @invariant()
    def every_fill_counts_once(self) -> None:
        booked = [fill.trade_id for fill in self.desk.fills]
        assert len(booked) == len(set(booked))
        total = sum((fill.side.sign * fill.quantity for fill in self.desk.fills), Decimal(0))
        assert self.desk.state.position.quantity == total

    @invariant()
    def slots_and_dust_are_the_position(self) -> None:
        assert self.desk.held == self.desk.state.position.quantity

    @invariant()
    def no_slot_has_two_orders(self) -> None:
        slots = [order.slot for order in self.desk.state.orders.values() if order.slot]
        assert len(slots) == len(set(slots))

    @invariant()
    def whatever_may_trade_is_in_the_books(self) -> None:
        live = {report.client_order_id for report in self.venue.open_orders}
        live |= {
            request.client_order_id for request, until in self.venue.late if self.desk.now <= until
        }
        assert live <= set(self.desk.state.orders)

    @invariant()
    def nothing_contradicts_the_books(self) -> None:
        assert not self.desk.state.incidents
        assert not self.desk.closed

    def check_exposure(self, places: Iterable[Any]) -> None:
        state = self.desk.state
        new = {place.request.client_order_id for place in places}
        if not any(state.orders[key].purpose is Purpose.OPENING for key in new):
            return
        opening = sum(
            (
                order.remaining_quantity * (order.price or Decimal(0))
                for order in state.orders.values()
                if order.purpose is Purpose.OPENING
            ),
            Decimal(0),
        )
        price = state.market.price or Decimal(0)
        assert opening + abs(state.position.quantity) * price <= ALLOWANCE

    def allowance(self) -> Any:
        return an_allowance(exposure_notional_quote_max=ALLOWANCE)

    # --- the end: everything is heard and asked ---

    def teardown(self) -> None:
        """The world calms down; bot and venue must then be of one mind."""
        self.inbox.append(a_command("resume"))
        for _ in range(ROUNDS_MAX):
            self.calm_round()
            if self.is_settled():
                break
        assert self.is_settled(), self.desk.state.status
        state = self.desk.state
        live = {report.client_order_id: report for report in self.venue.open_orders}
        assert set(live) == set(state.orders)
        for key, order in state.orders.items():
            assert order.filled_quantity == live[key].cumulative_quantity
            assert order.state is live[key].state
        for key, report in self.venue.orders.items():
            assert self.desk.order(key).state is report.state, "every venue order is known"
        assert state.position.quantity == self.venue.base
        self.nothing_contradicts_the_books()

    def calm_round(self) -> None:
        self.hear_all()
        for order in list(self.desk.state.orders.values()):
            if needs_settling(order):
                self.settle_one(order)
        self.hear_answers()
        if self.snapshot is None:
            self.read()
        self.hear_reading()
        self.venue.move(Decimal(100))
        waiting, self.inbox = self.inbox, []
        made = self.desk.take(*waiting, self.desk.trade(100))
        outcomes = [self.send_cancel("done", item) for item in made.cancels]
        outcomes += [self.send("accepted", place.request) for place in made.places]
        self.desk.answer(*outcomes)
        self.tables = self.desk.state

    def is_settled(self) -> bool:
        state = self.desk.state
        return (
            not self.venue.news
            and not self.inbox
            and state.status.mode is SymbolMode.QUOTING
            and not any(needs_settling(order) for order in state.orders.values())
        )


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
