"""What a venue checks of a request before it looks at the market: shape and filters."""

from decimal import Decimal

from market_maker.adapters.exchange.simulated.books import errors
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument, InstrumentKind
from market_maker.domain.order import OrderRequest, OrderType, TimeInForce


def check_shape(request: OrderRequest, instrument: Instrument) -> None:
    """Raise `OrderRejected` for a request that contradicts itself."""
    if not request.client_order_id:
        raise errors.bad_request("a client order id is required")
    if request.type is OrderType.MARKET and request.price is not None:
        raise errors.bad_request("a market order has no price")
    rests = request.type is OrderType.LIMIT and request.time_in_force is TimeInForce.GTC
    if request.post_only and not rests:
        raise errors.bad_request("post-only needs a limit order good till canceled")
    is_spot = instrument.kind is InstrumentKind.SPOT
    if request.reduce_only and is_spot and request.side is Side.BUY:
        raise errors.reduce_only("a spot buy cannot reduce")


def check_filters(request: OrderRequest, instrument: Instrument) -> None:
    """Raise `FilterViolation` for a price or quantity off its grid or too small."""
    quantity = request.quantity
    if not _is_on_grid(quantity, instrument.lot_size) or quantity < instrument.quantity_min:
        raise errors.lot_size(request, instrument)
    if request.type is OrderType.LIMIT:
        price = request.price
        if price is None or not _is_on_grid(price, instrument.tick_size):
            raise errors.price_filter(request, instrument)
        check_notional(price * quantity, request, instrument)


def check_notional(notional: Decimal, request: OrderRequest, instrument: Instrument) -> None:
    """Raise `FilterViolation` for an order that is worth too little; what reduces is exempt."""
    if notional < instrument.min_notional and not request.reduce_only:
        raise errors.min_notional(notional, instrument)


def _is_on_grid(value: Decimal, step: Decimal) -> bool:
    # NaN and the infinities fail the first test, so the division below is always defined.
    return value.is_finite() and 0 < value < errors.MAGNITUDE_MAX and not value % step
