"""
What a grid wants now.

In order of importance: dust (`grid_books`), closing orders, opening orders nearest first, cancels.
Two limits bound the orders: the level count of each side and the order count of the allowance. An
order that finds no room does not squeeze in: the farthest opening order is canceled, and the next
plan finds the room. Whatever is canceled lies at least one interval farther from the market than
what it makes room for, so a plan never undoes the one before.

The result depends on values only, never on the order of a mapping, which differs after a restart.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

from market_maker.domain.fill import Side
from market_maker.domain.intents import CancelIntent, PlaceIntent
from market_maker.domain.order import Order, OrderState, Purpose
from market_maker.domain.strategies.base import (
    Plan,
    PlanContext,
    Slot,
    SlotState,
    StrategyMemory,
    StrategyState,
)
from market_maker.domain.strategies.grid_books import INFINITY, GridBooks, SideBook
from market_maker.domain.strategies.grid_settings import GridMode
from market_maker.domain.strategies.ladder import Ladder, slot_key

ZERO: Final = Decimal(0)
POST_ONLY_REJECTIONS_MAX: Final = 3
_BUY: Final = Side.BUY
_OPENING: Final = Purpose.OPENING
_FREE: Final = SlotState.FREE
_CANCELABLE: Final = (OrderState.OPEN, OrderState.PARTIALLY_FILLED)


class GridPlanning:
    """One plan in the making; it lives for one call and nobody else sees it."""

    def __init__(
        self,
        *,
        ladder: Ladder,
        state: StrategyState,
        memory: StrategyMemory,
        context: PlanContext,
        price: Decimal,
        closing_only_reason: str,
    ) -> None:
        settings = ladder.settings
        self._ladder = ladder
        self._state = state
        self._books = GridBooks(ladder=ladder, slots=state.slots, memory=memory, price=price)
        self._context = context
        self._price = price
        self._closing_only_reason = closing_only_reason
        center = ladder.price_at(ladder.index_near(price))
        reach = ladder.interval * settings.reach_levels
        self._low, self._high = center - reach, center + reach
        has_window = settings.window_levels is not None
        self._lowest = self._low if has_window else -INFINITY
        self._highest = self._high if has_window else INFINITY
        self._cancels: dict[str, CancelIntent] = {}
        self._places: list[PlaceIntent] = []
        self._promised_count = 0
        self._room = min(
            context.allowance.order_count_max, context.instrument.order_count_max
        ) - len(context.orders)
        self._hindrance = ""

    def make(self, wake_at: datetime | None) -> Plan:
        """Plan everything, most important first."""
        books = self._books
        books.survey(self._context.orders, low=self._low, high=self._high)
        if books.buys.waiting or books.sells.waiting or books.memory.dust_quantity:
            books.settle_dust()
        for book in (books.sells, books.buys):
            if book.waiting:
                self._plan_closings(book)
        self._cancel_unwanted()
        if not self._closing_only_reason:
            self._plan_openings()
        self._trim()
        state = self._state
        if books.memory is not state.memory or books.slots is not state.slots:
            state = StrategyState(memory=books.memory, slots=books.slots)
        return Plan(
            state=state,
            cancels=tuple(self._cancels.values()),
            places=tuple(self._places),
            wake_at=wake_at,
            idle_reason=self._idle_reason(),
        )

    def _would_meet_own_order(self, side: Side, price: Decimal) -> bool:
        """Whether the gate would refuse it: an order of ours there is about to trade."""
        if (price < self._books.lowest_sell) if side is _BUY else (price > self._books.highest_buy):
            return False
        self._hindrance = "waiting for an own order of the other side"
        return True

    def _idle_reason(self) -> str:
        if self._places:
            return ""
        if self._books.buys.live_count + self._books.sells.live_count > len(self._cancels):
            return ""
        return self._closing_only_reason or self._hindrance or "no level is eligible"

    # --- closing orders ---

    def _plan_closings(self, book: SideBook) -> None:
        for slot, price in self._closings_nearest_first(book):
            quantity = abs(slot.holding)
            if self._would_meet_own_order(book.side, price):
                continue
            if len(book.closings) + self._planned_count(book.side, opening=False) >= (
                book.levels_max
            ):
                self._make_room(book.closings, book, self._distance(book.side, price))
            elif self._room <= 0:
                distance = self._distance(book.side, price)
                self._make_room(self._books.all_openings, None, distance)
            else:
                self._place(slot, book.side, price, quantity, Purpose.CLOSING)

    def _closings_nearest_first(self, book: SideBook) -> list[tuple[Slot, Decimal]]:
        """
        Holdings that wait and where they would be closed, in the order in which room is given.

        That order is by the price of the closing order itself: a slot whose order follows the
        market is far from its own price. By slots, room would be made for one and taken by another.
        """
        found = []
        for slot in book.nearest_first():
            price = self._closing_price_of(slot, book)
            if price is None:
                self._hindrance = "holdings wait outside the window"
                break
            found.append((slot, price))
        found.sort(key=lambda closing: self._distance(book.side, closing[1]))
        return found

    def _closing_price_of(self, slot: Slot, book: SideBook) -> Decimal | None:
        """
        One interval from the slot, or None beyond the window.

        A market that ran away past the order by more than the window is followed: the price collar
        would refuse the old price, and the holding would stay for ever.
        """
        ladder = self._ladder
        price = ladder.closing_price(slot.price, book.side)
        inner = ladder.interval  # cancels begin one level farther out than orders end
        if book.side is _BUY:
            if price > self._high:
                return ladder.price_at(ladder.first_buy_index(self._price))
            return price if price >= self._lowest + inner and price > 0 else None
        if price < self._low:
            return ladder.price_at(ladder.first_sell_index(self._price))
        return price if price <= self._highest - inner else None

    # --- opening orders ---

    def _levels(self, book: SideBook) -> list[Decimal]:
        """The opening levels of a side, nearest first."""
        ladder = self._ladder
        interval, count = ladder.interval, book.levels_max
        if book.side is _BUY:
            first = ladder.price_at(ladder.first_buy_index(self._price))
            return [first - number * interval for number in range(count)]
        first = ladder.price_at(ladder.first_sell_index(self._price))
        return [first + number * interval for number in range(count)]

    def _plan_openings(self) -> None:
        books = [self._books.buys]
        if self._ladder.settings.mode is GridMode.NEUTRAL:
            books.append(self._books.sells)
        wanted: list[tuple[Decimal, SideBook, Decimal]] = []
        for book in books:
            wanted += [
                (abs(price - self._price), book, price)
                for price in self._levels(book)
                if self._is_wanted(book, price)
            ]
        if len(books) > 1:
            wanted.sort(key=lambda level: (level[0], level[1].side))
        for _, book, price in wanted:
            self._plan_opening(book, price)

    def _is_wanted(self, book: SideBook, price: Decimal) -> bool:
        """
        Whether a level is in bounds and its slot empty and free.

        A closing order of another slot at the same price and side serves the level already.
        """
        slot = self._books.slots.get(slot_key(price))
        if slot is not None and (slot.state is not _FREE or slot.holding):
            return False
        if not self._ladder.is_in_bounds(price):
            self._hindrance = "the market is outside the bounds"
            return False
        return not any(order.price == price for order in book.closings) and not any(
            intent.price == price and intent.side is book.side for intent in self._places
        )

    def _plan_opening(self, book: SideBook, price: Decimal) -> None:
        ladder = self._ladder
        quantity = ladder.opening_quantity(price)
        if not ladder.is_tradable(quantity, price):
            self._hindrance = "an order would be below the venue's minimum"
            return
        if self._would_meet_own_order(book.side, price):
            return
        if book.live_count + self._planned_count(book.side) >= book.levels_max:
            self._make_room(book.openings, book, self._distance(book.side, price))
        elif self._room <= 0:
            distance = self._distance(book.side, price)
            self._make_room(self._books.all_openings, None, distance)
        else:
            key = slot_key(price)
            slot = self._books.slots.get(key) or Slot(key=key, price=price)
            self._place(slot, book.side, price, quantity, Purpose.OPENING)

    def _place(
        self, slot: Slot, side: Side, price: Decimal, quantity: Decimal, purpose: Purpose
    ) -> None:
        context, instrument = self._context, self._context.instrument
        is_rejected_too_often = slot.post_only_rejections >= POST_ONLY_REJECTIONS_MAX
        self._room -= 1
        self._books.note_price(side, price)
        self._places.append(
            PlaceIntent(
                symbol=instrument.symbol,
                side=side,
                price=(
                    instrument.bid_to_tick(price) if side is _BUY else instrument.ask_to_tick(price)
                ),
                quantity=quantity,
                purpose=purpose,
                slot=slot.key,
                post_only=self._ladder.settings.post_only and not is_rejected_too_often,
                correlation_id=slot.correlation_id or f"{context.round_id}/{slot.key}",
            )
        )

    def _planned_count(self, side: Side, *, opening: bool = True) -> int:
        return sum(
            1
            for intent in self._places
            if intent.side is side and (opening or intent.purpose is not _OPENING)
        )

    # --- cancels ---

    def _cancel_unwanted(self) -> None:
        """Cancel what may not open now, and what is beyond the window."""
        for book in (self._books.buys, self._books.sells):
            unwanted: list[Order] = []
            reasons: dict[str, str] = {}
            for order in book.openings + book.closings:
                reason = self._reason_to_cancel(order)
                if reason:
                    unwanted.append(order)
                    reasons[order.client_order_id] = reason
            if unwanted:
                for order in self._victims(unwanted):
                    self._cancel(order, book, reasons[order.client_order_id])

    def _reason_to_cancel(self, order: Order) -> str:
        price = order.price or ZERO
        if (price < self._lowest) if order.side is _BUY else (price > self._highest):
            return "beyond the window"
        if order.purpose is not _OPENING:
            return ""
        if self._closing_only_reason:
            return self._closing_only_reason
        return "" if self._ladder.is_in_bounds(price) else "outside the bounds"

    def _trim(self) -> None:
        """Bring each side and the total back under limits that were lowered or passed."""
        for book in (self._books.buys, self._books.sells):
            over = book.live_count + self._planned_count(book.side) - book.levels_max
            over -= book.leaving_count
            if over > 0:
                for order in self._victims(book.openings)[:over]:
                    self._cancel(order, book, "more orders than levels")
        over = -self._room - self._books.leaving_count
        if over > 0:
            openings = self._victims(self._books.buys.openings + self._books.sells.openings)
            closings = self._victims(self._books.buys.closings + self._books.sells.closings)
            for order in (openings + closings)[:over]:
                self._cancel(order, self._books.of(order), "more orders than allowed")

    def _make_room(
        self, candidates: Iterable[Order], book: SideBook | None, distance: Decimal
    ) -> None:
        """
        Promise the order that waits a room that is about to be free, or free one.

        Without `book` it is the total that has no room. The farthest candidate is canceled, if it
        is clearly farther away than the order that waits.
        """
        self._hindrance = "waiting for room"
        if self._is_promised(book):
            return
        far = distance + self._ladder.interval
        for order in self._victims(candidates):
            if self._distance(order.side, order.price or ZERO) >= far:
                self._cancel(order, self._books.of(order), "a nearer order needs its room")
                self._is_promised(book)
                return

    def _is_promised(self, book: SideBook | None) -> bool:
        """Take one of the rooms that canceled orders will leave, if there is one left."""
        if book is not None and book.promised_count < book.leaving_count:
            book.promised_count += 1
            return True
        if book is None and self._promised_count < self._books.leaving_count:
            self._promised_count += 1
            return True
        return False

    def _victims(self, orders: Iterable[Order]) -> list[Order]:
        """What can be canceled: nothing filled first, then the farthest."""
        return sorted(
            (
                order
                for order in orders
                if order.state in _CANCELABLE and order.client_order_id not in self._cancels
            ),
            key=lambda order: (
                order.cumulative_quantity > 0,
                -self._distance(order.side, order.price or ZERO),
                order.client_order_id,
            ),
        )

    def _distance(self, side: Side, price: Decimal) -> Decimal:
        """
        How far the market must move to reach an order; negative if it has passed it already.

        What the market has passed is nearest of all: ordering by the bare distance would cancel it
        for the next one, and that one for it, for ever.
        """
        return price - self._price if side is Side.SELL else self._price - price

    def _cancel(self, order: Order, book: SideBook, reason: str) -> None:
        self._books.count_leaving(book)
        self._cancels[order.client_order_id] = CancelIntent(
            symbol=order.symbol,
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            reason=reason,
        )
