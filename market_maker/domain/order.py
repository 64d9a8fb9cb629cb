"""
Orders: what we intend, what the venue says, and the states in between.

The states are FIX words plus UNKNOWN: the outcome of a request is not known yet. A venue's reports
may arrive late, twice or in the wrong order, so `apply_report` only ever moves an order forward.
Fills alone move `filled_quantity`; a terminal state that the venue reports takes effect once our
fills add up to the cumulative quantity it names (until then `reported_state` holds it).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NewType

from market_maker.domain.errors import DuplicateFill, InvalidTransition, InvalidUpdate
from market_maker.domain.fill import Fill, Side

ClientOrderId = NewType("ClientOrderId", str)

ZERO: Final = Decimal(0)
CLIENT_ORDER_ID_LENGTH: Final = 18
TAG_LENGTH: Final = 3
_BASE32: Final = "0123456789abcdefghijklmnopqrstuv"


class OrderType(StrEnum):
    """LIMIT rests at its price; MARKET takes what is there."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"


class TimeInForce(StrEnum):
    """Good till canceled, immediate or cancel, fill or kill."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class Purpose(StrEnum):
    """OPENING adds inventory to a slot, CLOSING returns it, FLATTEN is the operator's exit."""

    OPENING = "OPENING"
    CLOSING = "CLOSING"
    FLATTEN = "FLATTEN"


class RejectReason(StrEnum):
    """Why a venue said no, as far as it matters to a strategy."""

    POST_ONLY = "POST_ONLY"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    FILTER = "FILTER"
    OTHER = "OTHER"


class OrderState(StrEnum):
    """FIX order states plus UNKNOWN."""

    PENDING_NEW = "PENDING_NEW"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return self in _TERMINAL

    @property
    def is_resting(self) -> bool:
        """Whether the venue has acknowledged the order and may trade it."""
        return self in _RESTING


_TERMINAL: Final = frozenset(
    {OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED}
)
_RESTING: Final = frozenset(
    {OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL}
)

