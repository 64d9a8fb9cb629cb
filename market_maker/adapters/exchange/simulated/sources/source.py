"""
What a market source says, and the port it says it through.

Times are microseconds since the source began, already divided by its speed, so that the venue can
merge several sources on one time line. `sequence` counts a source's ticks from 0 over its whole
life (also over loops); with the symbol it makes an update's id, the same again after a restart.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from market_maker.domain.fill import Side

Position = Mapping[str, Any]
"""Where a source is, as plain JSON values; `{}` is its beginning."""

Level = tuple[Decimal, Decimal | None]
"""Price and quantity (base); None is a quantity that nobody knows."""

US_PER_MS = 1_000
FOREVER_US = 1 << 62
"""The time of a tick that never comes: the market holds, and its streams stay open."""

FAULT_KINDS = (
    "request_lost",
    "answer_lost",
    "late_answer",
    "late_request",
    "rate_limit",
    "server_error",
    "update_duplicated",
    "update_reordered",
    "update_dropped",
    "stream_cut",
)
"""What a scenario may call for; `faults.Fault` has the same words."""


class TradeTick(NamedTuple):
    """
    Somebody traded.

    `is_price_only`: the price is all that is known, `quantity` is nominal and there is no limit to
    what may have traded.
    """

    at_us: int
    sequence: int
    price: Decimal
    quantity: Decimal
    taker_side: Side
    is_price_only: bool = False


class TopTick(NamedTuple):
    """The best bid and ask; with `bids` and `asks` also the levels behind, best first."""

    at_us: int
    sequence: int
    bid: Decimal
    bid_quantity: Decimal | None
    ask: Decimal
    ask_quantity: Decimal | None
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()


class GapTick(NamedTuple):
    """Every stream of the symbol loses its place here."""

    at_us: int
    sequence: int
    reason: str


class FaultTick(NamedTuple):
    """
    The next `hit_count` updates or requests meet this fault, whatever its ratio.

    `about` says which requests: place, cancel or lookup.
    """

    at_us: int
    sequence: int
    kind: str
    hit_count: int
    about: str


Tick = TradeTick | TopTick | GapTick | FaultTick


class Source(Protocol):
    """A market, tick by tick, that can be resumed from any position."""

    @property
    def is_paced(self) -> bool:
        """False if ticks are to be read without waiting for their time."""
        ...

    @property
    def began_at(self) -> datetime:
        """The instant on the source's own calendar at which its time 0 lies."""
        ...

    def peek(self) -> int | None:
        """The time of the next tick; None after the last."""
        ...

    def take(self) -> Tick:
        """The next tick, which `peek` announced."""
        ...

    def position(self) -> Position:
        """What makes a new source of the same settings continue with the next tick."""
        ...
