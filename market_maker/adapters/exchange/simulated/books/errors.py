"""
What the venue answers when it says no, each reason beginning with the name a venue would use.

PRICE_FILTER LOT_SIZE MIN_NOTIONAL MAX_NUM_ORDERS are `FilterViolation`s; the other names are in the
functions below. The caller must not repeat the request.
"""

from datetime import datetime
from decimal import Decimal

from market_maker.domain.errors import (
    FilterViolation,
    InsufficientBalance,
    OrderRejected,
    UnknownOrder,
    WouldTake,
)
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import OrderRequest

MAGNITUDE_MAX = Decimal("1e15")
"""Prices and quantities beyond it are refused before any arithmetic; no market comes near."""


def price_filter(request: OrderRequest, instrument: Instrument) -> FilterViolation:
    """Return the refusal of a price that is missing, not positive or off the tick grid."""
    return FilterViolation(
        f"PRICE_FILTER: price {request.price} was not a positive multiple of {instrument.tick_size}"
    )


def lot_size(request: OrderRequest, instrument: Instrument) -> FilterViolation:
    """Return the refusal of a quantity that is too small or off the lot grid."""
    return FilterViolation(
        f"LOT_SIZE: quantity {request.quantity} was not a multiple of {instrument.lot_size} from "
        f"{instrument.quantity_min} upwards"
    )


def min_notional(notional: Decimal, instrument: Instrument) -> FilterViolation:
    """Return the refusal of an order that is worth too little (quote)."""
    return FilterViolation(f"MIN_NOTIONAL: notional {notional} was below {instrument.min_notional}")


def max_num_orders(instrument: Instrument) -> FilterViolation:
    """Return the refusal of one open order too many."""
    return FilterViolation(f"MAX_NUM_ORDERS: {instrument.order_count_max} orders are open already")


def insufficient_balance(asset: str, needed: Decimal, free: Decimal) -> InsufficientBalance:
    """Return the refusal of an order that the account cannot pay for."""
    return InsufficientBalance(
        f"INSUFFICIENT_BALANCE: {needed} {asset} was needed, {free} was free"
    )


def would_take(price: Decimal | None, best: Decimal) -> WouldTake:
    """Return the refusal of a post-only order that crosses the book."""
    return WouldTake(f"POST_ONLY: price {price} would have traded at {best}")


def duplicate(client_order_id: str) -> OrderRejected:
    """Return the refusal of a client order id that an open order carries."""
    return OrderRejected(f"DUPLICATE_CLIENT_ORDER_ID: an order {client_order_id} is open")


def reduce_only(reason: str) -> OrderRejected:
    """Return the refusal of a reduce-only order that cannot reduce."""
    return OrderRejected(f"REDUCE_ONLY: {reason}")


def bad_request(reason: str) -> OrderRejected:
    """Return the refusal of a request that contradicts itself."""
    return OrderRejected(f"BAD_REQUEST: {reason}")


def unknown_symbol(symbol: str) -> OrderRejected:
    """Return the refusal of a symbol that is not listed here."""
    return OrderRejected(f"UNKNOWN_SYMBOL: {symbol} is not listed")


def unknown_order(name: str) -> UnknownOrder:
    """Return the refusal of an order id that the venue does not know, or not as open."""
    return UnknownOrder(f"UNKNOWN_ORDER: {name}")


def request_expired(signed_until: datetime, at: datetime) -> OrderRejected:
    """Return the refusal of a request that arrived after its lifetime on the venue's clock."""
    return OrderRejected(f"request expired: signed until {signed_until}, arrived {at}")
