"""What a symbol may do at most, and the durable counters that limits are measured against."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """
    Limits of one symbol; None means not limited.

    `price_collar_bps` is the largest distance of a limit price from the market, in bps;
    `position_quantity_base_max` bounds the position, long or short, if every opening order filled.
    """

    order_notional_quote_max: Decimal
    exposure_notional_quote_max: Decimal
    price_collar_bps: Decimal = Decimal(1000)
    order_quantity_base_max: Decimal | None = None
    order_count_per_side_max: int = 100
    orders_per_minute_max: int = 600
    rejections_per_minute_max: int = 60
    daily_notional_quote_max: Decimal | None = None
    position_quantity_base_max: Decimal | None = None
    is_market_order_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCounters:
    """
    What has been used of the limits; durable, so that no restart resets it.

    `minute_at` is the UTC minute that `sent_count` and `rejected_count` belong to, `day_at` the
    UTC day of `day_notional_quote` (traded). `breaker` names the rule that stopped opening ("" if
    none); only an operator clears it. The fields of the durable breakers that come later fit
    beside it.
    """

    minute_at: datetime | None = None
    sent_count: int = 0
    rejected_count: int = 0
    day_at: datetime | None = None
    day_notional_quote: Decimal = ZERO
    breaker: str = ""
    breaker_opened_at: datetime | None = None
