"""Executions of our own orders: the one truth of position and ledger."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    """BUY adds base, SELL removes it."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, −1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Liquidity(StrEnum):
    """Whether the fill rested on the book (MAKER) or took from it (TAKER)."""

    MAKER = "MAKER"
    TAKER = "TAKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """
    One execution of one of our orders.

    `price` is quote per base, `quantity` base (above zero), `fee` is in `fee_asset` (positive:
    paid). Unique by (symbol, trade_id, client_order_id): two own orders may meet in one trade.
    """

    trade_id: str
    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    liquidity: Liquidity
    exchange_at: datetime

    @property
    def notional(self) -> Decimal:
        """Price × quantity in the quote asset."""
        return self.price * self.quantity
