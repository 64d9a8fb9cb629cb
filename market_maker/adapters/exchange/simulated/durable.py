"""
The venue together with its file: what happens is stored, and only then returned or told.

Invariant. The file always holds one consistent instant: orders, money and the market's position are
written in the same transaction. If a commit fails, everything in memory is thrown away and loaded
again, because only the file is the truth.

The failure this prevents: an order or a fill that somebody was told about and that is gone after a
kill, or a trade of the tape that fills twice because the market went back and the order did not.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from market_maker.adapters.exchange.simulated import updates
from market_maker.adapters.exchange.simulated.books import errors
from market_maker.adapters.exchange.simulated.books.account import Account
from market_maker.adapters.exchange.simulated.books.matching import SymbolBook, Touch
from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.books.venue import Venue
from market_maker.adapters.exchange.simulated.feed import Feed, Track, build_feed
from market_maker.adapters.exchange.simulated.settings import SimulatedSettings
from market_maker.adapters.exchange.simulated.sources.source import Tick, TopTick, TradeTick
from market_maker.adapters.exchange.simulated.storage import Storage, StoredVenue
from market_maker.domain.errors import (
    ExchangeError,
    ExchangeUnavailable,
    OrderRejected,
    OutcomeUnknown,
)
from market_maker.domain.events import Update
from market_maker.domain.fill import Fill
from market_maker.domain.order import CancelRequest, OrderRequest
from market_maker.ports.exchange import Lifetime
from market_maker.ports.failpoints import failpoint

VenueClock = Callable[[], datetime]


class DurableVenue:
    """One driver's venue; `elapsed_us` is the time that its market has come to."""

    def __init__(self, settings: SimulatedSettings, at: datetime) -> None:
        self._settings = settings
        self._instruments = {item.symbol: item.to_instrument() for item in settings.instruments}
        self._margin_ratios = {
            item.symbol: item.initial_margin_ratio for item in settings.instruments
        }
        self.storage = Storage(Path(settings.file).expanduser())
        self.elapsed_us = 0
        # The newest time that the venue has given to anything.
        self.last_at = datetime.min.replace(tzinfo=UTC)
        # Which wall time the market has come to; the driver, who sets the pace, knows better.
        self.wall_at: Callable[[int], datetime] = lambda _: at
        self._next_event = 1

    # --- open and close ---

    def open(self, at: datetime) -> StoredVenue:
        """Take the file and load it; raises `ExchangeUnavailable` and `TapeError`."""
        # Sources are built before the file is touched: a damaged tape must not leave a new file.
        fresh = build_feed(self._settings, {}, elapsed_us=0)
        self.storage.open(
            name=self._settings.name,
            totals=self._settings.balances,
            began_at=fresh.began_at,
            at=at,
        )
        try:
            with self.storage.transaction():
                self.storage.begin_session()
            return self.load()
        except BaseException:
            self.storage.close()
            raise

    def close(self) -> None:
        """Store the market's position and let go of the file."""
        try:
            self.store(ExchangeUnavailable)
        finally:
            self.storage.close()

    def load(self) -> StoredVenue:
        """Take the state as of the last commit into memory."""
        stored = self.storage.load()
        self._next_event = stored.next_event
        self.elapsed_us = stored.elapsed_us
        self.feed: Feed = build_feed(self._settings, stored.markets, elapsed_us=stored.elapsed_us)
        books = {}
        for symbol, instrument in self._instruments.items():
            market = stored.markets.get(symbol)
            touch = None if market is None else Touch.from_plain(market.touch)
            books[symbol] = SymbolBook(instrument, touch)
        self.venue = Venue(
            books,
            Account(stored.totals, stored.positions),
            counters=stored.counters,
            margin_ratios=self._margin_ratios,
        )
        for order in stored.open_orders:
            if order.symbol not in books:
                raise ExchangeUnavailable(
                    f"paper exchange file {self.storage.path} holds open orders on {order.symbol}, "
                    "which the settings do not list"
                )
            self.venue.restore(order)
        return stored

    # --- the market ---

    def apply(
        self,
        track: Track,
        tick: Tick,
        *,
        exchange_at: datetime,
        received_at: datetime,
        told: list[Update] | None,
    ) -> None:
        """Let one trade or book pass; append what is to be told after the next `store`."""
        symbol = track.symbol
        if isinstance(tick, TradeTick):
            if told is not None:
                trade = updates.to_trade(
                    symbol, track.prefix, tick, exchange_at=exchange_at, received_at=received_at
                )
                told.append(trade)
            before = len(self.venue.pending.reports)
            self.venue.apply_trade(symbol, tick, exchange_at)
            if len(self.venue.pending.reports) > before:
                news = self._to_updates(before, received_at)
                if told is not None:
                    told += news
        elif isinstance(tick, TopTick):
            self.venue.apply_top(symbol, tick)
            if told is not None:
                top = updates.to_top(
                    symbol, track.prefix, tick, exchange_at=exchange_at, received_at=received_at
                )
                told.append(top)

    def store(self, error: type[ExchangeError]) -> None:
        """Commit everything that changed; raises `error` if the file failed."""
        is_news = self.venue.has_changes
        with self._transaction(error):
            self._write()
            if is_news:
                failpoint("venue.before_commit_fills")
        if is_news:
            failpoint("venue.after_commit_before_tell")

    # --- requests ---

    def place(
        self,
        request: OrderRequest,
        lifetime: Lifetime,
        *,
        clock: VenueClock,
        received_at: datetime,
    ) -> tuple[VenueOrder, list[Update]]:
        """
        Carry a place request out, or raise what the venue answers; both are logged and committed.

        The lifetime is checked on the venue's clock inside the transaction that inserts the order:
        there is no instant between the check and the order at which it could expire unseen.
        """
        refusal: OrderRejected | None = None
        order: VenueOrder | None = None
        with self._transaction(OutcomeUnknown):
            at = clock()
            try:
                if at > lifetime.signed_until:
                    raise errors.request_expired(lifetime.signed_until, at)
                order = self.venue.place(request, at)
            except OrderRejected as rejected:
                refusal = rejected
            verdict = "accepted" if refusal is None else f"rejected: {refusal.reason}"
            self._log(request, lifetime, at=at, verdict=verdict)
            told = self._to_updates(0, received_at)
            self._write()
            failpoint("venue.before_commit")
        failpoint("venue.after_commit_before_ack")
        if refusal is not None or order is None:
            raise refusal or OutcomeUnknown(request.client_order_id)
        return order, told

    def place_foreign(
        self, request: OrderRequest, *, at: datetime, received_at: datetime
    ) -> tuple[VenueOrder, list[Update]]:
        """Put an order of somebody else on the account; it is not in the request log."""
        with self._transaction(OutcomeUnknown):
            order = self.venue.place(request, at, is_foreign=True)
            told = self._to_updates(0, received_at)
            self._write()
        return order, told

    def cancel(
        self,
        request: CancelRequest,
        lifetime: Lifetime,
        *,
        clock: VenueClock,
        received_at: datetime,
    ) -> tuple[VenueOrder, list[Update]]:
        """Cancel an order, or raise what the venue answers."""
        with self._transaction(OutcomeUnknown):
            at = clock()
            if at > lifetime.signed_until:
                raise errors.request_expired(lifetime.signed_until, at)
            order = self.venue.cancel(request, at)
            told = self._to_updates(0, received_at)
            self._write()
            failpoint("venue.before_commit")
        failpoint("venue.after_commit_before_ack")
        return order, told

    def lose(self, request: OrderRequest, lifetime: Lifetime, *, clock: VenueClock) -> None:
        """Log a request that reached the venue and got lost inside it."""
        with self._transaction(OutcomeUnknown):
            self._log(request, lifetime, at=clock(), verdict="server_error")

    def find_order(self, symbol: str, client_order_id: str) -> VenueOrder:
        """Return the newest order with this client order id; raises `UnknownOrder`."""
        self._check_symbol(symbol)
        with self._translated():
            order = self.storage.find_order(symbol, client_order_id)
        if order is None:
            raise errors.unknown_order(f"{client_order_id} on {symbol} was never accepted")
        return order

    def find_fills(
        self, symbol: str, *, after_trade_id: str, client_order_id: str
    ) -> tuple[Fill, ...]:
        """Return the fills of a symbol in venue order."""
        self._check_symbol(symbol)
        if after_trade_id and not after_trade_id.isdecimal():
            raise errors.bad_request(f"trade id {after_trade_id!r} was not a number")
        with self._translated():
            return self.storage.find_fills(
                symbol, after_trade_id=int(after_trade_id or 0), client_order_id=client_order_id
            )

    # --- private ---

    def _check_symbol(self, symbol: str) -> None:
        if symbol not in self._instruments:
            raise errors.unknown_symbol(symbol)

    def _to_updates(self, first: int, received_at: datetime) -> list[Update]:
        """Number the pending reports from index `first` on."""
        news = []
        for report, at in self.venue.pending.reports[first:]:
            self.last_at = max(self.last_at, at)
            news.append(
                updates.to_own(self._next_event, report, exchange_at=at, received_at=received_at)
            )
            self._next_event += 1
        return news

    def _log(
        self, request: OrderRequest, lifetime: Lifetime, *, at: datetime, verdict: str
    ) -> None:
        self.storage.write_request(
            request.client_order_id,
            request.symbol,
            at=at,
            until=lifetime.signed_until,
            verdict=verdict,
        )

    def _write(self) -> None:
        venue, storage = self.venue, self.storage
        storage.write_changes(
            venue.drain(),
            counters=venue.counters,
            next_event=self._next_event,
            account=venue.account,
        )
        storage.write_position(elapsed_us=self.elapsed_us, elapsed_at=self.wall_at(self.elapsed_us))
        for track in self.feed.tracks:
            if track.is_dirty or venue.books[track.symbol].is_dirty:
                touch = venue.books[track.symbol].touch
                storage.write_market(track.symbol, track.to_stored(touch))
                track.is_dirty = venue.books[track.symbol].is_dirty = False

    @contextmanager
    def _transaction(self, error: type[ExchangeError]) -> Iterator[None]:
        try:
            with self.storage.transaction():
                yield
        except (sqlite3.Error, OSError) as failure:
            # Memory is ahead of the file now, and may not be believed any more.
            with suppress(sqlite3.Error, OSError):
                self.load()
            message = f"paper exchange file {self.storage.path} failed: {failure}"
            raise error(message) from failure

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as failure:
            message = f"paper exchange file {self.storage.path} failed: {failure}"
            raise ExchangeUnavailable(message) from failure
