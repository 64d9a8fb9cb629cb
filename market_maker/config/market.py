"""Where prices come from on the paper exchange: recorded tapes, scenarios and generators."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from market_maker.config.fields import (
    ExactDecimal,
    FrozenSettings,
    NotNegativeDecimal,
    PositiveCount,
    PositiveDecimal,
    UserPath,
)


class SimpleTicks(FrozenSettings):
    """A price alone: trades whose quantity nobody knows."""

    kind: Literal["simple"] = Field(description="Trades of unknown quantity, no book.")
    frequency_ms: PositiveCount = Field(description="Milliseconds between two updates.")


class WithVolumeTicks(FrozenSettings):
    """Best bid and ask with their quantities, and trades."""

    kind: Literal["with_volume"] = Field(description="Best bid and ask with quantities, trades.")
    frequency_ms: PositiveCount = Field(description="Milliseconds between two updates.")


class FullDepthTicks(FrozenSettings):
    """Several book levels with quantities, and trades."""

    kind: Literal["full_depth"] = Field(description="Book levels with quantities, and trades.")
    frequency_ms: PositiveCount = Field(description="Milliseconds between two updates.")
    level_count: int = Field(10, ge=1, le=1_000, description="Book levels on each side.")


Ticks = Annotated[SimpleTicks | WithVolumeTicks | FullDepthTicks, Field(discriminator="kind")]


class TapeSource(FrozenSettings):
    """A recorded tape: gzip CSV of trades and, where present, of best bid and ask."""

    kind: Literal["tape"] = Field(description="A recorded tape.")
    trades: UserPath = Field(description="Trades, gzip CSV with header; `--tape` sets it.")
    book: str = Field(
        "beside",
        description="Best bid and ask, gzip CSV: a path, `none`, or `beside` for the file named "
        ".bbo. instead of .trades. in the same folder, where there is one.",
    )
    speed: Annotated[str, Field(pattern=r"^(max|\d+(\.\d+)?)$")] = Field(
        "1", description="1 is as recorded, 10 is ten times as fast, max is without waiting."
    )
    loop: bool = Field(False, description="Start again at the end; otherwise the run ends there.")

    @field_validator("speed")
    @classmethod
    def _check_speed(cls, speed: str) -> str:
        if speed != "max" and Decimal(speed) == 0:
            raise ValueError("speed must be above zero, or max")
        return speed

    @property
    def speed_ratio(self) -> Decimal | None:
        """How many times faster than recorded; `None` means without waiting."""
        return None if self.speed == "max" else Decimal(self.speed)

    @property
    def book_path(self) -> Path | None:
        """The file of best bids and asks, if there is one."""
        if self.book == "none":
            return None
        if self.book != "beside":
            return Path(self.book).expanduser()
        twin = self.trades.with_name(self.trades.name.replace(".trades.", ".bbo."))
        return twin if twin != self.trades and twin.exists() else None


class ScenarioSource(FrozenSettings):
    """A written scenario: prices, trades, gaps and faults in a file."""

    kind: Literal["scenario"] = Field(description="A written scenario.")
    path: UserPath = Field(description="The scenario file.")


class _Generator(FrozenSettings):
    start_price: PositiveDecimal = Field(description="First mid price, quote per base.")
    spread_bps: PositiveDecimal = Field(Decimal(2), description="Ask minus bid, bps of the mid.")
    trade_quantity_base: PositiveDecimal = Field(
        Decimal("0.01"), description="Mean quantity of one generated trade."
    )
    ticks: Ticks = Field(description="What an update looks like and how often one comes.")


class RandomWalkSource(_Generator):
    """Each update moves the mid by at most `step_bps_max`, either way alike."""

    kind: Literal["random_walk"] = Field(description="Uniform independent steps.")
    step_bps_max: PositiveDecimal = Field(description="Largest step of one update, bps.")


class GeometricBrownianSource(_Generator):
    """Log returns are normal and independent."""

    kind: Literal["geometric_brownian"] = Field(description="Geometric Brownian motion.")
    volatility_per_day_ratio: PositiveDecimal = Field(description="Standard deviation of a day.")
    drift_per_day_ratio: ExactDecimal = Field(Decimal(0), description="Mean log return of a day.")


class MeanReversionSource(_Generator):
    """The log price is pulled back to `mean_price` (Ornstein–Uhlenbeck)."""

    kind: Literal["mean_reversion"] = Field(description="Mean reversion.")
    mean_price: PositiveDecimal = Field(description="Where the price is pulled to.")
    volatility_per_day_ratio: PositiveDecimal = Field(description="Standard deviation of a day.")
    half_life_s: PositiveDecimal = Field(description="Seconds in which half of a gap closes.")


class JumpSource(_Generator):
    """Geometric Brownian motion with jumps at random instants (Merton)."""

    kind: Literal["jump"] = Field(description="Geometric Brownian motion with jumps.")
    volatility_per_day_ratio: PositiveDecimal = Field(description="Standard deviation of a day.")
    drift_per_day_ratio: ExactDecimal = Field(Decimal(0), description="Mean log return of a day.")
    jumps_per_day: NotNegativeDecimal = Field(description="Mean number of jumps in a day.")
    jump_bps: PositiveDecimal = Field(description="Standard deviation of one jump, bps.")


class FittedSource(FrozenSettings):
    """Clustered trades, sizes, spread and volatility fitted to recorded tapes."""

    kind: Literal["fitted"] = Field(description="Parameters fitted to recorded tapes.")
    start_price: PositiveDecimal = Field(description="First mid price, quote per base.")
    profile: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")] = Field(
        "btcusdt_spot", description="Which fitted parameters; see docs/fitted-market.md."
    )
    ticks: Ticks = Field(description="What an update looks like and how often one comes.")


MarketSource = Annotated[
    TapeSource
    | ScenarioSource
    | RandomWalkSource
    | GeometricBrownianSource
    | MeanReversionSource
    | JumpSource
    | FittedSource,
    Field(discriminator="kind"),
]
