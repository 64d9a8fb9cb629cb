"""
Settings of the paper exchange, as plain frozen values.

The field names are those of the settings file, so that `parse_settings` accepts what the settings
models dump (text, numbers, `Decimal`, `timedelta` and `Path` alike). What may be left out there has
the same default here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import msgspec

from market_maker.domain.errors import ConfigError
from market_maker.domain.instrument import Instrument, InstrumentKind

SPEED_MAX = "max"
ZERO = Decimal(0)
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleTicks:
    """A price alone, every `frequency_ms`: a trade whose quantity nobody knows."""

    kind: Literal["simple"] = "simple"
    frequency_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithVolumeTicks:
    """Best bid and ask with their quantities, and trades."""

    kind: Literal["with_volume"] = "with_volume"
    frequency_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FullDepthTicks:
    """Several book levels with quantities, and trades; orders take through the levels."""

    kind: Literal["full_depth"] = "full_depth"
    frequency_ms: int
    level_count: int = 10


Ticks = SimpleTicks | WithVolumeTicks | FullDepthTicks


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeSource:
    """
    A recorded tape: gzip CSV of trades and, where present, of best bid and ask.

    `book` is a path, `none`, or `beside` for the file named `.bbo.` instead of `.trades.`. `speed`
    is a multiple of real time or `max`. `book_offset_ms` is added to the book's times, which come
    from the recorder's clock; None estimates it so that trades meet the book they traded with.
    """

    kind: Literal["tape"] = "tape"
    trades: str
    book: str = "beside"
    speed: str = "1"
    loop: bool = False
    book_offset_ms: int | None = None

    @property
    def book_path(self) -> Path | None:
        """The file of best bids and asks, if there is one."""
        if self.book == "none":
            return None
        if self.book != "beside":
            return Path(self.book).expanduser()
        trades = Path(self.trades)
        twin = trades.with_name(trades.name.replace(".trades.", ".bbo."))
        return twin if twin != trades and twin.exists() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSource:
    """A written scenario (docs/howto/scenarios.md)."""

    kind: Literal["scenario"] = "scenario"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWalkSource:
    """Each update moves the mid by at most `step_bps_max`, either way alike."""

    kind: Literal["random_walk"] = "random_walk"
    start_price: Decimal
    spread_bps: Decimal = Decimal(2)
    trade_quantity_base: Decimal = Decimal("0.01")
    ticks: Ticks
    step_bps_max: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricBrownianSource:
    """Log returns are normal and independent."""

    kind: Literal["geometric_brownian"] = "geometric_brownian"
    start_price: Decimal
    spread_bps: Decimal = Decimal(2)
    trade_quantity_base: Decimal = Decimal("0.01")
    ticks: Ticks
    volatility_per_day_ratio: Decimal
    drift_per_day_ratio: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanReversionSource:
    """The log price is pulled back to `mean_price` (Ornstein–Uhlenbeck)."""

    kind: Literal["mean_reversion"] = "mean_reversion"
    start_price: Decimal
    spread_bps: Decimal = Decimal(2)
    trade_quantity_base: Decimal = Decimal("0.01")
    ticks: Ticks
    mean_price: Decimal
    volatility_per_day_ratio: Decimal
    half_life_s: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpSource:
    """Geometric Brownian motion with normal jumps at Poisson instants (Merton)."""

    kind: Literal["jump"] = "jump"
    start_price: Decimal
    spread_bps: Decimal = Decimal(2)
    trade_quantity_base: Decimal = Decimal("0.01")
    ticks: Ticks
    volatility_per_day_ratio: Decimal
    drift_per_day_ratio: Decimal = ZERO
    jumps_per_day: Decimal
    jump_bps: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSource:
    """Trade clusters, sizes, spread and volatility of real tapes (docs/fitted-market.md)."""

    kind: Literal["fitted"] = "fitted"
    start_price: Decimal
    profile: str = "btcusdt_spot"
    ticks: Ticks


MarketSource = (
    TapeSource
    | ScenarioSource
    | RandomWalkSource
    | GeometricBrownianSource
    | MeanReversionSource
    | JumpSource
    | FittedSource
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSettings:
    """
    What goes wrong, how often (ratios of requests or updates), and from which seed.

    `late_request` holds a request back on its way, so that its lifetime may pass; `stream_cut` is
    how long a cut stream stays silent; with `drop_notice` a dropped update is followed by a
    StreamGap.
    """

    seed: int = 1
    request_lost_ratio: Decimal = ZERO
    answer_lost_ratio: Decimal = ZERO
    late_answer_ratio: Decimal = ZERO
    late_answer: timedelta = timedelta(seconds=3)
    late_request_ratio: Decimal = ZERO
    late_request: timedelta = timedelta(seconds=3)
    update_duplicated_ratio: Decimal = ZERO
    update_reordered_ratio: Decimal = ZERO
    update_dropped_ratio: Decimal = ZERO
    drop_notice: bool = False
    stream_cut_ratio: Decimal = ZERO
    stream_cut: timedelta = timedelta(seconds=1)
    rate_limit_ratio: Decimal = ZERO
    server_error_ratio: Decimal = ZERO
    clock_skew: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentSettings:
    """One tradable with its filters, fees (ratios of the notional) and market."""

    symbol: str
    kind: Literal["spot", "linear"]
    tick_size: Decimal
    lot_size: Decimal
    min_notional: Decimal
    quantity_min: Decimal | None = None
    maker_fee_ratio: Decimal
    taker_fee_ratio: Decimal
    fee_asset: str = "received"
    order_count_max: int = 200
    initial_margin_ratio: Decimal = Decimal("0.1")
    market: MarketSource

    def to_instrument(self) -> Instrument:
        """Return the instrument as the venue describes it."""
        base_asset, _, rest = self.symbol.partition("/")
        quote_asset = rest.partition(":")[0]
        usual = {"received": "", "base": base_asset, "quote": quote_asset}
        return Instrument(
            symbol=self.symbol,
            base_asset=base_asset,
            quote_asset=quote_asset,
            kind=InstrumentKind.SPOT if self.kind == "spot" else InstrumentKind.LINEAR,
            tick_size=self.tick_size,
            lot_size=self.lot_size,
            min_notional=self.min_notional,
            quantity_min=self.lot_size if self.quantity_min is None else self.quantity_min,
            maker_fee_ratio=self.maker_fee_ratio,
            taker_fee_ratio=self.taker_fee_ratio,
            order_count_max=self.order_count_max,
            fee_asset=usual.get(self.fee_asset, self.fee_asset),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """
    One paper exchange: its account, its instruments and their markets.

    `balances` are read when `file` is made. `lock_step` emits that many market updates, then waits
    for `notify_idle`.
    """

    name: str
    file: str
    seed: int
    balances: Mapping[str, Decimal]
    instruments: tuple[InstrumentSettings, ...]
    while_closed: Literal["run", "pause"] = "run"
    while_closed_max: timedelta = timedelta(hours=1)
    lock_step: int | None = None
    faults: FaultSettings = field(default_factory=FaultSettings)


def parse_settings(values: Mapping[str, Any]) -> SimulatedSettings:
    """
    Return the settings from a mapping such as a dumped settings model; raises `ConfigError`.

    Keys that only the settings file needs (`adapter`, `account_is_dedicated`) are ignored.
    """
    plain = {key: values[key] for key in values if key in SimulatedSettings.__dataclass_fields__}
    try:
        plain["instruments"] = tuple(_parse_instrument(item) for item in values["instruments"])
        plain["faults"] = _parse(FaultSettings, values.get("faults") or {})
        return _parse(SimulatedSettings, plain)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"paper exchange settings: {error}") from error


_TICKS: Mapping[str, type[Any]] = {
    "simple": SimpleTicks,
    "with_volume": WithVolumeTicks,
    "full_depth": FullDepthTicks,
}
_SOURCES: Mapping[str, type[Any]] = {
    "tape": TapeSource,
    "scenario": ScenarioSource,
    "random_walk": RandomWalkSource,
    "geometric_brownian": GeometricBrownianSource,
    "mean_reversion": MeanReversionSource,
    "jump": JumpSource,
    "fitted": FittedSource,
}


def _parse_instrument(values: Mapping[str, Any]) -> InstrumentSettings:
    market = dict(values["market"])
    if "ticks" in market:
        market["ticks"] = _parse(_TICKS[market["ticks"]["kind"]], market["ticks"])
    return _parse(
        InstrumentSettings, {**values, "market": _parse(_SOURCES[market["kind"]], market)}
    )


def _parse(cls: type[_Parsed], values: Mapping[str, Any]) -> _Parsed:
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"unknown keys {', '.join(unknown)}")
    return cls(**{key: _parse_value(value, hints[key]) for key, value in values.items()})


def _parse_value(value: Any, hint: Any) -> Any:
    is_parsed = is_dataclass(value) or (isinstance(value, tuple) and is_dataclass(value[0]))
    if is_parsed:
        return value
    plain = str(value) if isinstance(value, Path) else value
    return msgspec.convert(plain, hint, strict=False)
