"""
Who trades with whom: the account's resting orders against the tape, and takers against the book.

Idea. A resting order fills when the tape trades *through* its price, or *at* its price after the
quantity that was ahead of it when it arrived has traded. The tape's own quantity is shared out by
price-time priority, so two own orders never fill on the same traded unit.

Model, where the tape does not say:
- Only a trade of the other side counts at the price (a SELL for our BUY); through it, any does.
- A trade whose quantity nobody knows (`is_price_only`) is as large as needed and has both sides.
- The quantity ahead is the visible one at the price. Deeper than what is visible: as much as at
  the touch. Without quantities: as much as the last trade. At a better price than the touch: none.
  Cancels ahead are not seen; only trades shorten the queue, so fills come late rather than early.
- Without a book the touch is implied by prints: a BUY shows the ask and a SELL the bid, the other
  side at least one tick away; a price alone lies between a bid and an ask one tick from it.
- What an own taker takes is gone until the source shows the book again.

The failure this prevents: a paper profit that no real queue would have paid.
"""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.sources.source import Level, TopTick, TradeTick
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument

ZERO = Decimal(0)
LOWEST = Decimal("-Infinity")
HIGHEST = Decimal("Infinity")


@dataclass(slots=True)
class Touch:
    """The market around the last trade, without the account's own orders; levels are best first."""

    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)
    has_book: bool = False
    has_depth: bool = False
    last_price: Decimal | None = None
    last_quantity: Decimal = ZERO

    def levels(self, side: Side) -> list[Level]:
        """Return the levels that an order of `side` rests beside: bids for BUY."""
        return self.bids if side is Side.BUY else self.asks

    def to_plain(self) -> dict[str, Any]:
        """Return the touch as JSON values."""
        return {
            "bids": [[str(price), _text(quantity)] for price, quantity in self.bids],
            "asks": [[str(price), _text(quantity)] for price, quantity in self.asks],
            "has_book": self.has_book,
            "has_depth": self.has_depth,
            "last_price": _text(self.last_price),
            "last_quantity": str(self.last_quantity),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Touch":
        """Return the touch that `to_plain` wrote."""
        return cls(
            bids=[(Decimal(price), _decimal(quantity)) for price, quantity in plain["bids"]],
            asks=[(Decimal(price), _decimal(quantity)) for price, quantity in plain["asks"]],
            has_book=plain["has_book"],
            has_depth=plain["has_depth"],
            last_price=_decimal(plain["last_price"]),
            last_quantity=Decimal(plain["last_quantity"]),
        )


@dataclass(frozen=True, slots=True)
class Execution:
    """One planned trade of an order; `against` is the own resting order that it meets, if any."""

    price: Decimal
    quantity: Decimal
    against: VenueOrder | None = None


class SymbolBook:
    """The account's resting orders on one symbol, best price first, then oldest; and the touch."""

    def __init__(self, instrument: Instrument, touch: Touch | None = None) -> None:
        self.instrument = instrument
        self.touch = touch or Touch()
        self.buys: list[VenueOrder] = []
        self.sells: list[VenueOrder] = []
        # A tick that stays between these two touches no own order: the fast path.
        self.best_buy = LOWEST
        self.best_sell = HIGHEST
        # Whether an own taker changed the touch since it was stored.
        self.is_dirty = False

    def orders(self, side: Side) -> list[VenueOrder]:
        """Return the resting orders of one side."""
        return self.buys if side is Side.BUY else self.sells

    def add(self, order: VenueOrder) -> None:
        """Rest an order."""
        insort(self.orders(order.side), order, key=_priority)
        self._note_best()

    def replace(self, order: VenueOrder) -> None:
        """Keep a resting order's new version in its place, or drop it if it has ended."""
        orders = self.orders(order.side)
        for index, resting in enumerate(orders):
            if resting.sequence == order.sequence:
                if order.is_open:
                    orders[index] = order
                else:
                    del orders[index]
                break
        self._note_best()

    def observe_trade(self, tick: TradeTick) -> None:
        """Move the touch after a trade of the tape."""
        touch = self.touch
        touch.last_price = tick.price
        touch.last_quantity = ZERO if tick.is_price_only else tick.quantity
        if not touch.has_book:
            self._imply_touch(tick)

    def observe_top(self, tick: TopTick) -> None:
        """Move the touch to what the source shows."""
        touch = self.touch
        touch.has_book = True
        if tick.bids or tick.asks:
            touch.has_depth = True
            touch.bids = list(tick.bids)
            touch.asks = list(tick.asks)
        else:
            touch.has_depth = False
            touch.bids = [(tick.bid, tick.bid_quantity)]
            touch.asks = [(tick.ask, tick.ask_quantity)]

    def best_against(self, side: Side) -> Decimal | None:
        """Return the best price that an order of `side` could take, of others or of our own."""
        levels = self.touch.levels(side.opposite)
        own = self.orders(side.opposite)
        prices = [level[0] for level in levels[:1]]
        prices += [order.limit for order in own[:1]]
        if not prices:
            return None
        return min(prices) if side is Side.BUY else max(prices)

    def ahead_of(self, side: Side, price: Decimal) -> Decimal:
        """Return what of others trades first at `price` if an order of `side` comes to rest now."""
        touch = self.touch
        levels = touch.levels(side)
        if not levels or not touch.has_book:
            return (
                touch.last_quantity if levels and not _better(side, price, levels[0][0]) else ZERO
            )
        if _better(side, price, levels[0][0]):
            return ZERO
        for level_price, quantity in levels:
            if level_price == price:
                return touch.last_quantity if quantity is None else quantity
        if touch.has_depth and _better(side, price, levels[-1][0]):
            return ZERO
        quantity = levels[0][1]
        return touch.last_quantity if quantity is None else quantity

    def consume(self, side: Side, price: Decimal, quantity: Decimal) -> None:
        """Take what an own taker of `side` traded out of the visible book."""
        self.is_dirty = True
        levels = self.touch.levels(side.opposite)
        for index, (level_price, visible) in enumerate(levels):
            if level_price == price and visible is not None:
                levels[index] = (level_price, visible - quantity)
                break

    def _note_best(self) -> None:
        self.best_buy = self.buys[0].limit if self.buys else LOWEST
        self.best_sell = self.sells[0].limit if self.sells else HIGHEST

    def _imply_touch(self, tick: TradeTick) -> None:
        touch, tick_size = self.touch, self.instrument.tick_size
        bid = touch.bids[0][0] if touch.bids else LOWEST
        ask = touch.asks[0][0] if touch.asks else HIGHEST
        if tick.is_price_only:
            bid, ask = tick.price - tick_size, tick.price + tick_size
        elif tick.taker_side is Side.BUY:
            ask = tick.price
            bid = bid if LOWEST < bid < ask else ask - tick_size
        else:
            bid = tick.price
            ask = ask if bid < ask < HIGHEST else bid + tick_size
        touch.bids = [(bid, None)]
        touch.asks = [(ask, None)]


def plan_resting(
    orders: Sequence[VenueOrder], side: Side, tick: TradeTick
) -> tuple[list[tuple[VenueOrder, Decimal]], list[tuple[VenueOrder, Decimal]]]:
    """
    Share a trade of the tape out to resting orders of one side, best first.

    Returns the fills (order, quantity) and the queue moves (order, new quantity ahead).
    """
    is_hit = tick.is_price_only or tick.taker_side is not side
    left = HIGHEST if tick.is_price_only else tick.quantity
    passed = ZERO
    fills: list[tuple[VenueOrder, Decimal]] = []
    queued: list[VenueOrder] = []
    for order in orders:
        if left <= 0:
            break
        if order.price == tick.price:
            if not is_hit:
                break
            passing = min(left, max(order.ahead_quantity - passed, ZERO))
            passed += passing
            left -= passing
            queued.append(order)
        elif not _better(side, order.limit, tick.price):
            break
        quantity = min(left, order.remaining_quantity)
        if quantity > 0:
            fills.append((order, quantity))
            left -= quantity
    moves = []
    if passed:
        behind = (order for order in orders if order.price == tick.price)
        moves = [
            (order, max(order.ahead_quantity - passed, ZERO))
            for order in behind
            if order.ahead_quantity > 0
        ]
    return fills, moves


def plan_taking(
    book: SymbolBook, side: Side, limit: Decimal | None, quantity: Decimal
) -> list[Execution]:
    """Return an incoming order's trades, best price first; others before our own at a price."""
    executions = []
    left = quantity
    for price, available, against in _liquidity(book, side):
        if left <= 0 or (limit is not None and _better(side, price, limit)):
            break
        taken = left if available is None else min(left, available)
        if taken > 0:
            executions.append(Execution(price, taken, against))
            left -= taken
    return executions


def _liquidity(
    book: SymbolBook, side: Side
) -> Iterator[tuple[Decimal, Decimal | None, VenueOrder | None]]:
    sign = side.sign
    visible: list[tuple[Decimal, int, int, Decimal | None, VenueOrder | None]] = [
        (price * sign, 0, index, quantity, None)
        for index, (price, quantity) in enumerate(book.touch.levels(side.opposite))
    ]
    visible += [
        (order.limit * sign, 1, order.sequence, order.remaining_quantity, order)
        for order in book.orders(side.opposite)
    ]
    for price, _, _, quantity, against in sorted(visible, key=lambda item: item[:3]):
        yield price * sign, quantity, against


def _better(side: Side, price: Decimal, than: Decimal) -> bool:
    return price > than if side is Side.BUY else price < than


def _priority(order: VenueOrder) -> tuple[Decimal, int]:
    return (-order.side.sign * order.limit, order.sequence)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
