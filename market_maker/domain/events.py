"""
Updates: everything that an actor may learn, as plain frozen values.

Each has an `id` unique in its bot, the `symbol` it concerns, the venue's clock (`exchange_at`, None
where there is none) and ours (`received_at`), and `cause`, the id of what led to it. `KIND` is the
stable name under which the journal keeps it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from market_maker.domain.fill import Fill, Side
from market_maker.domain.order import OrderReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePrinted:
    """Somebody traded: a print on the tape."""

    KIND: ClassVar[str] = "trade"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    price: Decimal
    quantity: Decimal
    taker_side: Side
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTopChanged:
    """The best bid and ask, and what rests there (base)."""

    KIND: ClassVar[str] = "book_top"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReported:
    """The venue reported the state of one of the account's orders."""

    KIND: ClassVar[str] = "order"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    report: OrderReport
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReported:
    """The venue reported an execution of one of the account's orders."""

    KIND: ClassVar[str] = "fill"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    fill: Fill
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLookedUp:
    """
    The answer to a question about one order by client order id.

    `report` is None if the venue does not know it. `is_conclusive` says that the order can no
    longer arrive: its lifetime has passed on the venue's clock and it was not found twice. `fills`
    are the order's executions as the venue lists them.
    """

    KIND: ClassVar[str] = "lookup"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    client_order_id: str
    report: OrderReport | None
    is_conclusive: bool
    fills: tuple[Fill, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired:
    """A wake-up that the actor asked for is due."""

    KIND: ClassVar[str] = "timer"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    due_at: datetime
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGap:
    """Updates may have been lost; nothing is quoted until the next snapshot."""

    KIND: ClassVar[str] = "gap"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    reason: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedReceived:
    """Something unreadable came from the venue: counted, logged once, otherwise ignored."""

    KIND: ClassVar[str] = "malformed"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    content: str
    reason: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What the account owns of one asset; `locked` is held by resting orders."""

    asset: str
    free: Decimal
    locked: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePosition:
    """A derivative position as the venue reports it; `quantity` is signed, negative is short."""

    symbol: str
    quantity: Decimal
    average_entry_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSnapshotTaken:
    """
    The venue's own view of one symbol, read as one reconcile.

    `since_at` is the lane's journaled time before the first request: orders that changed after it
    are not compared. `lookups` answers for orders that we think open and the venue does not list.
    """

    KIND: ClassVar[str] = "snapshot"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    since_at: datetime
    open_orders: tuple[OrderReport, ...]
    lookups: tuple[OrderLookedUp, ...]
    fills: tuple[Fill, ...]
    balances: tuple[Balance, ...]
    position: VenuePosition | None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandIssued:
    """
    An operator's wish. `name` is one of `commands.COMMAND_NAMES`; `argument` depends on it.

    `is_for_all` says that every symbol is given the command, not this one alone.
    """

    KIND: ClassVar[str] = "command"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    command_id: str
    name: str
    argument: str = ""
    is_for_all: bool = True
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """
    What the account actor lets one symbol do until it says otherwise.

    `exposure_notional_quote_max` bounds |position| plus every open and unknown opening order, at
    their worst case, in the quote asset; `order_count_max` the orders at the venue.
    """

    exposure_notional_quote_max: Decimal
    order_count_max: int
    is_opening_allowed: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceGranted:
    """The account actor granted a new allowance."""

    KIND: ClassVar[str] = "allowance"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    allowance: Allowance
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancesTaken:
    """The account's balances and derivative positions; addressed to the account actor."""

    KIND: ClassVar[str] = "balances"
    id: str
    symbol: str
    exchange_at: datetime | None
    received_at: datetime
    balances: tuple[Balance, ...]
    positions: tuple[VenuePosition, ...]
    cause: str = ""


Update = (
    TradePrinted
    | BookTopChanged
    | OrderReported
    | FillReported
    | OrderLookedUp
    | TimerFired
    | StreamGap
    | MalformedReceived
    | VenueSnapshotTaken
    | CommandIssued
    | AllowanceGranted
    | BalancesTaken
)

MarketUpdate = TradePrinted | BookTopChanged
