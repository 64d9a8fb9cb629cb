"""Double-entry booking of fills: every fill's entries sum to zero in every asset."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument

INVENTORY: Final = "inventory"
CASH: Final = "cash"
FEES: Final = "fees"
VENUE: Final = "venue"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """
    One leg of a booking; `amount` is signed, in `asset`.

    `account` is inventory, cash, fees or venue. `trade_id` and `client_order_id` name the fill.
    """

    symbol: str
    trade_id: str
    client_order_id: str
    account: str
    asset: str
    amount: Decimal


def entries_for(fill: Fill, instrument: Instrument) -> tuple[LedgerEntry, ...]:
    """
    Return the legs of one fill: base against the venue, quote against the venue, fee if any.

    Inventory is our base, cash everything else that is ours, so a base fee leaves the inventory and
    a fee in quote or in a third asset leaves cash. Inventory therefore equals the position. A
    linear perpetual is booked like spot: its base leg is the contract, its quote leg the notional.
    """
    base, quote = instrument.base_asset, instrument.quote_asset
    quantity = fill.quantity if fill.side.sign > 0 else -fill.quantity
    notional = fill.price * quantity
    legs = [
        (INVENTORY, base, quantity),
        (VENUE, base, -quantity),
        (CASH, quote, -notional),
        (VENUE, quote, notional),
    ]
    if fill.fee:
        payer = INVENTORY if fill.fee_asset == base else CASH
        legs += [(payer, fill.fee_asset, -fill.fee), (FEES, fill.fee_asset, fill.fee)]
    return tuple(
        LedgerEntry(
            symbol=fill.symbol,
            trade_id=fill.trade_id,
            client_order_id=fill.client_order_id,
            account=account,
            asset=asset,
            amount=amount,
        )
        for account, asset, amount in legs
    )


def balances(entries: Iterable[LedgerEntry]) -> dict[tuple[str, str], Decimal]:
    """Return the sums by (account, asset), in the order in which the accounts first appear."""
    sums: dict[tuple[str, str], Decimal] = {}
    for entry in entries:
        key = (entry.account, entry.asset)
        sums[key] = sums.get(key, Decimal(0)) + entry.amount
    return sums
