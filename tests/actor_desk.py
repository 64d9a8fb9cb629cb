"""
A desk for actor tests: one symbol's state, and updates that arrive when the test says so.

Every decision is made twice and held against its own changes: `decide` must be pure, the same, and
nothing may be in a state that its changes do not say.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, Final

from market_maker.domain.changes import apply_changes
from market_maker.domain.events import (
    AllowanceGranted,
    Balance,
    BookTopChanged,
    CommandIssued,
    FillReported,
    MalformedReceived,
    OrderLookedUp,
    OrderReported,
    StreamGap,
    TimerFired,
    TradePrinted,
    Update,
    VenuePosition,
    VenueSnapshotTaken,
)
from market_maker.domain.fill import Fill, Side
from market_maker.domain.intents import Outcome, OutcomeKind
from market_maker.domain.order import Order, OrderReport, OrderState, Purpose, RejectReason
from market_maker.domain.risk.limits import RiskLimits
from market_maker.domain.settings import SymbolSettings
from market_maker.domain.strategies.registry import strategy_for
from market_maker.domain.symbol import Incident, SymbolChanges, SymbolMode, SymbolState
from market_maker.engine import records
from market_maker.engine.actor import apply_outcomes, decide
from market_maker.engine.deciding.draft import Stamp
from market_maker.engine.deciding.given import ActorDecision, ActorInput
from market_maker.engine.procedures import new_state
from tests.builders import (
    NOW,
    SYMBOL,
    a_report,
    an_allowance,
    an_instrument,
    grid_settings,
    risk_limits,
)

TAG: Final = "abc"
BOOK_AGE_MAX: Final = timedelta(seconds=3)
RICH: Final = (
    Balance(asset="BTC", free=Decimal(1000), locked=Decimal(0)),
    Balance(asset="USDT", free=Decimal(1_000_000), locked=Decimal(0)),
)

_numbers = count(1)


def symbol_settings(**overrides: Any) -> SymbolSettings:
    values: dict[str, Any] = {
        "symbol": SYMBOL,
        "instrument": an_instrument(),
        "strategy": grid_settings(),
        "limits": risk_limits(),
        "book_age_max": BOOK_AGE_MAX,
    }
    return SymbolSettings(**(values | overrides))


class ActorDesk:
    """`take` is one batch a second later; `answer` what the venue said to it."""

    def __init__(
        self,
        settings: SymbolSettings | None = None,
        *,
        is_account_dedicated: bool = False,
        limits: RiskLimits | None = None,
    ) -> None:
        self.settings = settings or symbol_settings()
        if limits is not None:
            self.settings = replace(self.settings, limits=limits)
        self.strategy = strategy_for(self.settings.strategy)
        self.state: SymbolState = new_state(SYMBOL)
        self.is_account_dedicated = is_account_dedicated
        self.sequence = 0
        self.now = NOW
        self.ended: dict[str, Order] = {}
        self.closed: list[Incident] = []
        self.fills: list[Fill] = []
        self.decision: ActorDecision | None = None
        self._changes: SymbolChanges | None = None

    # --- batches ---

    def take(
        self, *updates: Update, seconds: float = 1, skipped: int = 0, loads: bool = True
    ) -> ActorDecision:
        """One batch: decided twice, checked, and not answered yet."""
        self.sequence += 1
        self.now += timedelta(seconds=seconds)
        before = records.to_record(self.state)
        made = decide(self.state, self._input(updates, skipped, loads=loads))
        again = decide(self.state, self._input(updates, skipped, loads=loads))
        assert made == again, "the same input decided differently"
        assert records.to_record(self.state) == before, "the old state was touched"
        self._keep(made.state, made.changes, since=self.state)
        self.decision = made
        return made

    def answer(self, *outcomes: Outcome) -> None:
        """What came of the last decision; every order not named was accepted."""
        assert self.decision is not None
        named = {outcome.client_order_id for outcome in outcomes}
        accepted = [
            accepted_place(self.state.orders[place.request.client_order_id])
            for place in self.decision.places
            if place.request.client_order_id not in named
        ]
        decided, changes = self.state, self._changes
        state, merged = apply_outcomes(
            decided,
            changes,
            [*outcomes, *accepted],
            settings=self.settings,
            strategy=self.strategy,
            stamp=self._stamp(),
        )
        self._keep(state, merged, since=self._before)

    def quote(self, *updates: Update, **options: Any) -> ActorDecision:
        """One batch whose orders are all accepted and whose cancels all end."""
        made = self.take(*updates, **options)
        ends = [
            ended_cancel(self.state.orders[cancel.client_order_id])
            for cancel in made.cancels
            if cancel.client_order_id in self.state.orders
        ]
        self.answer(*ends)
        return made

    def start(self, price: str | int = 100) -> ActorDecision:
        """From nothing to a quoting grid."""
        self.quote(a_command("start"), an_allowance_update(an_allowance()))
        self.quote(self.snapshot())
        return self.quote(self.trade(price))

    # --- updates ---

    def trade(self, price: str | int = 100, **overrides: Any) -> TradePrinted:
        at = self.now + timedelta(seconds=1)
        return a_trade(price, **({"exchange_at": at, "received_at": at} | overrides))

    def book(self, bid: str | int, ask: str | int, **overrides: Any) -> BookTopChanged:
        at = self.now + timedelta(seconds=1)
        return a_book(bid, ask, **({"exchange_at": at, "received_at": at} | overrides))

    def snapshot(
        self,
        *,
        open_orders: Iterable[OrderReport] | None = None,
        since_at: datetime | None = None,
        **overrides: Any,
    ) -> VenueSnapshotTaken:
        """The venue agrees with us, but for what is named."""
        if open_orders is None:
            resting = [order for order in self.state.orders.values() if order.state.is_resting]
            open_orders = [a_report(order, OrderState.OPEN) for order in resting]
        values: dict[str, Any] = {
            "id": f"snapshot-{next(_numbers)}",
            "symbol": SYMBOL,
            "exchange_at": None,
            "received_at": self.now,
            "since_at": self.now if since_at is None else since_at,
            "open_orders": tuple(open_orders),
            "lookups": (),
            "fills": (),
            "balances": RICH,
            "position": None,
        }
        return VenueSnapshotTaken(**(values | overrides))

    # --- reading ---

    def orders(self, side: Side | None = None, purpose: Purpose | None = None) -> list[Order]:
        return sorted(
            (
                order
                for order in self.state.orders.values()
                if (side is None or order.side is side)
                and (purpose is None or order.purpose is purpose)
            ),
            key=lambda order: order.price or Decimal(0),
        )

    def nearest_buy(self) -> Order:
        return self.orders(Side.BUY)[-1]

    def order(self, client_order_id: str) -> Order:
        return self.state.orders.get(client_order_id) or self.ended[client_order_id]

    def incident(self, kind: str) -> Incident:
        (found,) = [item for item in self.state.incidents.values() if item.kind == kind]
        return found

    def has_incident(self, kind: str) -> bool:
        return any(item.kind == kind for item in self.state.incidents.values())

    def mode(self) -> SymbolMode:
        return self.state.status.mode

    @property
    def held(self) -> Decimal:
        """What slots and dust hold together."""
        holdings = [slot.holding for slot in self.state.strategy.slots.values()]
        return sum(holdings, self.state.strategy.memory.dust_quantity)

    # --- inside ---

    def _input(self, updates: Sequence[Update], skipped: int, *, loads: bool) -> ActorInput:
        return ActorInput(
            settings=self.settings,
            strategy=self.strategy,
            stamp=self._stamp(),
            updates=list(updates),
            skipped_count=skipped,
            loaded=dict(self.ended) if loads else {},
            symbols_allowed=(SYMBOL,),
            is_account_dedicated=self.is_account_dedicated,
            next_client_order_id=_ids(self.sequence),
        )

    def _stamp(self) -> Stamp:
        return Stamp(
            bot="bot",
            tag=TAG,
            lane=0,
            sequence=self.sequence,
            workflow_id=f"bot/0/{self.sequence:09d}",
            now=self.now,
        )

    def _keep(
        self, state: SymbolState, changes: SymbolChanges | None, *, since: SymbolState
    ) -> None:
        applied = since if changes is None else apply_changes(since, changes)
        assert applied == state, "the changes are not the difference"
        self._before, self.state, self._changes = since, state, changes
        if changes is None:
            return
        for order in changes.orders:
            if order.is_terminal:
                self.ended[order.client_order_id] = order
            else:
                self.ended.pop(order.client_order_id, None)
        known_ids = {item.id for item in self.closed}
        self.closed += [
            item
            for item in changes.incidents
            if item.closed_at is not None and item.id not in known_ids
        ]
        known = {(fill.trade_id, fill.client_order_id) for fill in self.fills}
        self.fills += [
            fill for fill in changes.fills if (fill.trade_id, fill.client_order_id) not in known
        ]


def _ids(sequence: int) -> Callable[[], str]:
    numbers = count()
    return lambda: f"{TAG}{sequence:09d}{next(numbers):06d}"


# --- updates that need no desk ---


def a_trade(price: str | int | Decimal = 100, **overrides: Any) -> TradePrinted:
    values: dict[str, Any] = {
        "id": f"trade-{next(_numbers)}",
        "symbol": SYMBOL,
        "exchange_at": NOW,
        "received_at": NOW,
        "price": Decimal(price),
        "quantity": Decimal(1),
        "taker_side": Side.BUY,
    }
    return TradePrinted(**(values | overrides))


def a_book(bid: str | int | Decimal, ask: str | int | Decimal, **overrides: Any) -> BookTopChanged:
    values: dict[str, Any] = {
        "id": f"book-{next(_numbers)}",
        "symbol": SYMBOL,
        "exchange_at": NOW,
        "received_at": NOW,
        "bid": Decimal(bid),
        "bid_quantity": Decimal(1),
        "ask": Decimal(ask),
        "ask_quantity": Decimal(1),
    }
    return BookTopChanged(**(values | overrides))


def filled(fill: Fill) -> FillReported:
    return FillReported(
        id=f"fill-{next(_numbers)}",
        symbol=fill.symbol,
        exchange_at=NOW,
        received_at=NOW,
        fill=fill,
    )


def reported(report: OrderReport) -> OrderReported:
    return OrderReported(
        id=f"order-{next(_numbers)}",
        symbol=report.symbol,
        exchange_at=NOW,
        received_at=NOW,
        report=report,
    )


def looked_up(
    client_order_id: str,
    report: OrderReport | None,
    *fills: Fill,
    is_conclusive: bool = True,
) -> OrderLookedUp:
    return OrderLookedUp(
        id=f"lookup-{next(_numbers)}",
        symbol=SYMBOL,
        exchange_at=None,
        received_at=NOW,
        client_order_id=client_order_id,
        report=report,
        is_conclusive=is_conclusive,
        fills=fills,
    )


def a_command(name: str, argument: str = "", *, command_id: str | None = None) -> CommandIssued:
    return CommandIssued(
        id=f"command-{next(_numbers)}",
        symbol=SYMBOL,
        exchange_at=None,
        received_at=NOW,
        command_id=f"c{next(_numbers)}" if command_id is None else command_id,
        name=name,
        argument=argument,
    )


def an_allowance_update(allowance: Any = None) -> AllowanceGranted:
    return AllowanceGranted(
        id=f"allowance-{next(_numbers)}",
        symbol=SYMBOL,
        exchange_at=None,
        received_at=NOW,
        allowance=allowance or an_allowance(),
    )


def a_gap(reason: str = "the stream was cut") -> StreamGap:
    return StreamGap(
        id=f"gap-{next(_numbers)}", symbol=SYMBOL, exchange_at=None, received_at=NOW, reason=reason
    )


def a_timer() -> TimerFired:
    return TimerFired(
        id=f"timer-{next(_numbers)}", symbol=SYMBOL, exchange_at=None, received_at=NOW, due_at=NOW
    )


def malformed(content: str = "{") -> MalformedReceived:
    return MalformedReceived(
        id=f"malformed-{next(_numbers)}",
        symbol=SYMBOL,
        exchange_at=None,
        received_at=NOW,
        content=content,
        reason="not JSON",
    )


def balances(base: str | int | Decimal) -> tuple[Balance, ...]:
    return (Balance(asset="BTC", free=Decimal(base), locked=Decimal(0)), RICH[1])


def a_venue_position(quantity: str | int) -> VenuePosition:
    return VenuePosition(
        symbol=SYMBOL, quantity=Decimal(quantity), average_entry_price=Decimal(100)
    )


# --- outcomes ---


def accepted_place(order: Order, **overrides: Any) -> Outcome:
    return Outcome(
        action="place",
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        kind=OutcomeKind.ACCEPTED,
        report=a_report(order, OrderState.OPEN, **overrides),
        signed_at=NOW,
        signed_until=NOW + timedelta(seconds=2),
    )


def no_acceptance(
    client_order_id: str,
    kind: OutcomeKind,
    reject_reason: RejectReason | None = None,
    *,
    action: str = "place",
) -> Outcome:
    """Rejected, unknown or not sent."""
    is_unknown = kind is OutcomeKind.UNKNOWN
    return Outcome(
        action=action,
        client_order_id=client_order_id,
        symbol=SYMBOL,
        kind=kind,
        reason=f"told to be {kind}",
        reject_reason=reject_reason,
        signed_until=NOW + timedelta(seconds=2) if is_unknown else None,
    )


def ended_cancel(order: Order, **overrides: Any) -> Outcome:
    return Outcome(
        action="cancel",
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        kind=OutcomeKind.ACCEPTED,
        report=a_report(order, OrderState.CANCELED, **overrides),
    )
