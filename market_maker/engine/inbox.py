"""
What a lane has received and not yet journaled.

Prices beyond a symbol's limit are conflated to the newest and counted. Order events, fills and
commands are never dropped silently: beyond their limit they are discarded as one stream gap, which
a reconcile repairs. What is in an inbox at a crash is lost on purpose: prices come again, fills and
orders come back by reconcile, commands are rows of the database, timers are derived from state.
"""

import asyncio
from datetime import datetime
from typing import Final

from market_maker.domain.events import (
    BookTopChanged,
    FillReported,
    MalformedReceived,
    OrderReported,
    StreamGap,
    TradePrinted,
    Update,
    VenueSnapshotTaken,
)

PRICE_BYTES: Final = 260
EVENT_BYTES: Final = 700


class Inbox:
    """Waiting updates of one lane in order of arrival, bounded per symbol."""

    def __init__(self, *, price_updates_max: int, order_updates_max: int) -> None:
        self._price_updates_max = price_updates_max
        self._order_updates_max = order_updates_max
        self._updates: list[Update] = []
        self._latest: dict[tuple[str, type], int] = {}
        self._counts: dict[str, int] = {}
        self._order_counts: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._updates)

    def put(self, update: Update) -> None:
        """Add one update; never blocks, never raises."""
        kind = type(update)
        if kind is TradePrinted or kind is BookTopChanged:
            self._put_price(update, kind)
        else:
            self._put_event(update)
        self.arrived.set()

    def take(self, count_max: int, bytes_max: int) -> tuple[list[Update], dict[str, int]]:
        """
        Remove and return the oldest updates, and how many prices were conflated per symbol.

        At most `count_max`, and about `bytes_max` as they will be journaled, but always one.
        """
        count = _count_within(self._updates, count_max, bytes_max)
        taken, rest = self._updates[:count], self._updates[count:]
        skipped, self._skipped = self._skipped, {}
        self._updates, self._latest, self._counts, self._order_counts = [], {}, {}, {}
        for update in rest:
            self.put(update)
        if not rest:
            self.arrived.clear()
        return taken, skipped

    def _put_price(self, update: Update, kind: type) -> None:
        symbol = update.symbol
        count = self._counts.get(symbol, 0)
        key = (symbol, kind)
        if count >= self._price_updates_max:
            index = self._latest.get(key)
            if index is not None:
                self._updates[index] = update
                self._skipped[symbol] = self._skipped.get(symbol, 0) + 1
                return
        self._counts[symbol] = count + 1
        self._latest[key] = len(self._updates)
        self._updates.append(update)

    def _put_event(self, update: Update) -> None:
        if type(update) is MalformedReceived:
            # Nothing can be lost with it, and there may be no end of it.
            self._put_price(update, MalformedReceived)
            return
        if isinstance(update, OrderReported | FillReported):
            count = self._order_counts.get(update.symbol, 0) + 1
            if count > self._order_updates_max:
                self._discard_orders(update.symbol, update.received_at)
                return
            self._order_counts[update.symbol] = count
        self._updates.append(update)

    def _discard_orders(self, symbol: str, received_at: datetime) -> None:
        kept = [
            update
            for update in self._updates
            if not (update.symbol == symbol and isinstance(update, OrderReported | FillReported))
        ]
        self._updates, self._latest, self._counts, self._order_counts = [], {}, {}, {}
        for update in kept:
            self.put(update)
        self._updates.append(
            StreamGap(
                id=f"{symbol}:overflow:{received_at.isoformat()}",
                symbol=symbol,
                exchange_at=None,
                received_at=received_at,
                reason=f"more than {self._order_updates_max} order updates were waiting",
            )
        )


def _count_within(updates: list[Update], count_max: int, bytes_max: int) -> int:
    """How many of the oldest updates fit; sizes are those measured on real tapes."""
    size = 0
    for count, update in enumerate(updates[:count_max]):
        kind = type(update)
        if kind is TradePrinted or kind is BookTopChanged:
            size += PRICE_BYTES
        elif isinstance(update, VenueSnapshotTaken):
            parts = len(update.open_orders) + len(update.lookups) + len(update.fills)
            size += EVENT_BYTES * (parts + len(update.balances))
        else:
            size += EVENT_BYTES
        if size > bytes_max and count:
            return count
    return min(len(updates), count_max)
