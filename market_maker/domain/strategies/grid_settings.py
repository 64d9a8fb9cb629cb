"""The settings of a grid; what cannot be a grid is refused here."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from market_maker.domain.errors import ConfigError


class GridMode(StrEnum):
    """`long` opens by buying only; `neutral` also opens by selling, above the center."""

    LONG = "long"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSettings:
    """
    One grid. Exactly one of each pair: interval in quote or in bps of the anchor, order size as
    notional in quote or as quantity in base.

    `anchor` None is the first price ever seen. Opening orders stay inside `lower` and `upper`.
    Orders more than `window_levels` levels from the market are canceled (None: never). A level
    opens only if the market is more than `eligibility_gap_ratio` of an interval away from it.
    """

    mode: GridMode
    buy_levels_max: int
    sell_levels_max: int
    interval_quote: Decimal | None = None
    interval_bps: Decimal | None = None
    order_notional_quote: Decimal | None = None
    order_quantity_base: Decimal | None = None
    anchor: Decimal | None = None
    lower: Decimal | None = None
    upper: Decimal | None = None
    post_only: bool = True
    margin_lock: timedelta = timedelta(seconds=60)
    window_levels: int | None = None
    eligibility_gap_ratio: Decimal = Decimal("0.1")
    kind: Literal["grid"] = "grid"

    def __post_init__(self) -> None:
        _check_pair("interval_quote", self.interval_quote, "interval_bps", self.interval_bps)
        _check_pair(
            "order_notional_quote",
            self.order_notional_quote,
            "order_quantity_base",
            self.order_quantity_base,
        )
        _check_levels(self)
        _check_prices(self)

    @property
    def reach_levels(self) -> int:
        """How far from the market a level still belongs to the grid's neighborhood."""
        if self.window_levels is not None:
            return self.window_levels
        return 2 * max(self.buy_levels_max, self.sell_levels_max) + 2


def _check_pair(first: str, one: Decimal | None, second: str, other: Decimal | None) -> None:
    if (one is None) == (other is None):
        raise ConfigError(f"exactly one of {first} and {second} must be set")
    value, name = (one, first) if one is not None else (other, second)
    if value is None or not value.is_finite() or value <= 0:
        raise ConfigError(f"{name} must be above 0, was {value}")


def _check_levels(settings: GridSettings) -> None:
    buys, sells = settings.buy_levels_max, settings.sell_levels_max
    if min(buys, sells) < 0 or buys + sells == 0:
        raise ConfigError(
            f"buy_levels_max and sell_levels_max must not be negative nor both 0, were {buys} "
            f"and {sells}"
        )
    least = max(buys, sells) + 1
    if settings.reach_levels < least:
        raise ConfigError(
            f"window_levels must be at least {least}, one more than the larger level count, "
            f"was {settings.window_levels}"
        )
    if settings.margin_lock < timedelta(0):
        raise ConfigError(f"margin_lock must not be negative, was {settings.margin_lock}")
    if not Decimal(0) <= settings.eligibility_gap_ratio < Decimal("0.5"):
        raise ConfigError(
            "eligibility_gap_ratio must be from 0 to below 0.5, was "
            f"{settings.eligibility_gap_ratio}"
        )


def _check_prices(settings: GridSettings) -> None:
    for name in ("anchor", "lower", "upper"):
        value: Decimal | None = getattr(settings, name)
        if value is not None and (not value.is_finite() or value <= 0):
            raise ConfigError(f"{name} must be above 0, was {value}")
    if settings.lower is None or settings.upper is None:
        return
    if settings.lower >= settings.upper:
        raise ConfigError(f"lower {settings.lower} must be below upper {settings.upper}")
