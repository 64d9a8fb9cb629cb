"""
What the account owns: totals, locks, derivative positions and fees. Exact decimals throughout.

Invariant: a fill moves base, quote and fee between the account and the market and nothing else, so
that for every asset  total = deposits + Σ what fills and fees moved.  Locks never change a total.
A linear position keeps its signed cost instead of an average price: the average is a division and
would not be exact, the sum of cash and cost is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal

from market_maker.domain.events import Balance, VenuePosition
from market_maker.domain.fill import Liquidity, Side
from market_maker.domain.instrument import Instrument, InstrumentKind

ZERO = Decimal(0)
ONE = Decimal(1)
CENT_OF_A_CENT = Decimal("1e-12")
"""Where a division cannot be exact (a share of a cost, a fee in a third asset) it stops here."""

AssetPrice = Callable[[str, str], Decimal]
"""Price of one asset in another, for fees in a third asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearPosition:
    """Signed base quantity and what it cost: Σ signed price × quantity of what is still open."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def average_entry_price(self) -> Decimal:
        """Quote per base, rounded for show; zero without a position."""
        if not self.quantity:
            return ZERO
        return (self.cost / self.quantity).quantize(CENT_OF_A_CENT, ROUND_HALF_EVEN).normalize()


class Account:
    """
    Balances, locks and positions of one account.

    Spot orders lock their asset, linear ones margin in the quote asset. Nothing here checks that
    an order can be paid: the venue asks `free` first.
    """

    def __init__(
        self, totals: Mapping[str, Decimal], positions: Mapping[str, LinearPosition]
    ) -> None:
        self.totals = dict(totals)
        self.positions = dict(positions)
        self._locked: dict[str, Decimal] = {}
        self._margins: dict[str, tuple[str, Decimal]] = {}

    def free(self, asset: str) -> Decimal:
        """Return what of an asset is neither locked by spot orders nor held as margin."""
        return self.totals.get(asset, ZERO) - self.locked(asset)

    def locked(self, asset: str) -> Decimal:
        """Return what of an asset orders and positions hold."""
        margin = sum((amount for held, amount in self._margins.values() if held == asset), ZERO)
        return self._locked.get(asset, ZERO) + margin

    def margin(self, symbol: str) -> Decimal:
        """Return the margin that a linear symbol holds."""
        return self._margins.get(symbol, ("", ZERO))[1]

    def set_margin(self, symbol: str, asset: str, amount: Decimal) -> None:
        """Hold this much margin for a linear symbol, instead of what was held."""
        self._margins[symbol] = (asset, amount)

    def lock(self, asset: str, amount: Decimal) -> None:
        """Lock more (or with a negative amount less) of an asset."""
        self._locked[asset] = self._locked.get(asset, ZERO) + amount

    def position(self, symbol: str) -> LinearPosition:
        """Return a linear position, empty if there is none."""
        return self.positions.get(symbol, LinearPosition())

    def balances(self) -> tuple[Balance, ...]:
        """Return every asset the account has or had."""
        return tuple(
            Balance(asset=asset, free=self.free(asset), locked=self.locked(asset))
            for asset in sorted(self.totals)
        )

    def venue_positions(self) -> tuple[VenuePosition, ...]:
        """Return every linear position that is not flat."""
        return tuple(
            VenuePosition(
                symbol=symbol,
                quantity=position.quantity,
                average_entry_price=position.average_entry_price,
            )
            for symbol, position in sorted(self.positions.items())
            if position.quantity
        )

    def settle(
        self,
        instrument: Instrument,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        *,
        liquidity: Liquidity,
        asset_price: AssetPrice,
    ) -> tuple[Decimal, str]:
        """Book one execution; return its fee (positive: paid) and the asset it is in."""
        if instrument.kind is InstrumentKind.SPOT:
            self._add(instrument.base_asset, side.sign * quantity)
            self._add(instrument.quote_asset, -side.sign * price * quantity)
        else:
            self._settle_linear(instrument, side, price, quantity)
        ratio = (
            instrument.maker_fee_ratio
            if liquidity is Liquidity.MAKER
            else instrument.taker_fee_ratio
        )
        return self._charge(instrument, side, price, quantity, ratio=ratio, price_of=asset_price)

    def _settle_linear(
        self, instrument: Instrument, side: Side, price: Decimal, quantity: Decimal
    ) -> None:
        position = self.position(instrument.symbol)
        signed = side.sign * quantity
        closing = min(quantity, abs(position.quantity)) if _reduces(position, side) else ZERO
        if closing:
            share = _share(position, closing)
            # Long: cost is positive and proceeds come in; short: both are negative.
            self._add(instrument.quote_asset, -side.sign * closing * price - share)
            position = replace(
                position,
                quantity=position.quantity + side.sign * closing,
                cost=position.cost - share,
            )
        opening = signed - side.sign * closing
        self.positions[instrument.symbol] = replace(
            position, quantity=position.quantity + opening, cost=position.cost + opening * price
        )

    def _charge(
        self,
        instrument: Instrument,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        *,
        ratio: Decimal,
        price_of: AssetPrice,
    ) -> tuple[Decimal, str]:
        usual = received_asset(instrument, side)
        asset = instrument.fee_asset or usual
        fee = _fee_in(asset, instrument, price, quantity, ratio=ratio, price_of=price_of)
        if asset != usual and fee > self.free(asset):
            # As venues with a discount token do: without enough of it the fee is taken as usual.
            asset = usual
            fee = _fee_in(asset, instrument, price, quantity, ratio=ratio, price_of=price_of)
        self._add(asset, -fee)
        return fee, asset

    def _add(self, asset: str, amount: Decimal) -> None:
        self.totals[asset] = self.totals.get(asset, ZERO) + amount


def received_asset(instrument: Instrument, side: Side) -> str:
    """Return the asset that a venue takes its fee in unless told otherwise."""
    is_base = instrument.kind is InstrumentKind.SPOT and side is Side.BUY
    return instrument.base_asset if is_base else instrument.quote_asset


def spot_lock(
    instrument: Instrument, side: Side, price: Decimal, quantity: Decimal
) -> tuple[str, Decimal]:
    """Return what a resting spot order locks: what it pays, and the fee where that comes on top."""
    asset = instrument.quote_asset if side is Side.BUY else instrument.base_asset
    amount = price * quantity if side is Side.BUY else quantity
    if instrument.fee_asset == asset:
        amount *= ONE + max(instrument.maker_fee_ratio, instrument.taker_fee_ratio, ZERO)
    return asset, amount


def _reduces(position: LinearPosition, side: Side) -> bool:
    return bool(position.quantity) and (position.quantity > 0) is (side is Side.SELL)


def _share(position: LinearPosition, closing: Decimal) -> Decimal:
    if closing == abs(position.quantity):
        return position.cost
    exact = position.cost * closing / abs(position.quantity)
    return exact.quantize(CENT_OF_A_CENT, ROUND_HALF_EVEN)


def _fee_in(
    asset: str,
    instrument: Instrument,
    price: Decimal,
    quantity: Decimal,
    *,
    ratio: Decimal,
    price_of: AssetPrice,
) -> Decimal:
    if asset == instrument.base_asset:
        return quantity * ratio
    fee = price * quantity * ratio
    if asset == instrument.quote_asset:
        return fee
    exact = fee / price_of(asset, instrument.quote_asset)
    return exact.quantize(CENT_OF_A_CENT, ROUND_UP if fee > 0 else ROUND_HALF_EVEN)
