"""What a decision wants done at the venue, and what came of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from market_maker.domain.fill import Side
from market_maker.domain.order import OrderReport, OrderType, Purpose, RejectReason, TimeInForce


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceIntent:
    """
    A wish to place one order, before the risk gate.

    `slot` is the strategy's key; `correlation_id` groups the orders of one round. With
    `after_cancel` the order is sent only if that cancel ended CANCELED at `expected_cumulative`.
    """

    symbol: str
    side: Side
    price: Decimal | None
    quantity: Decimal
    purpose: Purpose
    slot: str = ""
    type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = True
    reduce_only: bool = False
    correlation_id: str = ""
    after_cancel: str = ""
    expected_cumulative: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelIntent:
    """A wish to cancel one order of ours; it may be one that only the venue still thinks open."""

    symbol: str
    client_order_id: str
    exchange_order_id: str
    reason: str = ""


class OutcomeKind(StrEnum):
    """What is known about one request after `place`."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What came of one intent: three-valued, plus `not_sent` for what provably never left.

    `action` is "place" or "cancel". `report` is the venue's word where it gave one. `signed_until`
    is when the venue stops accepting the request; `retry_after` how long it wants to be left alone.
    """

    action: str
    client_order_id: str
    symbol: str
    kind: OutcomeKind
    report: OrderReport | None = None
    reason: str = ""
    reject_reason: RejectReason | None = None
    signed_at: datetime | None = None
    signed_until: datetime | None = None
    retry_after: timedelta | None = None
