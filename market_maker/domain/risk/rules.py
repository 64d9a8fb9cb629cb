"""
The rules of the risk gate, one small function each, and the counters that some of them read.

A rule looks at one intent, the context of the whole check and what has been used so far, and
returns a breach or None. It never rounds in favor of the intent: a market order is worth the worst
price that is known, and an order whose outcome is unknown counts like an open one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from market_maker.domain.events import Allowance
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument
from market_maker.domain.intents import PlaceIntent
from market_maker.domain.order import Order, OrderType, Purpose
from market_maker.domain.position import Position
from market_maker.domain.quote import Market
from market_maker.domain.risk.limits import RiskCounters, RiskLimits

ZERO: Final = Decimal(0)
BPS: Final = Decimal(10_000)
ORDER_CHURN: Final = "order_churn"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateContext:
    """
    What the gate may look at.

    `orders` are the symbol's own orders that have not ended, whatever their state. `counters` may
    be of an earlier minute or day: they are rolled to `now` here.
    """

    instrument: Instrument
    limits: RiskLimits
    market: Market
    position: Position
    orders: Mapping[str, Order]
    allowance: Allowance
    counters: RiskCounters
    symbols_allowed: tuple[str, ...]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """Why an intent may not become an order, with the limit and the value that broke it."""

    rule: str
    limit: Decimal | str
    value: Decimal | str


class Usage:
    """What open orders and the intents approved before have used; mutable, lives for one check."""

    __slots__ = (
        "closing_quantity",
        "counters",
        "day_notional",
        "highest_buy",
        "lowest_sell",
        "opening_notional",
        "opening_quantity",
        "order_count",
        "worst_price",
    )

    def __init__(self, context: GateContext) -> None:
        self.worst_price = worst_known_price(context)
        self.counters = counters_at(context.counters, context.now)
        self.day_notional = self.counters.day_notional_quote
        self.order_count = {Side.BUY: 0, Side.SELL: 0}
        self.closing_quantity = {Side.BUY: ZERO, Side.SELL: ZERO}
        self.opening_quantity = {Side.BUY: ZERO, Side.SELL: ZERO}
        self.opening_notional = ZERO
        self.highest_buy: Decimal | None = None
        self.lowest_sell: Decimal | None = None
        for order in context.orders.values():
            self.add(order.side, order.price, order.remaining_quantity, order.purpose)

    def add(self, side: Side, price: Decimal | None, quantity: Decimal, purpose: Purpose) -> None:
        """Count one order that is, or may be, at the venue."""
        self.order_count[side] += 1
        if purpose is Purpose.OPENING:
            self.opening_quantity[side] += quantity
            self.opening_notional += quantity * self.value_price(side, price)
        else:
            self.closing_quantity[side] += quantity
        if side is Side.BUY:
            # A market buy reaches every price.
            reach = self.worst_price if price is None else price
            if self.highest_buy is None or reach > self.highest_buy:
                self.highest_buy = reach
        else:
            reach = ZERO if price is None else price
            if self.lowest_sell is None or reach < self.lowest_sell:
                self.lowest_sell = reach

    def value_price(self, side: Side, price: Decimal | None) -> Decimal:
        """The highest price at which an order may be worth counting: never 0."""
        if price is None:
            return self.worst_price
        return price if side is Side.BUY else max(price, self.worst_price)


def worst_known_price(context: GateContext) -> Decimal:
    """Return the highest of bid, ask, last price and average entry; 0 only if none is known."""
    market = context.market
    known = (market.bid, market.ask, market.last_price, context.position.average_entry_price)
    return max((price for price in known if price is not None), default=ZERO)


# --- rules, in the order in which they are asked ---


def check_symbol(intent: PlaceIntent, context: GateContext, _: Usage) -> Breach | None:
    """Only symbols of the whitelist, and only the symbol of this actor."""
    allowed = context.symbols_allowed
    if intent.symbol in allowed and intent.symbol == context.instrument.symbol:
        return None
    return Breach(rule="symbol", limit=", ".join(allowed), value=intent.symbol)


def check_breaker(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """An open breaker and a withdrawn allowance refuse whatever may add to the position."""
    if is_reducing(intent, context, used):
        return None
    if context.counters.breaker:
        return Breach(rule="breaker", limit="none open", value=context.counters.breaker)
    if not context.allowance.is_opening_allowed:
        reason = context.allowance.reason or "opening is not allowed"
        return Breach(rule="allowance", limit="opening allowed", value=reason)
    return None


def check_market_order(intent: PlaceIntent, context: GateContext, _: Usage) -> Breach | None:
    """A market order needs the setting; the operator's own exit does not."""
    if intent.type is not OrderType.MARKET:
        return None
    if context.limits.is_market_order_allowed or intent.purpose is Purpose.FLATTEN:
        return None
    return Breach(rule="market_order", limit="limit orders only", value=intent.type.value)


