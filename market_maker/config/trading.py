"""What is traded and within which limits: strategies, symbol limits, account limits."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from market_maker.config.fields import (
    DurationOrZero,
    FrozenSettings,
    PositiveCount,
    PositiveDecimal,
    Ratio,
    Symbol,
)


class GridSettings(FrozenSettings):
    """The grid: resting buys below the price, each closed one interval higher."""

    kind: Literal["grid"] = Field(description="Which strategy.")
    mode: Literal["long", "neutral"] = Field(
        description="long opens by buying only; neutral also opens by selling above the price."
    )
    interval_quote: PositiveDecimal | None = Field(
        None, description="Distance of two levels in quote. This or interval_bps."
    )
    interval_bps: PositiveDecimal | None = Field(
        None, description="Distance of two levels in bps of the anchor. This or interval_quote."
    )
    order_notional_quote: PositiveDecimal | None = Field(
        None, description="Worth of one order in quote. This or order_quantity_base."
    )
    order_quantity_base: PositiveDecimal | None = Field(
        None, description="Quantity of one order in base. This or order_notional_quote."
    )
    buy_levels_max: int = Field(ge=0, le=1_000, description="Most resting buys at a time.")
    sell_levels_max: int = Field(ge=0, le=1_000, description="Most resting sells at a time.")
    anchor: PositiveDecimal | None = Field(
        None,
        description="Price that levels are counted from; null is the first price ever seen.",
    )
    lower: PositiveDecimal = Field(description="No order opens below this price.")
    upper: PositiveDecimal = Field(description="No order opens above this price.")
    post_only: bool = Field(True, description="Refuse to take liquidity.")
    margin_lock: DurationOrZero = Field(
        timedelta(seconds=60),
        description="After the venue said that the balance is too small: closing orders only.",
    )
    window_levels: PositiveCount | None = Field(
        None, description="Cancel orders farther than this many levels; never if null."
    )

    @model_validator(mode="after")
    def _check_grid(self) -> "GridSettings":
        if (self.interval_quote is None) == (self.interval_bps is None):
            raise ValueError("give exactly one of interval_quote and interval_bps")
        if (self.order_notional_quote is None) == (self.order_quantity_base is None):
            raise ValueError("give exactly one of order_notional_quote and order_quantity_base")
        if self.lower >= self.upper:
            raise ValueError(f"lower {self.lower} must be below upper {self.upper}")
        if self.anchor is not None and not self.lower <= self.anchor <= self.upper:
            raise ValueError(f"anchor {self.anchor} must be from lower to upper")
        if self.buy_levels_max + self.sell_levels_max == 0:
            raise ValueError("buy_levels_max and sell_levels_max must not both be 0")
        return self


# One strategy now. A second makes this a union with `kind` as its discriminator.
StrategySettings = GridSettings


class LimitSettings(FrozenSettings):
    """What the risk gate lets through for one symbol. Every limit must be chosen."""

    price_collar_bps: PositiveDecimal = Field(description="Farthest an order may be from the mid.")
    order_notional_quote_max: PositiveDecimal = Field(description="Largest worth of one order.")
    order_quantity_base_max: PositiveDecimal = Field(description="Largest quantity of one order.")
    order_count_per_side_max: PositiveCount = Field(description="Open and unknown orders a side.")
    position_quantity_base_max: PositiveDecimal = Field(
        description="Largest position, long or short, if every opening order filled."
    )
    exposure_notional_quote_max: PositiveDecimal = Field(
        description="Largest worth of position and opening orders together."
    )
    orders_per_minute_max: PositiveCount = Field(description="Orders sent in any minute.")
    rejections_per_minute_max: PositiveCount = Field(description="Rejected orders in any minute.")
    daily_notional_quote_max: PositiveDecimal = Field(description="Traded in one UTC day.")


class SymbolSettings(FrozenSettings):
    """One symbol: how it is traded and how far that may go."""

    symbol: Symbol = Field(description="One of the venue's instruments.")
    strategy: StrategySettings = Field(description="How it is traded.")
    limits: LimitSettings = Field(description="What the risk gate lets through.")
    allow_market_orders: bool = Field(False, description="Whether a market order may be sent.")


class RiskSettings(FrozenSettings):
    """Limits of the whole account; the allowances of the symbols never sum to more."""

    exposure_notional_quote_max: PositiveDecimal = Field(
        description="Largest worth of all positions and opening orders together."
    )
    concentration_ratio_max: Annotated[Ratio, Field(gt=0)] = Field(
        description="Largest part of that exposure which one symbol may take."
    )
    symbols_allowed: tuple[Symbol, ...] = Field(
        min_length=1, description="Symbols that may be traded at all."
    )
