"""What can be traded, its rules, and the named roundings that never loosen a limit."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from market_maker.domain.errors import InvalidOrder


class InstrumentKind(StrEnum):
    """Spot moves base and quote; a linear perpetual is settled in the quote asset."""

    SPOT = "SPOT"
    LINEAR = "LINEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """
    A tradable with its venue's filters.

    `tick_size` is the price step (quote per base), `lot_size` the quantity step (base),
    `min_notional` the least price × quantity (quote). Fees are ratios of the notional.
    `fee_asset` names what the venue takes its fee in: an asset, or "" for the venue's
    usual choice (spot: the asset received; linear: the quote asset).
    """

    symbol: str
    base_asset: str
    quote_asset: str
    kind: InstrumentKind
    tick_size: Decimal
    lot_size: Decimal
    min_notional: Decimal
    quantity_min: Decimal
    maker_fee_ratio: Decimal
    taker_fee_ratio: Decimal
    order_count_max: int = 200
    fee_asset: str = ""

    def __post_init__(self) -> None:
        if self.tick_size <= 0 or self.lot_size <= 0:
            raise InvalidOrder(self.symbol, "tick_size and lot_size must be above zero")

    def bid_to_tick(self, price: Decimal) -> Decimal:
        """Round a buying price down to the tick."""
        return _to_step(price, self.tick_size, ROUND_FLOOR)

    def ask_to_tick(self, price: Decimal) -> Decimal:
        """Round a selling price up to the tick."""
        return _to_step(price, self.tick_size, ROUND_CEILING)

    def floor_to_lot(self, quantity: Decimal) -> Decimal:
        """Round a quantity (not negative) down to the lot."""
        return _to_step(quantity, self.lot_size, ROUND_FLOOR)


def _to_step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).to_integral_value(rounding=rounding) * step