def check_filters(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """Tick, lot, least quantity and least notional of the instrument."""
    instrument, price, quantity = context.instrument, intent.price, intent.quantity
    if not quantity.is_finite() or quantity < instrument.quantity_min or quantity <= 0:
        return Breach(rule="quantity_min", limit=instrument.quantity_min, value=quantity)
    if quantity % instrument.lot_size:
        return Breach(rule="lot_size", limit=instrument.lot_size, value=quantity)
    if price is None:
        if intent.type is not OrderType.MARKET:
            return Breach(rule="price", limit="a price", value="none")
    elif not price.is_finite() or price <= 0 or price % instrument.tick_size:
        return Breach(rule="tick_size", limit=instrument.tick_size, value=price)
    notional = quantity * (used.worst_price if price is None else price)
    if notional < instrument.min_notional:
        return Breach(rule="min_notional", limit=instrument.min_notional, value=notional)
    return None


def check_price(intent: PlaceIntent, context: GateContext, _: Usage) -> Breach | None:
    """No order without a market, and none farther from it than the collar, on either side."""
    market_price = context.market.price
    if market_price is None or market_price <= 0:
        return Breach(rule="market_price", limit="a market price", value="none")
    if intent.price is None:
        return None
    distance = abs(intent.price - market_price) * BPS / market_price
    if distance > context.limits.price_collar_bps:
        return Breach(rule="price_collar", limit=context.limits.price_collar_bps, value=distance)
    return None


def check_size(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """Quantity and notional of one order; the operator's exit may be larger."""
    if intent.purpose is Purpose.FLATTEN:
        return None
    limits = context.limits
    quantity_max = limits.order_quantity_base_max
    if quantity_max is not None and intent.quantity > quantity_max:
        return Breach(rule="order_quantity", limit=quantity_max, value=intent.quantity)
    notional = intent.quantity * used.value_price(intent.side, intent.price)
    if notional > limits.order_notional_quote_max:
        return Breach(rule="order_notional", limit=limits.order_notional_quote_max, value=notional)
    return None


def check_count(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """Orders per side, of the allowance and of the venue; unknown ones count."""
    on_side = used.order_count[intent.side] + 1
    total = used.order_count[Side.BUY] + used.order_count[Side.SELL] + 1
    for rule, value, limit in (
        ("order_count_per_side", on_side, context.limits.order_count_per_side_max),
        ("venue_order_count", total, context.instrument.order_count_max),
        ("allowance_order_count", total, context.allowance.order_count_max),
    ):
        if value > limit and not (
            rule != "venue_order_count" and intent.purpose is Purpose.FLATTEN
        ):
            return Breach(rule=rule, limit=Decimal(limit), value=Decimal(value))
    return None


def check_self_trade(intent: PlaceIntent, _: GateContext, used: Usage) -> Breach | None:
    """No order that could trade against an own one: open, unknown, pending or approved before."""
    price = intent.price
    if intent.side is Side.BUY:
        other = used.lowest_sell
        is_crossing = other is not None and (price is None or price >= other)
    else:
        other = used.highest_buy
        is_crossing = other is not None and (price is None or price <= other)
    if not is_crossing:
        return None
    value = "market" if price is None else price
    return Breach(rule="self_trade", limit=other if other is not None else ZERO, value=value)


def check_exposure(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """
    |position| + every open and unknown opening order + this one, at worst, within every limit.

    What only gives back inventory passes. A closing order beyond the inventory counts as opening.
    """
    if is_reducing(intent, context, used):
        return None
    if intent.purpose is Purpose.FLATTEN:
        return Breach(rule="flatten", limit=abs(context.position.quantity), value=intent.quantity)
    added = intent.quantity * used.value_price(intent.side, intent.price)
    exposure = exposure_of(context, used) + added
    for rule, limit in (
        ("exposure", context.limits.exposure_notional_quote_max),
        ("allowance_exposure", context.allowance.exposure_notional_quote_max),
    ):
        if exposure > limit:
            return Breach(rule=rule, limit=limit, value=exposure)
    return _check_position(intent, context, used)


def _check_position(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    limit = context.limits.position_quantity_base_max
    if limit is None:
        return None
    sign = intent.side.sign
    reached = abs(
        context.position.quantity + sign * (used.opening_quantity[intent.side] + intent.quantity)
    )
    if reached > limit:
        return Breach(rule="position_quantity", limit=limit, value=reached)
    return None


def check_churn(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """Sent and rejected orders per minute, whatever the purpose; the operator's exit passes."""
    if intent.purpose is Purpose.FLATTEN:
        return None
    limits, counters = context.limits, used.counters
    sent, rejected = counters.sent_count, counters.rejected_count
    if sent + 1 > limits.orders_per_minute_max:
        return Breach(
            rule=ORDER_CHURN,
            limit=Decimal(limits.orders_per_minute_max),
            value=Decimal(sent + 1),
        )
    if rejected > limits.rejections_per_minute_max:
        return Breach(
            rule=ORDER_CHURN,
            limit=Decimal(limits.rejections_per_minute_max),
            value=Decimal(rejected),
        )
    return None


def check_daily_notional(intent: PlaceIntent, context: GateContext, used: Usage) -> Breach | None:
    """What has traded today, and would; what gives back inventory passes."""
    limit = context.limits.daily_notional_quote_max
    if limit is None or is_reducing(intent, context, used):
        return None
    reached = used.day_notional + intent.quantity * used.value_price(intent.side, intent.price)
    if reached > limit:
        return Breach(rule="daily_notional", limit=limit, value=reached)
    return None


RULES: Final = (
    check_symbol,
    check_filters,
    check_breaker,
    check_market_order,
    check_price,
    check_size,
    check_count,
    check_self_trade,
    check_exposure,
    check_churn,
    check_daily_notional,
)


# --- measures ---


def is_reducing(intent: PlaceIntent, context: GateContext, used: Usage) -> bool:
    """Whether the intent, after every other order on its side, can only give back inventory."""
    if intent.purpose is Purpose.OPENING:
        return False
    held = context.position.quantity * -intent.side.sign
    return used.closing_quantity[intent.side] + intent.quantity <= held


def exposure_of(context: GateContext, used: Usage) -> Decimal:
    """|position| + opening orders + closing orders beyond the inventory, in quote at worst."""
    held, price = context.position.quantity, used.worst_price
    excess_sells = max(ZERO, used.closing_quantity[Side.SELL] - max(ZERO, held))
    excess_buys = max(ZERO, used.closing_quantity[Side.BUY] - max(ZERO, -held))
    return (abs(held) + excess_sells + excess_buys) * price + used.opening_notional


# --- counters ---


def counters_at(counters: RiskCounters, now: datetime) -> RiskCounters:
    """Return the counters with every window that has passed begun anew."""
    minute = now.replace(second=0, microsecond=0)
    if counters.minute_at != minute:
        counters = replace(counters, minute_at=minute, sent_count=0, rejected_count=0)
    day = minute.replace(hour=0, minute=0)
    if counters.day_at != day:
        counters = replace(counters, day_at=day, day_notional_quote=ZERO)
    return counters


def count_sent(counters: RiskCounters, *, now: datetime) -> RiskCounters:
    """Return the counters after one more order is on its way."""
    counters = counters_at(counters, now)
    return replace(counters, sent_count=counters.sent_count + 1)


def count_rejected(counters: RiskCounters, *, now: datetime) -> RiskCounters:
    """Return the counters after the venue rejected one more order."""
    counters = counters_at(counters, now)
    return replace(counters, rejected_count=counters.rejected_count + 1)


def count_traded(counters: RiskCounters, notional: Decimal, *, now: datetime) -> RiskCounters:
    """Return the counters after a fill of `notional` (quote)."""
    counters = counters_at(counters, now)
    return replace(counters, day_notional_quote=counters.day_notional_quote + notional)


def open_breaker(counters: RiskCounters, rule: str, *, now: datetime) -> RiskCounters:
    """Return the counters with the breaker open; the first rule that opened it stays named."""
    if counters.breaker:
        return counters
    return replace(counters, breaker=rule, breaker_opened_at=now)
