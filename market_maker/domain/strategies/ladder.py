"""The geometry of a grid: where its levels are and how much is ordered at each."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument
from market_maker.domain.strategies.grid_settings import GridSettings

BPS: Final = Decimal(10_000)
# A price may move between planning and matching; an order of exactly the minimum would be refused.
MIN_NOTIONAL_MARGIN: Final = Decimal("1.05")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Levels at `anchor` + index × `interval`, both whole ticks: every level is a legal price."""

    settings: GridSettings
    instrument: Instrument
    anchor: Decimal
    interval: Decimal

    def index_near(self, price: Decimal) -> int:
        """The level nearest to the price."""
        return int(((price - self.anchor) / self.interval).to_integral_value(ROUND_HALF_EVEN))

    def price_at(self, index: int) -> Decimal:
        """The price of a level."""
        return self.anchor + index * self.interval

    def first_buy_index(self, price: Decimal) -> int:
        """The highest level that is below the price by more than the eligibility gap."""
        index = self.index_near(price)
        gap = self.interval * self.settings.eligibility_gap_ratio
        return index if self.price_at(index) < price - gap else index - 1

    def first_sell_index(self, price: Decimal) -> int:
        """The lowest level that is above the price by more than the eligibility gap."""
        index = self.index_near(price)
        gap = self.interval * self.settings.eligibility_gap_ratio
        return index if self.price_at(index) > price + gap else index + 1

    def opening_quantity(self, price: Decimal) -> Decimal:
        """What one level orders, rounded down to the lot."""
        quantity = self.settings.order_quantity_base
        if quantity is None:
            quantity = (self.settings.order_notional_quote or Decimal(0)) / price
        return self.instrument.floor_to_lot(quantity)

    def closing_price(self, slot_price: Decimal, side: Side) -> Decimal:
        """Where a slot's holding is returned: one interval above for a sell, below for a buy."""
        if side is Side.SELL:
            return self.instrument.ask_to_tick(slot_price + self.interval)
        return self.instrument.bid_to_tick(slot_price - self.interval)

    def is_tradable(self, quantity: Decimal, price: Decimal) -> bool:
        """Whether the venue takes such an order, with a margin above its least notional."""
        instrument = self.instrument
        return (
            quantity > 0
            and price > 0
            and quantity >= instrument.quantity_min
            and quantity * price >= instrument.min_notional * MIN_NOTIONAL_MARGIN
        )

    def is_in_bounds(self, price: Decimal) -> bool:
        """Whether an opening order may rest at the price."""
        lower, upper = self.settings.lower, self.settings.upper
        return price > 0 and (lower is None or price >= lower) and (upper is None or price <= upper)


def ladder_at(settings: GridSettings, instrument: Instrument, anchor: Decimal) -> Ladder:
    """
    Return the ladder around `anchor`.

    The interval is rounded up to the tick: a rounding may widen a round's profit, never eat it.
    """
    interval = settings.interval_quote
    if interval is None:
        interval = anchor * (settings.interval_bps or Decimal(0)) / BPS
    return Ladder(
        settings=settings,
        instrument=instrument,
        anchor=anchor,
        interval=instrument.ask_to_tick(interval),
    )


def anchor_for(settings: GridSettings, instrument: Instrument, price: Decimal) -> Decimal:
    """Return the anchor of a grid that has none yet: the setting or this price, on the tick."""
    anchor = instrument.bid_to_tick(settings.anchor or price)
    return anchor or instrument.tick_size


def slot_key(price: Decimal) -> str:
    """Return the name of the slot at a price: canonical decimal text, the same for 1.5 and 1.50."""
    return format(price.normalize(), "f")