LEGAL_TRANSITIONS: Final[Mapping[OrderState, frozenset[OrderState]]] = {
    OrderState.PENDING_NEW: frozenset(OrderState) - {OrderState.PENDING_NEW},
    OrderState.UNKNOWN: frozenset(OrderState) - {OrderState.PENDING_NEW, OrderState.UNKNOWN},
    OrderState.OPEN: _TERMINAL | {OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL},
    OrderState.PARTIALLY_FILLED: _TERMINAL - {OrderState.REJECTED} | {OrderState.PENDING_CANCEL},
    OrderState.PENDING_CANCEL: _TERMINAL | {OrderState.OPEN, OrderState.PARTIALLY_FILLED},
    OrderState.FILLED: frozenset(),
    OrderState.CANCELED: frozenset(),
    OrderState.REJECTED: frozenset(),
    OrderState.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """
    One order as it goes to a venue. Price is quote per base, quantity is base.

    A MARKET order has no price.
    """

    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    price: Decimal | None
    quantity: Decimal
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """A cancel; venues that know our id use `client_order_id`, others `exchange_order_id`."""

    client_order_id: str
    exchange_order_id: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """What a venue says about one order at one moment; `cumulative_quantity` is what has traded."""

    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: Side
    price: Decimal | None
    quantity: Decimal
    cumulative_quantity: Decimal
    state: OrderState
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    One order of ours, from intent to end.

    `cumulative_quantity` is what the venue says has traded, `filled_quantity` the sum of the fills
    that we have booked, `trade_ids` those fills. `slot` is the strategy's key for it ("" if none),
    `sequence` the workflow that created it, `changed_sequence` the last one that changed it.
    `correlation_id` groups what belongs to one round, `causation_id` is the update that led to it.
    """

    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    price: Decimal | None
    quantity: Decimal
    time_in_force: TimeInForce
    post_only: bool
    reduce_only: bool
    purpose: Purpose
    slot: str
    state: OrderState
    workflow_id: str
    sequence: int
    changed_sequence: int
    correlation_id: str
    causation_id: str
    created_at: datetime
    updated_at: datetime
    exchange_order_id: str = ""
    cumulative_quantity: Decimal = ZERO
    filled_quantity: Decimal = ZERO
    reported_state: OrderState | None = None
    reason: str = ""
    reject_reason: RejectReason | None = None
    signed_until: datetime | None = None
    trade_ids: tuple[str, ...] = ()

    @property
    def is_terminal(self) -> bool:
        """Whether the order has ended and all its fills are booked."""
        return self.state.is_terminal

    @property
    def is_fills_missing(self) -> bool:
        """Whether the venue says more has traded than we have booked."""
        return self.cumulative_quantity > self.filled_quantity

    @property
    def remaining_quantity(self) -> Decimal:
        """Base units that can still trade."""
        return self.quantity - max(self.filled_quantity, self.cumulative_quantity)

    def to_request(self) -> OrderRequest:
        """The request that places this order."""
        return OrderRequest(
            client_order_id=self.client_order_id,
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            price=self.price,
            quantity=self.quantity,
            time_in_force=self.time_in_force,
            post_only=self.post_only,
            reduce_only=self.reduce_only,
        )


def derive_client_order_id(
    *, tag: str, bot: str, epoch: str, lane: int, sequence: int, index: int
) -> str:
    """
    Return the idempotency key of one intent: `tag` + 15 characters of base-32 BLAKE2b.

    The same journaled input gives the same id at every re-execution; `index` is the intent's
    place in its decision and `epoch` names the database, so that one rebuilt after a loss never
    repeats the ids of the lost one. 18 characters of `[a-z0-9]` fit every venue.
    """
    digest = hashlib.blake2b(
        f"{bot}/{epoch}/{lane}/{sequence}/{index}".encode(), digest_size=10
    ).digest()
    number = int.from_bytes(digest, "big")
    letters = []
    for _ in range(CLIENT_ORDER_ID_LENGTH - TAG_LENGTH):
        number, digit = divmod(number, 32)
        letters.append(_BASE32[digit])
    return tag + "".join(letters)


def transition(order: Order, state: OrderState) -> Order:
    """Return the order in `state`; raise `InvalidTransition` if it cannot get there."""
    if state is order.state:
        return order
    if state not in LEGAL_TRANSITIONS[order.state]:
        raise InvalidTransition(f"order {order.client_order_id}: {order.state} → {state}")
    return replace(order, state=state)


def apply_report(order: Order, report: OrderReport) -> Order:
    """
    Return the order after what the venue said; older or repeated news changes nothing.

    An order that has ended keeps its state; a larger cumulative than we booked still shows, so
    that the missing fills are fetched. A FILLED report means the whole quantity, whatever
    cumulative it names. Raises `InvalidUpdate` if the report cannot be of this order: another
    symbol or side, more traded than ordered, or a cumulative that is no number.
    """
    _check_report(order, report)
    cumulative = max(order.cumulative_quantity, report.cumulative_quantity)
    if report.state is OrderState.FILLED:
        cumulative = order.quantity
    exchange_order_id = order.exchange_order_id or report.exchange_order_id
    if cumulative != order.cumulative_quantity or exchange_order_id != order.exchange_order_id:
        order = replace(order, cumulative_quantity=cumulative, exchange_order_id=exchange_order_id)
    if order.is_terminal:
        return order
    if report.state.is_terminal:
        return _settle(_note_end(order, report))
    return _advance_resting(order, report.state)


def apply_fill(order: Order, fill: Fill) -> Order:
    """
    Return the order with `fill` booked.

    Raises `DuplicateFill` if its trade id is already booked and `InvalidUpdate` if it cannot be of
    this order: another symbol or side, a price or quantity that is not above zero, or more traded
    than ordered. A fill proves that the venue accepted the order. An order that has ended keeps its
    state, but its late fill is booked: no fill is ever lost.
    """
    _check_fill(order, fill)
    if fill.trade_id in order.trade_ids:
        raise DuplicateFill(f"fill {fill.trade_id} of order {order.client_order_id}")
    filled = order.filled_quantity + fill.quantity
    if filled > order.quantity:
        raise InvalidUpdate(
            f"order {order.client_order_id}: fills of {filled} exceed its quantity {order.quantity}"
        )
    order = replace(
        order,
        filled_quantity=filled,
        cumulative_quantity=max(order.cumulative_quantity, filled),
        trade_ids=(*order.trade_ids, fill.trade_id),
        exchange_order_id=order.exchange_order_id or fill.exchange_order_id,
    )
    if order.is_terminal:
        return order
    if filled == order.quantity:
        return transition(replace(order, reported_state=None), OrderState.FILLED)
    order = _advance_resting(order, OrderState.PARTIALLY_FILLED)
    return _settle(order) if order.reported_state else order


def _check_fill(order: Order, fill: Fill) -> None:
    if fill.symbol != order.symbol or fill.side is not order.side:
        raise InvalidUpdate(
            f"order {order.client_order_id}: fill {fill.trade_id} is a {fill.side} of {fill.symbol}"
        )
    numbers = (fill.price, fill.quantity, fill.fee)
    if not all(number.is_finite() for number in numbers) or min(numbers[:2]) <= 0:
        raise InvalidUpdate(
            f"order {order.client_order_id}: fill {fill.trade_id} has price {fill.price}, "
            f"quantity {fill.quantity} and fee {fill.fee}"
        )


def _check_report(order: Order, report: OrderReport) -> None:
    if report.symbol != order.symbol:
        raise InvalidUpdate(f"order {order.client_order_id}: reported symbol is {report.symbol}")
    if not report.cumulative_quantity.is_finite() or report.cumulative_quantity < 0:
        raise InvalidUpdate(
            f"order {order.client_order_id}: reported cumulative is {report.cumulative_quantity}"
        )
    if report.side is not order.side:
        raise InvalidUpdate(f"order {order.client_order_id}: reported side is {report.side}")
    if report.cumulative_quantity > order.quantity:
        raise InvalidUpdate(
            f"order {order.client_order_id}: reported {report.cumulative_quantity} traded of "
            f"{order.quantity}"
        )


def _note_end(order: Order, report: OrderReport) -> Order:
    """Remember a reported end; nothing replaces FILLED, and repeated news changes nothing."""
    state = report.state
    if order.reported_state is OrderState.FILLED:
        state = OrderState.FILLED
    reason = report.reason or order.reason
    if state is order.reported_state and reason == order.reason:
        return order
    return replace(order, reported_state=state, reason=reason)


def _settle(order: Order) -> Order:
    """A reported end takes effect only when every traded unit is booked."""
    if order.reported_state is None or order.is_fills_missing:
        return order
    if order.filled_quantity and order.reported_state is OrderState.REJECTED:
        return transition(replace(order, reported_state=None), OrderState.CANCELED)
    return transition(replace(order, reported_state=None), order.reported_state)


def _advance_resting(order: Order, state: OrderState) -> Order:
    """
    OPEN and PARTIALLY_FILLED never undo a pending cancel, and OPEN never undoes a part fill.

    PENDING_CANCEL is our own word for a cancel that we sent; from a venue it only says that the
    order rests.
    """
    if order.state in {OrderState.PENDING_CANCEL, OrderState.PARTIALLY_FILLED}:
        return order
    if not state.is_resting:
        return order
    has_traded = order.filled_quantity or order.cumulative_quantity
    return transition(order, OrderState.PARTIALLY_FILLED if has_traded else OrderState.OPEN)
