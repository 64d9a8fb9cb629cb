"""One order as the venue keeps it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from market_maker.domain.fill import Side
from market_maker.domain.order import OrderReport, OrderState, OrderType, TimeInForce

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """
    An order on the venue's books, resting or ended.

    `sequence` is its place in time and the number in `exchange_order_id`. `ahead_quantity` is what
    of others must still trade at its price before it does. `is_foreign` marks an order that was put
    on the account beside the API.
    """

    sequence: int
    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: Side
    type: OrderType
    price: Decimal | None
    quantity: Decimal
    time_in_force: TimeInForce
    post_only: bool
    reduce_only: bool
    state: OrderState
    created_at: datetime
    updated_at: datetime
    cumulative_quantity: Decimal = ZERO
    ahead_quantity: Decimal = ZERO
    reason: str = ""
    is_foreign: bool = False

    @property
    def remaining_quantity(self) -> Decimal:
        """Base units that can still trade."""
        return self.quantity - self.cumulative_quantity

    @property
    def limit(self) -> Decimal:
        """The price of an order that has one, as every resting order does."""
        if self.price is None:
            raise ValueError(f"order {self.exchange_order_id} has no price")
        return self.price

    @property
    def is_open(self) -> bool:
        """Whether the order rests on the book."""
        return self.state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED)

    def to_report(self) -> OrderReport:
        """Return what the venue says about the order."""
        return OrderReport(
            client_order_id=self.client_order_id,
            exchange_order_id=self.exchange_order_id,
            symbol=self.symbol,
            side=self.side,
            price=self.price,
            quantity=self.quantity,
            cumulative_quantity=self.cumulative_quantity,
            state=self.state,
            reason=self.reason,
        )
