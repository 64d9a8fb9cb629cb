"""The venue: which exchange, its instruments, and on paper its market and its faults."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from market_maker.config.fields import (
    Asset,
    Duration,
    DurationOrZero,
    ExactDecimal,
    FrozenSettings,
    NotNegativeDecimal,
    PositiveCount,
    PositiveDecimal,
    Ratio,
    SignedDuration,
    Symbol,
    UserPath,
)
from market_maker.config.market import MarketSource


class InstrumentSettings(FrozenSettings):
    """One tradable of the paper exchange with its filters, fees and market."""

    symbol: Symbol = Field(description="Unified name, BASE/QUOTE.")
    kind: Literal["spot", "linear"] = Field(description="Spot, or a linear perpetual.")
    tick_size: PositiveDecimal = Field(description="Price step, quote per base.")
    lot_size: PositiveDecimal = Field(description="Quantity step, base.")
    min_notional: NotNegativeDecimal = Field(description="Least price × quantity, quote.")
    quantity_min: PositiveDecimal | None = Field(
        None, description="Least quantity of one order, base; the lot size when absent."
    )
    maker_fee_ratio: Annotated[ExactDecimal, Field(gt=-1, lt=1)] = Field(
        description="Fee of a resting order as a ratio of its notional; negative is a rebate."
    )
    taker_fee_ratio: Ratio = Field(description="Fee of a taking order, ratio of its notional.")
    fee_asset: Annotated[str, Field(pattern=r"^(received|base|quote|[A-Z0-9]{1,20})$")] = Field(
        "received", description="What fees are taken in: received, base, quote, or an asset."
    )
    order_count_max: PositiveCount = Field(200, description="Open orders the venue allows.")
    market: MarketSource = Field(description="Where this instrument's prices come from.")

    @property
    def base_asset(self) -> str:
        """The asset that is bought and sold."""
        return self.symbol.split("/")[0]

    @property
    def quote_asset(self) -> str:
        """The asset that prices are in."""
        return self.symbol.split("/")[1].split(":")[0]

    @property
    def fee_asset_name(self) -> str:
        """The asset that fees are taken in; "" is the venue's usual choice."""
        named = {"received": "", "base": self.base_asset, "quote": self.quote_asset}
        return named.get(self.fee_asset, self.fee_asset)


class FaultSettings(FrozenSettings):
    """What goes wrong on the paper exchange, how often, and from which seed. Nothing by default."""

    seed: int = Field(1, description="Makes the faults of a run repeatable.")
    request_lost_ratio: Ratio = Field(Decimal(0), description="Requests that never arrive.")
    answer_lost_ratio: Ratio = Field(
        Decimal(0), description="Requests that are carried out and whose answer is lost."
    )
    late_answer_ratio: Ratio = Field(Decimal(0), description="Answers that come late.")
    late_answer: Duration = Field(timedelta(seconds=3), description="How late they come.")
    late_request_ratio: Ratio = Field(
        Decimal(0), description="Requests held back on their way, so that their lifetime may pass."
    )
    late_request: Duration = Field(timedelta(seconds=3), description="How long they are held.")
    update_duplicated_ratio: Ratio = Field(Decimal(0), description="Updates that come twice.")
    update_reordered_ratio: Ratio = Field(Decimal(0), description="Updates out of order.")
    update_dropped_ratio: Ratio = Field(Decimal(0), description="Updates that never come.")
    drop_notice: bool = Field(False, description="Whether a dropped update is told as a gap.")
    stream_cut_ratio: Ratio = Field(Decimal(0), description="Updates after which streams end.")
    stream_cut: Duration = Field(timedelta(seconds=1), description="How long a cut one is silent.")
    rate_limit_ratio: Ratio = Field(Decimal(0), description="Requests refused for their rate.")
    server_error_ratio: Ratio = Field(
        Decimal(0), description="Requests that end in a server error, their outcome unknown."
    )
    clock_skew: SignedDuration = Field(timedelta(0), description="Venue clock minus true time.")


class SimulatedVenueSettings(FrozenSettings):
    """The built-in paper exchange."""

    adapter: Literal["simulated"] = Field(description="Which exchange adapter.")
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = Field(
        description="Name of this account in orders, logs and reports."
    )
    account_is_dedicated: bool = Field(
        False, description="True only if nobody else trades on this account."
    )
    file: UserPath = Field(description="The exchange's own durable file, made on first use.")
    seed: int = Field(description="Makes generated markets repeatable.")
    balances: dict[Asset, NotNegativeDecimal] = Field(
        min_length=1, description="What the account holds when the file is made, by asset."
    )
    while_closed: Literal["run", "pause"] = Field(
        "run", description="Whether the market goes on while no process has the file open."
    )
    while_closed_max: DurationOrZero = Field(
        timedelta(hours=1), description="At most this much of the missed market is played."
    )
    lock_step: PositiveCount | None = Field(
        None, description="Emit this many updates, then wait until the bot is idle."
    )
    instruments: tuple[InstrumentSettings, ...] = Field(
        min_length=1, description="What can be traded here."
    )
    faults: FaultSettings = Field(FaultSettings(), description="What goes wrong, and how often.")

    @model_validator(mode="after")
    def _check_instruments(self) -> "SimulatedVenueSettings":
        symbols = [instrument.symbol for instrument in self.instruments]
        repeated = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
        if repeated:
            raise ValueError(f"instruments: {', '.join(repeated)} is listed more than once")
        return self


# One adapter now. A second makes this a union with `adapter` as its discriminator.
VenueSettings = SimulatedVenueSettings
