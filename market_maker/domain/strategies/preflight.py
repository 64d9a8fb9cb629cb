"""
What a grid would do, before it does anything: the `plan` command and the check before a first
start.

Pure arithmetic on settings, instrument and one price. A restart of a grid that already trades is
not checked for capital: what it needed is in its orders and holdings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument, InstrumentKind
from market_maker.domain.risk.limits import RiskLimits
from market_maker.domain.strategies.grid_settings import GridMode, GridSettings
from market_maker.domain.strategies.ladder import (
    BPS,
    MIN_NOTIONAL_MARGIN,
    Ladder,
    anchor_for,
    ladder_at,
)

ZERO: Final = Decimal(0)
# Two fees eat the interval; the last hundredth keeps a rounded price from eating the rest.
FEES_PER_INTERVAL_MIN: Final = Decimal("2.01")
# A bound so far away that nobody would walk there level by level.
WORST_CASE_LEVELS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderLevel:
    """One opening order; its round earns `profit_quote` after two maker fees."""

    side: Side
    price: Decimal
    quantity: Decimal
    notional: Decimal
    closing_price: Decimal
    profit_quote: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """
    The market runs through every level up to `price` and nothing is ever closed.

    `inventory_base` is signed. `loss_quote` is the mark against entry, without fees.
    """

    price: Decimal
    inventory_base: Decimal
    notional_quote: Decimal
    loss_quote: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderReport:
    """
    The exact ladder at one price, what it needs and what it may cost; quotable if no violations.

    `capital_needed` is by asset, for all levels at once, fees included. A round's profit is that of
    the nearest level. Worst cases are at the bounds, or at the last level where there is none, and
    stop at the symbol's exposure limit.
    """

    symbol: str
    price: Decimal
    anchor: Decimal
    interval: Decimal
    levels: tuple[LadderLevel, ...]
    capital_needed: Mapping[str, Decimal]
    profit_per_round_quote: Decimal
    worst_cases: tuple[WorstCase, ...]
    violations: tuple[str, ...]

    @property
    def is_acceptable(self) -> bool:
        """Whether this grid may be started."""
        return not self.violations


def check_ladder(
    settings: GridSettings,
    instrument: Instrument,
    *,
    price: Decimal,
    anchor: Decimal | None = None,
    limits: RiskLimits | None = None,
    balances: Mapping[str, Decimal] | None = None,
) -> LadderReport:
    """
    Return the ladder that a fresh grid would place at `price`, and every reason not to.

    `anchor` is the stored one of a grid that has run before. `balances` are free amounts by asset;
    None leaves out the check of capital.
    """
    ladder = ladder_at(settings, instrument, anchor or anchor_for(settings, instrument, price))
    levels = _levels(ladder, price)
    capital = _capital(levels, instrument)
    return LadderReport(
        symbol=instrument.symbol,
        price=price,
        anchor=ladder.anchor,
        interval=ladder.interval,
        levels=levels,
        capital_needed=capital,
        profit_per_round_quote=levels[0].profit_quote if levels else ZERO,
        worst_cases=_worst_cases(ladder, price, limits),
        violations=(
            *_fee_violations(ladder, levels, price),
            *_filter_violations(ladder, levels, price),
            *_count_violations(levels, instrument, limits),
            *_limit_violations(ladder, levels, price, limits),
            *_capital_violations(capital, balances),
        ),
    )


# --- the ladder ---


def _opening_sides(settings: GridSettings) -> tuple[Side, ...]:
    return (Side.BUY,) if settings.mode is GridMode.LONG else (Side.BUY, Side.SELL)


def _levels(ladder: Ladder, price: Decimal) -> tuple[LadderLevel, ...]:
    settings = ladder.settings
    counts = {Side.BUY: settings.buy_levels_max, Side.SELL: settings.sell_levels_max}
    return tuple(
        _level(ladder, side, level_price)
        for side in _opening_sides(settings)
        for level_price in _prices(ladder, side, price, counts[side])
        if ladder.is_in_bounds(level_price)
    )


def _prices(ladder: Ladder, side: Side, price: Decimal, count: int) -> list[Decimal]:
    if side is Side.BUY:
        first = ladder.first_buy_index(price)
        return [ladder.price_at(first - number) for number in range(count)]
    first = ladder.first_sell_index(price)
    return [ladder.price_at(first + number) for number in range(count)]


def _level(ladder: Ladder, side: Side, price: Decimal) -> LadderLevel:
    quantity = ladder.opening_quantity(price)
    closing_price = ladder.closing_price(price, side.opposite)
    fees = (price + closing_price) * ladder.instrument.maker_fee_ratio
    return LadderLevel(
        side=side,
        price=price,
        quantity=quantity,
        notional=price * quantity,
        closing_price=closing_price,
        profit_quote=quantity * (abs(closing_price - price) - fees),
    )


def _capital(levels: tuple[LadderLevel, ...], instrument: Instrument) -> dict[str, Decimal]:
    """Spot pays buys in quote and sells in base; a perpetual is counted without leverage."""
    needed = {instrument.quote_asset: ZERO, instrument.base_asset: ZERO}
    fee = 1 + max(ZERO, instrument.maker_fee_ratio)
    for level in levels:
        if level.side is Side.SELL and instrument.kind is InstrumentKind.SPOT:
            needed[instrument.base_asset] += level.quantity
        else:
            needed[instrument.quote_asset] += level.notional * fee
    return {asset: amount for asset, amount in needed.items() if amount}


def _worst_cases(
    ladder: Ladder, price: Decimal, limits: RiskLimits | None
) -> tuple[WorstCase, ...]:
    return tuple(
        _worst_case(ladder, side, price, limits) for side in _opening_sides(ladder.settings)
    )


def _worst_case(ladder: Ladder, side: Side, price: Decimal, limits: RiskLimits | None) -> WorstCase:
    settings = ladder.settings
    bound = settings.lower if side is Side.BUY else settings.upper
    count = settings.buy_levels_max if side is Side.BUY else settings.sell_levels_max
    if bound is not None:
        count = min(int(abs(price - bound) / ladder.interval) + 2, WORST_CASE_LEVELS_MAX)
    quantity = notional = ZERO
    end = price
    for level_price in _prices(ladder, side, price, count):
        if not ladder.is_in_bounds(level_price):
            continue
        ordered = ladder.opening_quantity(level_price)
        reached = notional + ordered * level_price
        if limits is not None and reached > limits.exposure_notional_quote_max:
            break
        quantity, notional, end = quantity + ordered, reached, level_price
    end = end if bound is None else bound
    return WorstCase(
        price=end,
        inventory_base=quantity * side.sign,
        notional_quote=notional,
        loss_quote=max(ZERO, (notional - quantity * end) * side.sign),
    )


# --- reasons not to ---


def _fee_violations(ladder: Ladder, levels: tuple[LadderLevel, ...], price: Decimal) -> list[str]:
    dearest = max([price, *(max(level.price, level.closing_price) for level in levels)])
    fee = dearest * ladder.instrument.maker_fee_ratio
    least = fee * FEES_PER_INTERVAL_MIN
    if ladder.interval < least:
        found = f"interval {ladder.interval:f} is below {FEES_PER_INTERVAL_MIN} fees of {fee:f}"
        return [f"{found}, {least:f}: a round would lose money"]
    return []


def _filter_violations(
    ladder: Ladder, levels: tuple[LadderLevel, ...], price: Decimal
) -> list[str]:
    instrument, settings = ladder.instrument, ladder.settings
    found: list[str] = []
    lowest = _prices(ladder, Side.BUY, price, settings.buy_levels_max)[-1:]
    if lowest and lowest[0] <= 0 and settings.lower is None:
        found.append(f"the last of {settings.buy_levels_max} buy levels is at {lowest[0]:f}")
    for level in levels:
        if level.closing_price <= 0:
            found.append(f"level {level.price:f} would close at {level.closing_price:f}")
        elif level.quantity < instrument.quantity_min or level.quantity <= 0:
            found.append(
                f"level {level.price:f}: quantity {level.quantity:f} is below the least quantity "
                f"{instrument.quantity_min:f} in lots of {instrument.lot_size:f}"
            )
        elif not ladder.is_tradable(level.quantity, min(level.price, level.closing_price)):
            found.append(
                f"level {level.price:f}: notional {level.notional:f} is below the least notional "
                f"{instrument.min_notional:f} × {MIN_NOTIONAL_MARGIN}"
            )
    return found


def _count_violations(
    levels: tuple[LadderLevel, ...], instrument: Instrument, limits: RiskLimits | None
) -> list[str]:
    found: list[str] = []
    if len(levels) > instrument.order_count_max:
        found.append(
            f"{len(levels)} orders are more than the {instrument.order_count_max} that the venue "
            "allows"
        )
    if limits is None:
        return found
    for side in Side:
        count = sum(1 for level in levels if level.side is side)
        if count > limits.order_count_per_side_max:
            found.append(
                f"{count} {side} orders are more than order_count_per_side_max "
                f"{limits.order_count_per_side_max}"
            )
    return found


def _limit_violations(
    ladder: Ladder, levels: tuple[LadderLevel, ...], price: Decimal, limits: RiskLimits | None
) -> list[str]:
    """What the risk gate would refuse every time."""
    if limits is None or not levels:
        return []
    found: list[str] = []
    largest = max(level.quantity * max(level.price, level.closing_price) for level in levels)
    if largest > limits.order_notional_quote_max:
        found.append(
            f"an order of {largest:f} is above order_notional_quote_max "
            f"{limits.order_notional_quote_max:f}"
        )
    quantity = max(level.quantity for level in levels)
    if limits.order_quantity_base_max is not None and quantity > limits.order_quantity_base_max:
        found.append(
            f"an order of {quantity:f} is above order_quantity_base_max "
            f"{limits.order_quantity_base_max:f}"
        )
    notional = sum((level.notional for level in levels), ZERO)
    if notional > limits.exposure_notional_quote_max:
        found.append(
            f"the ladder's {notional:f} is above exposure_notional_quote_max "
            f"{limits.exposure_notional_quote_max:f}"
        )
    farthest = max(abs(level.price - price) for level in levels)
    if ladder.settings.window_levels is not None:
        farthest = max(farthest, ladder.interval * ladder.settings.window_levels)
    distance = farthest * BPS / price
    if distance > limits.price_collar_bps:
        found.append(
            f"orders up to {distance:.1f} bps from the market are beyond price_collar_bps "
            f"{limits.price_collar_bps:f}"
        )
    return found


def _capital_violations(
    needed: Mapping[str, Decimal], balances: Mapping[str, Decimal] | None
) -> list[str]:
    if balances is None:
        return []
    return [
        f"the ladder needs {amount:f} {asset}, free are {balances.get(asset, ZERO):f}"
        for asset, amount in needed.items()
        if balances.get(asset, ZERO) < amount
    ]
