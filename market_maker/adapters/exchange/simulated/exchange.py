"""
The paper exchange: a venue in this process that behaves like one far away.

Idea. Everything a live venue can do to a bot, this one can: refuse, take its time, lose an answer
after it placed the order, cut the stream, fill while the bot is dead. It keeps its own durable
file, which the bot never reads, so a crash test can hold one against the other.

What is where: `books` who trades with whom, and the money · `schema`, `storage`, `durable` the file
and the rule "committed before told" · `sources`, `feed` the market · `driver` its pace · `faults`,
`streams` what goes wrong · `reading` the file seen from outside.

Requests. `permit.sign()` is called once, immediately before the request leaves. On its way it may
be refused at the door (rate limit), lost, or late; the venue checks its lifetime on its own clock
inside the transaction that inserts the order; then the answer may be lost or late. Whatever may
have been processed ends in `OutcomeUnknown`. A client order id is refused only while an open order
carries it: nothing here but the bot's own protocol prevents a duplicate.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from market_maker.adapters.exchange.simulated.books import errors
from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.driver import Driver, ProgressSink
from market_maker.adapters.exchange.simulated.durable import DurableVenue
from market_maker.adapters.exchange.simulated.faults import Fault, Faults
from market_maker.adapters.exchange.simulated.settings import SimulatedSettings
from market_maker.adapters.exchange.simulated.streams import Streams
from market_maker.domain.errors import (
    ExchangeUnavailable,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
)
from market_maker.domain.events import Balance, Update, VenuePosition
from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import CancelRequest, OrderReport, OrderRequest
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Lifetime, SendPermit, UpdateSink

RATE_LIMIT_PAUSE = timedelta(seconds=1)

_Action = Callable[[Lifetime], tuple[VenueOrder, list[Update]]]


class SimulatedExchange:
    """
    `Exchange` on a venue in this process; `clock` is true time, `settings.faults` may skew it.

    `open` plays the market that passed while no process had the file open and tells `progress`
    about it now and then. Methods before `open` and after `close` raise `ExchangeUnavailable`.
    """

    def __init__(
        self, settings: SimulatedSettings, *, clock: Clock, progress: ProgressSink | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._instruments = {item.symbol: item.to_instrument() for item in settings.instruments}
        self._is_derivative = any(item.kind == "linear" for item in settings.instruments)
        self._venue: DurableVenue | None = None
        self._driving: asyncio.Task[None] | None = None
        self._listener_count = 0

    # --- what it is ---

    @property
    def name(self) -> str:
        """The configured account's name."""
        return self._settings.name

    @property
    def is_lifetime_enforced(self) -> bool:
        """Always: a request is refused after its `signed_until`."""
        return True

    @property
    def is_derivative(self) -> bool:
        """Whether any instrument is a perpetual."""
        return self._is_derivative

    @property
    def clock(self) -> Clock:
        """The clock that agrees with this market: in lock-step the market's own time."""
        return _MarketClock(self._clock, self._local_now)

    # --- life ---

    async def open(self) -> None:
        """Take the file and catch up; raises `ExchangeUnavailable` and `TapeError`. Idempotent."""
        if self._venue is not None:
            return
        settings = self._settings
        venue = DurableVenue(settings, self._clock.now())
        stored = venue.open(self._clock.now())
        self._faults = Faults(settings.faults, session=stored.session)
        self._streams = Streams(
            self._faults,
            session=stored.session,
            cut=settings.faults.stream_cut,
            drop_notice=settings.faults.drop_notice,
        )
        self._driver = Driver(
            venue, stored, settings, clock=self._clock, faults=self._faults, streams=self._streams
        )
        self._venue = venue
        try:
            await self._driver.catch_up(self._progress)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop the market and let go of the file; open orders stay open. Idempotent."""
        venue, self._venue = self._venue, None
        if venue is None:
            return
        try:
            await self._stop_driving()
        finally:
            venue.close()

    def notify_idle(self) -> None:
        """Tell the market that the bot has nothing left to do; in lock-step k more updates go."""
        if self._venue is not None:
            self._driver.release()

    def release(self, count: int) -> None:
        """In lock-step: let exactly the next `count` updates go."""
        if self._venue is not None:
            self._driver.release(count)

    @property
    def is_waiting(self) -> bool:
        """In lock-step: whether every released update has been told, and none waits to go."""
        return self._venue is not None and self._driver.is_waiting

    # --- facts ---

    async def fetch_time(self) -> datetime:
        """The venue's clock, which may be skewed."""
        self._opened()
        await self._look_up()
        return self._driver.now()

    async def fetch_instruments(self, symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
        """The instruments of these symbols; raises `OrderRejected` for one that is not listed."""
        self._opened()
        await self._look_up()
        unlisted = [symbol for symbol in symbols if symbol not in self._instruments]
        if unlisted:
            raise errors.unknown_symbol(unlisted[0])
        return tuple(self._instruments[symbol] for symbol in symbols)

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """The newest order with this id, also after it ended; raises `UnknownOrder`."""
        self._opened()
        await self._look_up()
        return self._opened().find_order(symbol, client_order_id).to_report()

    async def fetch_open_orders(self, symbol: str) -> tuple[OrderReport, ...]:
        """Every open order of the account on the symbol, oldest first, foreign ones included."""
        self._opened()
        await self._look_up()
        return tuple(order.to_report() for order in self._opened().venue.open_orders(symbol))

    async def fetch_fills(
        self, symbol: str, *, after_trade_id: str = "", client_order_id: str = ""
    ) -> tuple[Fill, ...]:
        """The account's fills on the symbol, oldest first; trade ids are rising whole numbers."""
        self._opened()
        await self._look_up()
        return self._opened().find_fills(
            symbol, after_trade_id=after_trade_id, client_order_id=client_order_id
        )

    async def fetch_balances(self) -> tuple[Balance, ...]:
        """Every asset the account has or had."""
        self._opened()
        await self._look_up()
        return self._opened().venue.account.balances()

    async def fetch_positions(self) -> tuple[VenuePosition, ...]:
        """Every perpetual position that is not flat."""
        self._opened()
        await self._look_up()
        return self._opened().venue.account.venue_positions()

    # --- requests ---

    async def place_order(self, request: OrderRequest, permit: SendPermit) -> OrderReport:
        """Send one order once; the reasons of refusals begin with a venue's name for them."""

        def place(lifetime: Lifetime) -> tuple[VenueOrder, list[Update]]:
            return self._opened().place(
                request,
                lifetime,
                clock=self._driver.now,
                received_at=self._driver.local_now(),
            )

        def lose(lifetime: Lifetime) -> None:
            self._opened().lose(request, lifetime, clock=self._driver.now)

        return await self._send("place", request.client_order_id, permit, action=place, lose=lose)

    async def cancel_order(self, request: CancelRequest, permit: SendPermit) -> OrderReport:
        """Cancel one order by our id, or by the venue's where ours is empty or not open."""

        def cancel(lifetime: Lifetime) -> tuple[VenueOrder, list[Update]]:
            return self._opened().cancel(
                request,
                lifetime,
                clock=self._driver.now,
                received_at=self._driver.local_now(),
            )

        return await self._send(
            "cancel", request.client_order_id, permit, action=cancel, lose=lambda _: None
        )

    async def place_foreign_order(self, request: OrderRequest) -> OrderReport:
        """Put an order of somebody else on the account, beside the API: no faults, no permit."""
        order, updates = self._opened().place_foreign(
            request, at=self._driver.now(), received_at=self._driver.local_now()
        )
        self._streams.deliver(updates)
        return order.to_report()

    # --- streams ---

    async def stream(self, symbols: tuple[str, ...], sink: UpdateSink) -> None:
        """
        Deliver updates until every source has ended; the market passes while anybody listens.

        Raises `ExchangeUnavailable` if the file failed and `TapeError` at a damaged place.
        """
        self._opened()
        for symbol in symbols:
            if symbol not in self._instruments:
                raise errors.unknown_symbol(symbol)
        subscription = self._streams.add(symbols, sink)
        self._listener_count += 1
        try:
            if self._driving is None or self._driving.done():
                self._driving = asyncio.create_task(self._driver.run(), name="paper market")
            # Shielded: that one listener leaves must not stop the market for the others.
            await asyncio.shield(self._driving)
        finally:
            self._streams.remove(subscription)
            self._listener_count -= 1
            if not self._listener_count:
                await self._stop_driving()

    # --- private ---

    def _opened(self) -> DurableVenue:
        if self._venue is None:
            raise ExchangeUnavailable(f"paper exchange {self.name} is not open")
        return self._venue

    def _local_now(self) -> datetime:
        return self._clock.now() if self._venue is None else self._driver.local_now()

    async def _stop_driving(self) -> None:
        driving, self._driving = self._driving, None
        if driving is not None and not driving.done():
            driving.cancel()
            with suppress(asyncio.CancelledError):
                await driving

    async def _look_up(self) -> None:
        """Meet the faults of a question: it was not answered and may be asked again."""
        faults = self._faults
        if faults.hits(Fault.RATE_LIMIT, "lookup"):
            raise RateLimited("paper exchange: too many requests", retry_after=RATE_LIMIT_PAUSE)
        for kind in (Fault.REQUEST_LOST, Fault.SERVER_ERROR, Fault.ANSWER_LOST):
            if faults.hits(kind, "lookup"):
                raise ExchangeUnavailable(f"paper exchange: {kind} (lookup)")
        if faults.hits(Fault.LATE_ANSWER, "lookup"):
            await asyncio.sleep(self._settings.faults.late_answer.total_seconds())

    async def _send(
        self,
        about: str,
        client_order_id: str,
        permit: SendPermit,
        *,
        action: _Action,
        lose: Callable[[Lifetime], None],
    ) -> OrderReport:
        """Carry one request there and its answer back, with what may happen on the way."""
        self._opened()
        faults, settings = self._faults, self._settings.faults
        lifetime = permit.sign()
        if faults.hits(Fault.RATE_LIMIT, about):
            raise RateLimited("paper exchange: too many requests", retry_after=RATE_LIMIT_PAUSE)
        if faults.hits(Fault.REQUEST_LOST, about):
            raise OutcomeUnknown(f"{about} {client_order_id}: no answer (request lost)")
        if faults.hits(Fault.LATE_REQUEST, about):
            await asyncio.sleep(settings.late_request.total_seconds())
        is_broken = faults.hits(Fault.SERVER_ERROR, about)
        if is_broken and faults.is_half(about):
            lose(lifetime)
            raise OutcomeUnknown(f"{about} {client_order_id}: server error")
        refusal: OrderRejected | None = None
        report: OrderReport | None = None
        try:
            order, updates = action(lifetime)
        except OrderRejected as rejected:
            refusal = rejected
        else:
            self._streams.deliver(updates)
            report = order.to_report()
        if is_broken:
            raise OutcomeUnknown(f"{about} {client_order_id}: server error")
        if faults.hits(Fault.ANSWER_LOST, about):
            raise OutcomeUnknown(f"{about} {client_order_id}: no answer (answer lost)")
        if faults.hits(Fault.LATE_ANSWER, about):
            await asyncio.sleep(settings.late_answer.total_seconds())
        if report is None:
            raise refusal or OutcomeUnknown(f"{about} {client_order_id}: no answer")
        return report


class _MarketClock:
    """Time as the market has it, without the fault of a skewed venue clock."""

    def __init__(self, wall: Clock, market_now: Callable[[], datetime]) -> None:
        self._wall = wall
        self._market_now = market_now

    def now(self) -> datetime:
        """The market's time in lock-step, else wall time."""
        return self._market_now()

    def boottime(self) -> float:
        """Leases and locks are real in every mode."""
        return self._wall.boottime()
