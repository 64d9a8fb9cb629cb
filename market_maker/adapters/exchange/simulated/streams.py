"""
Who listens, and what happens to updates on their way: doubled, swapped, lost, or the line cut.

Invariant: the venue commits first and tells afterwards, and what is told to one listener is in the
venue's order unless a fault says otherwise. A lost order or fill update is followed by nothing, on
purpose: the bot's reconcile must find it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from market_maker.adapters.exchange.simulated.faults import Fault, Faults
from market_maker.domain.events import StreamGap, Update
from market_maker.ports.exchange import UpdateSink


@dataclass(slots=True, eq=False)
class Subscription:
    """One listener; while its line is cut it hears nothing until `silent_until` (our clock)."""

    symbols: tuple[str, ...]
    sink: UpdateSink
    held: Update | None = None
    silent_until: datetime | None = None


class Streams:
    """Delivers updates to every listener of their symbol."""

    def __init__(self, faults: Faults, *, session: int, cut: timedelta, drop_notice: bool) -> None:
        self._faults = faults
        self._session = session
        self._cut = cut
        self._drop_notice = drop_notice
        self._gap_count = 0
        self._subscriptions: list[Subscription] = []

    @property
    def is_empty(self) -> bool:
        """Whether nobody listens."""
        return not self._subscriptions

    def add(self, symbols: tuple[str, ...], sink: UpdateSink) -> Subscription:
        """Begin to deliver."""
        subscription = Subscription(symbols, sink)
        self._subscriptions.append(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Stop delivering."""
        self._subscriptions.remove(subscription)

    def deliver(self, updates: Iterable[Update]) -> None:
        """Tell every listener, in order."""
        for subscription in tuple(self._subscriptions):
            symbols, sink = subscription.symbols, subscription.sink
            is_undisturbed = subscription.held is None and subscription.silent_until is None
            if is_undisturbed and self._faults.are_updates_safe:
                for update in updates:
                    if update.symbol in symbols:
                        sink(update)
            else:
                for update in updates:
                    if update.symbol in symbols:
                        self._disturb(subscription, update)

    def flush(self) -> None:
        """Deliver what waits to be overtaken; nothing more will come."""
        for subscription in tuple(self._subscriptions):
            self._release_held(subscription)

    def to_gap(
        self, symbol: str, reason: str, *, exchange_at: datetime | None, received_at: datetime
    ) -> StreamGap:
        """Return a gap notice with an id of its own."""
        self._gap_count += 1
        return StreamGap(
            id=f"{symbol}:g{self._session}.{self._gap_count}",
            symbol=symbol,
            exchange_at=exchange_at,
            received_at=received_at,
            reason=reason,
        )

    def _to_gap_after(self, update: Update, symbol: str, reason: str) -> StreamGap:
        return self.to_gap(
            symbol, reason, exchange_at=update.exchange_at, received_at=update.received_at
        )

    def _disturb(self, subscription: Subscription, update: Update) -> None:
        if subscription.silent_until is not None:
            if update.received_at < subscription.silent_until:
                return
            self._reconnect(subscription, update)
        if isinstance(update, StreamGap):
            self._pass(subscription, update)
        elif self._faults.hits(Fault.STREAM_CUT):
            subscription.silent_until = update.received_at + self._cut
            subscription.held = None
        elif self._faults.hits(Fault.UPDATE_DROPPED):
            if self._drop_notice:
                gap = self._to_gap_after(update, update.symbol, "updates were dropped")
                self._pass(subscription, gap)
        elif subscription.held is None and self._faults.hits(Fault.UPDATE_REORDERED):
            subscription.held = update
        else:
            self._pass(subscription, update)
            if self._faults.hits(Fault.UPDATE_DUPLICATED):
                subscription.sink(update)

    def _pass(self, subscription: Subscription, update: Update) -> None:
        """Deliver, and after it the update that it overtook."""
        subscription.sink(update)
        self._release_held(subscription)

    def _release_held(self, subscription: Subscription) -> None:
        held, subscription.held = subscription.held, None
        if held is not None:
            subscription.sink(held)

    def _reconnect(self, subscription: Subscription, update: Update) -> None:
        subscription.silent_until = None
        for symbol in subscription.symbols:
            subscription.sink(self._to_gap_after(update, symbol, "the stream was cut"))
