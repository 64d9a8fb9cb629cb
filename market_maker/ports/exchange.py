"""
One account at one venue.

Every method raises only `ExchangeError`s (domain/errors.py says what the caller must do for each).
An adapter never retries, never throttles by itself and never invents an outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from market_maker.domain.events import Balance, Update, VenuePosition
from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import CancelRequest, OrderReport, OrderRequest

UpdateSink = Callable[[Update], None]
"""Takes one update from a stream, in order; never blocks and never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """The instants between which the venue accepts a signed request."""

    signed_at: datetime
    signed_until: datetime


class SendPermit(Protocol):
    """The last gate before the socket."""

    def sign(self) -> Lifetime:
        """
        Stamp the request now; called once, immediately before it leaves.

        Raises `ExchangeUnavailable` if the request may no longer be signed (its deadline passed).
        Ends the process if the lease does not outlast the request's lifetime.
        """
        ...


class Exchange(Protocol):
    """What the engine needs of a venue."""

    @property
    def name(self) -> str:
        """The configured account's name, `binance-main`."""
        ...

    @property
    def is_lifetime_enforced(self) -> bool:
        """Whether the venue itself refuses a request after its `signed_until`."""
        ...

    @property
    def is_derivative(self) -> bool:
        """Whether positions exist beside balances."""
        ...

    async def open(self) -> None:
        """Connect. Idempotent."""
        ...

    async def close(self) -> None:
        """Disconnect; what is open at the venue stays open."""
        ...

    async def fetch_time(self) -> datetime:
        """The venue's clock."""
        ...

    async def fetch_instruments(self, symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
        """The instruments of these symbols; raises `OrderRejected` for one that is not listed."""
        ...

    async def place_order(self, request: OrderRequest, permit: SendPermit) -> OrderReport:
        """Send one order once and return what the venue acknowledged."""
        ...

    async def cancel_order(self, request: CancelRequest, permit: SendPermit) -> OrderReport:
        """Cancel one order; raises `UnknownOrder` if the venue has no such open order."""
        ...

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderReport:
        """One order by our id, also after it ended; raises `UnknownOrder` if it is not known."""
        ...

    async def fetch_open_orders(self, symbol: str) -> tuple[OrderReport, ...]:
        """Every open order of the account on the symbol, ours or not."""
        ...

    async def fetch_fills(
        self, symbol: str, *, after_trade_id: str = "", client_order_id: str = ""
    ) -> tuple[Fill, ...]:
        """
        The account's fills on the symbol in venue order.

        With `after_trade_id` only later ones; with `client_order_id` only that order's. Complete:
        the adapter pages until it has all of them.
        """
        ...

    async def fetch_balances(self) -> tuple[Balance, ...]:
        """Every asset the account owns."""
        ...

    async def fetch_positions(self) -> tuple[VenuePosition, ...]:
        """Every derivative position; empty on spot."""
        ...

    async def stream(self, symbols: tuple[str, ...], sink: UpdateSink) -> None:
        """
        Deliver market and order updates to `sink` until the source ends or the task is canceled.

        Emits `StreamGap` for a symbol whenever updates may have been lost. Returns when a recorded
        source has ended.
        """
        ...
