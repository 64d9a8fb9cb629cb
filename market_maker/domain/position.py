"""
A signed position with its average entry, moved by fills alone.

The books balance in one identity: what was realized plus what is open at some price equals the
cash that flowed plus the inventory at that price. Averaging divides, so it holds to the last digit
of the decimal context, and exactly where no division was inexact.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

from market_maker.domain.errors import InvalidUpdate
from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """
    What this bot holds of one symbol by its own fills.

    `quantity` is signed base, net of fees taken in base; negative is short. Prices are quote per
    base; `realized_pnl` is quote, net of fees; `fees_quote` is the part of it paid as fees.
    """

    symbol: str
    quantity: Decimal = ZERO
    average_entry_price: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    fees_quote: Decimal = ZERO


def base_change(fill: Fill, instrument: Instrument) -> Decimal:
    """Return what the fill did to our base: signed quantity, less a fee taken in base."""
    quantity = fill.quantity if fill.side.sign > 0 else -fill.quantity
    return quantity - fill.fee if fill.fee_asset == instrument.base_asset else quantity


def quote_change(fill: Fill, instrument: Instrument) -> Decimal:
    """Return what the fill did to our quote: the notional received or paid, less a quote fee."""
    cash = -fill.notional if fill.side.sign > 0 else fill.notional
    return cash - fill.fee if fill.fee_asset == instrument.quote_asset else cash


def fee_in_quote(fill: Fill, instrument: Instrument) -> Decimal:
    """
    Return the fee in quote; a base fee is valued at the fill's price, a rebate is negative.

    A fee in a third asset is 0 here: the ledger books it in its own asset, because no price of that
    asset is part of the journaled input.
    """
    if fill.fee_asset == instrument.quote_asset:
        return fill.fee
    if fill.fee_asset == instrument.base_asset:
        return fill.fee * fill.price
    return ZERO


def apply_fill(position: Position, fill: Fill, instrument: Instrument) -> Position:
    """
    Return the position after `fill`; quantity is signed, negative is short.

    What adds is averaged into the entry, what reduces realizes PnL against it, and a fill that
    crosses zero realizes the closed part and opens the rest at the fill price. A base fee leaves
    the inventory at the fill price. The caller drops fills that it has already seen.
    """
    if fill.symbol != position.symbol:
        raise InvalidUpdate(f"fill {fill.trade_id} of {fill.symbol} is not for {position.symbol}")
    fee = fee_in_quote(fill, instrument)
    moved = _move(position, base_change(fill, instrument), fill.price)
    if not fee:
        return moved
    return replace(moved, realized_pnl=moved.realized_pnl - fee, fees_quote=moved.fees_quote + fee)


def unrealized_pnl(position: Position, mid: Decimal) -> Decimal:
    """Return the open profit or loss at `mid` in quote."""
    return position.quantity * (mid - position.average_entry_price)


def _move(position: Position, change: Decimal, price: Decimal) -> Position:
    held, entry = position.quantity, position.average_entry_price
    quantity = held + change
    if held * change >= 0:
        if held and price != entry:
            entry = (held * entry + change * price) / quantity
        elif quantity:
            entry = price
        return replace(position, quantity=quantity, average_entry_price=entry)
    has_crossed = held * quantity < 0
    closed = held if has_crossed else -change
    return replace(
        position,
        quantity=quantity,
        average_entry_price=price if has_crossed else (entry if quantity else ZERO),
        realized_pnl=position.realized_pnl + closed * (price - entry),
    )
