"""
What a grid wants now.

One pass over the slots sorts them by side: live opening orders, live closing orders, holdings that
wait for a closing order. Then, in order of importance: dust, closing orders, opening orders nearest
first, and cancels. Two limits bound the orders: the level count of each side and the order count of
the allowance. An order that finds no room does not squeeze in: the farthest opening order is
canceled, and the next plan finds the room. Whatever is canceled lies at least one interval farther
from the market than what it makes room for, so a plan never undoes the one before.

The result depends on values only, never on the order of a mapping, which differs after a restart.
"""

from collections.abc import Iterable
from dataclasses import replace
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
from market_maker.domain.strategies.grid_settings import GridMode
from market_maker.domain.strategies.ladder import Ladder, slot_key
from market_maker.domain.strategies.slots import net_dust, store_slot, with_holding

ZERO: Final = Decimal(0)
_INFINITY: Final = Decimal("Infinity")
POST_ONLY_REJECTIONS_MAX: Final = 3
DUST_PASSES_MAX: Final = 3
_BUY: Final = Side.BUY
_OPENING: Final = Purpose.OPENING
_FREE: Final = SlotState.FREE
_CANCELABLE: Final = (OrderState.OPEN, OrderState.PARTIALLY_FILLED)


class _SideBook:
    """One side of the ladder: what is live, what waits, and how many orders it may have."""

    __slots__ = (
        "closings",
        "leaving_count",
        "levels_max",
        "openings",
        "promised_count",
        "side",
        "waiting",
    )

    def __init__(self, side: Side, levels_max: int) -> None:
        self.side = side
        self.levels_max = levels_max
        self.openings: list[Order] = []
        self.closings: list[Order] = []
        self.waiting: list[Slot] = []
        self.leaving_count = 0
        self.promised_count = 0

    @property
    def live_count(self) -> int:
        """Every order on the side, also those that are about to leave."""
        return len(self.openings) + len(self.closings)


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
        self._slots = state.slots
        self._memory = memory
        self._context = context
        self._price = price
        self._closing_only_reason = closing_only_reason
        center = ladder.price_at(ladder.index_near(price))
        reach = ladder.interval * settings.reach_levels
        self._low, self._high = center - reach, center + reach
        has_window = settings.window_levels is not None
        self._lowest = self._low if has_window else -_INFINITY
        self._highest = self._high if has_window else _INFINITY
        self._buys = _SideBook(Side.BUY, settings.buy_levels_max)
        self._sells = _SideBook(Side.SELL, settings.sell_levels_max)
        self._cancels: dict[str, CancelIntent] = {}
        self._places: list[PlaceIntent] = []
        self._leaving_count = 0
        self._promised_count = 0
        self._room = min(
            context.allowance.order_count_max, context.instrument.order_count_max
        ) - len(context.orders)
        self._hindrance = ""

    def make(self, wake_at: datetime | None) -> Plan:
        """Plan everything, most important first."""
        self._survey()
        if self._buys.waiting or self._sells.waiting or self._memory.dust_quantity:
            self._settle_dust()
        for book in (self._sells, self._buys):
            if book.waiting:
                self._plan_closings(book)
        self._cancel_unwanted()
        if not self._closing_only_reason:
            self._plan_openings()
        self._trim()
        state = self._state
        if self._memory is not state.memory or self._slots is not state.slots:
            state = StrategyState(memory=self._memory, slots=self._slots)
        return Plan(
            state=state,
            cancels=tuple(self._cancels.values()),
            places=tuple(self._places),
            wake_at=wake_at,
            idle_reason=self._idle_reason(),
        )

    # --- what there is ---

    def _survey(self) -> None:
        orders, buys, sells = self._context.orders, self._buys, self._sells
        forgotten: list[Slot] = []
        for slot in self._slots.values():
            if slot.client_order_id:
                order = orders.get(slot.client_order_id)
                if order is None:
                    continue
                book = buys if order.side is _BUY else sells
                (book.openings if order.purpose is _OPENING else book.closings).append(order)
                if order.state is OrderState.PENDING_CANCEL:
                    self._count_leaving(book)
            elif slot.holding:
                (sells if slot.holding > 0 else buys).waiting.append(slot)
            elif not self._low <= slot.price <= self._high:
                forgotten.append(slot)
        for slot in forgotten:
            self._keep(replace(slot, post_only_rejections=0))

    def _idle_reason(self) -> str:
        if self._places:
            return ""
        if self._buys.live_count + self._sells.live_count > len(self._cancels):
            return ""
        return self._closing_only_reason or self._hindrance or "no level is eligible"

    # --- dust ---

    def _settle_dust(self) -> None:
        """
        Keep whole lots in the slots and everything else in the dust; then use up the dust.

        Holdings that cannot be ordered become dust. Whole lots of dust are set off against holdings
        of the other sign, then get slots of their own if they are worth an order, else they ride
        along with the nearest holding.
        """
        # Setting off may leave a holding too small to order, which is dust again.
        for _ in range(DUST_PASSES_MAX):
            for book in (self._sells, self._buys):
                shaved = [self._shave(slot, book) for slot in book.waiting]
                book.waiting = [slot for slot in shaved if slot]
            if not self._use_dust():
                return

    def _use_dust(self) -> bool:
        """Use up whole lots of dust; False if nothing could be done with them."""
        total = self._memory.dust_quantity
        before = self._context.instrument.floor_to_lot(abs(total)).copy_sign(total)
        if not before:
            return False
        left = self._ride_along(self._give_dust_slots(self._set_off(before)))
        self._set_dust(total - before + left)
        return left != before

    def _ride_along(self, dust: Decimal) -> Decimal:
        book = self._sells if dust > 0 else self._buys
        if not dust or not book.waiting:
            return dust
        slot = _nearest_first(book)[0]
        if self._ladder.is_tradable(abs(dust), self._ladder.closing_price(slot.price, book.side)):
            return dust
        heavier = with_holding(slot, slot.holding + dust)
        book.waiting = [heavier if other is slot else other for other in book.waiting]
        self._keep(heavier)
        return ZERO

    def _shave(self, slot: Slot, book: _SideBook) -> Slot | None:
        """Move to the dust what cannot be ordered; None if nothing is left in the slot."""
        ladder = self._ladder
        quantity = ladder.instrument.floor_to_lot(abs(slot.holding))
        if not ladder.is_tradable(quantity, ladder.closing_price(slot.price, book.side)):
            quantity = ZERO
        kept = quantity.copy_sign(slot.holding)
        if kept == slot.holding:
            return slot
        self._set_dust(self._memory.dust_quantity + slot.holding - kept)
        shaved = with_holding(slot, kept)
        self._keep(shaved)
        return shaved if kept else None

    def _set_off(self, dust: Decimal) -> Decimal:
        against = self._sells if dust < 0 else self._buys
        reduced, left = net_dust(against.waiting, dust)
        for slot in reduced:
            self._keep(slot)
        holdings = {slot.key: slot for slot in reduced}
        now = [holdings.get(slot.key, slot) for slot in against.waiting]
        against.waiting = [slot for slot in now if slot.holding]
        return left

    def _give_dust_slots(self, dust: Decimal) -> Decimal:
        """Put dust worth an order into the nearest empty slots, at a cost no longer known."""
        ladder = self._ladder
        book = self._sells if dust > 0 else self._buys
        for price in self._levels_for_dust(book):
            quantity = ladder.instrument.floor_to_lot(abs(dust))
            quantity = min(quantity, ladder.opening_quantity(price))
            if not ladder.is_tradable(quantity, ladder.closing_price(price, book.side)):
                break
            key = slot_key(price)
            slot = self._slots.get(key) or Slot(key=key, price=price)
            if slot.is_empty:
                slot = replace(slot, holding=quantity.copy_sign(dust), entry_price=price)
                self._keep(slot)
                book.waiting.append(slot)
                dust -= slot.holding
        return dust

    def _levels_for_dust(self, book: _SideBook) -> Iterable[Decimal]:
        """Levels whose closing orders would rest at or beyond the market, nearest first."""
        ladder, price = self._ladder, self._price
        step, first = 1, ladder.first_buy_index(price)
        if book.side is _BUY:
            step, first = -1, ladder.first_sell_index(price)
        for number in range(ladder.settings.reach_levels - 2):
            yield ladder.price_at(first + step * number)

    def _set_dust(self, dust: Decimal) -> None:
        if dust != self._memory.dust_quantity:
            self._memory = replace(self._memory, dust_quantity=dust)

    def _keep(self, slot: Slot) -> None:
        slots = dict(self._slots)
        store_slot(slots, slot)
        self._slots = slots

    # --- closing orders ---

    def _plan_closings(self, book: _SideBook) -> None:
        for slot in _nearest_first(book):
            price = self._closing_price_of(slot, book)
            if price is None:
                self._hindrance = "holdings wait outside the window"
                return
            quantity = abs(slot.holding)
            if len(book.closings) + self._planned_count(book.side, opening=False) >= (
                book.levels_max
            ):
                self._make_room(book.closings, book, price)
            elif self._room <= 0:
                self._make_room(self._buys.openings + self._sells.openings, None, price)
            else:
                self._place(slot, book.side, price, quantity, Purpose.CLOSING)

    def _closing_price_of(self, slot: Slot, book: _SideBook) -> Decimal | None:
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

    def _levels(self, book: _SideBook) -> list[Decimal]:
        """The opening levels of a side, nearest first."""
        ladder = self._ladder
        interval, count = ladder.interval, book.levels_max
        if book.side is _BUY:
            first = ladder.price_at(ladder.first_buy_index(self._price))
            return [first - number * interval for number in range(count)]
        first = ladder.price_at(ladder.first_sell_index(self._price))
        return [first + number * interval for number in range(count)]

    def _plan_openings(self) -> None:
        books = [self._buys]
        if self._ladder.settings.mode is GridMode.NEUTRAL:
            books.append(self._sells)
        wanted: list[tuple[Decimal, _SideBook, Decimal]] = []
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

    def _is_wanted(self, book: _SideBook, price: Decimal) -> bool:
        """
        Whether a level is in bounds and its slot empty and free.

        A closing order of another slot at the same price and side serves the level already.
        """
        slot = self._slots.get(slot_key(price))
        if slot is not None and (slot.state is not _FREE or slot.holding):
            return False
        if not self._ladder.is_in_bounds(price):
            self._hindrance = "the market is outside the bounds"
            return False
        return not any(order.price == price for order in book.closings) and not any(
            intent.price == price and intent.side is book.side for intent in self._places
        )

    def _plan_opening(self, book: _SideBook, price: Decimal) -> None:
        ladder = self._ladder
        quantity = ladder.opening_quantity(price)
        if not ladder.is_tradable(quantity, price):
            self._hindrance = "an order would be below the venue's minimum"
            return
        if book.live_count + self._planned_count(book.side) >= book.levels_max:
            self._make_room(book.openings, book, price)
        elif self._room <= 0:
            self._make_room(self._buys.openings + self._sells.openings, None, price)
        else:
            key = slot_key(price)
            slot = self._slots.get(key) or Slot(key=key, price=price)
            self._place(slot, book.side, price, quantity, Purpose.OPENING)

    def _place(
        self, slot: Slot, side: Side, price: Decimal, quantity: Decimal, purpose: Purpose
    ) -> None:
        context, instrument = self._context, self._context.instrument
        is_rejected_too_often = slot.post_only_rejections >= POST_ONLY_REJECTIONS_MAX
        self._room -= 1
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
        for book in (self._buys, self._sells):
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
        for book in (self._buys, self._sells):
            over = book.live_count + self._planned_count(book.side) - book.levels_max
            over -= book.leaving_count
            if over > 0:
                for order in self._victims(book.openings)[:over]:
                    self._cancel(order, book, "more orders than levels")
        over = -self._room - self._leaving_count
        if over > 0:
            openings = self._victims(self._buys.openings + self._sells.openings)
            closings = self._victims(self._buys.closings + self._sells.closings)
            for order in (openings + closings)[:over]:
                self._cancel(order, self._book_of(order), "more orders than allowed")

    def _make_room(
        self, candidates: Iterable[Order], book: _SideBook | None, price: Decimal
    ) -> None:
        """
        Promise the order that waits a room that is about to be free, or free one.

        Without `book` it is the total that has no room. The farthest candidate is canceled, if it
        is clearly farther away than the order that waits.
        """
        self._hindrance = "waiting for room"
        if self._is_promised(book):
            return
        far = abs(price - self._price) + self._ladder.interval
        for order in self._victims(candidates):
            if abs((order.price or ZERO) - self._price) >= far:
                self._cancel(order, self._book_of(order), "a nearer order needs its room")
                self._is_promised(book)
                return

    def _is_promised(self, book: _SideBook | None) -> bool:
        """Take one of the rooms that canceled orders will leave, if there is one left."""
        if book is not None and book.promised_count < book.leaving_count:
            book.promised_count += 1
            return True
        if book is None and self._promised_count < self._leaving_count:
            self._promised_count += 1
            return True
        return False

    def _victims(self, orders: Iterable[Order]) -> list[Order]:
        """What can be canceled: nothing filled first, then the farthest."""
        price = self._price
        return sorted(
            (
                order
                for order in orders
                if order.state in _CANCELABLE and order.client_order_id not in self._cancels
            ),
            key=lambda order: (
                order.cumulative_quantity > 0,
                -abs((order.price or ZERO) - price),
                order.client_order_id,
            ),
        )

    def _cancel(self, order: Order, book: _SideBook, reason: str) -> None:
        self._count_leaving(book)
        self._cancels[order.client_order_id] = CancelIntent(
            symbol=order.symbol,
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            reason=reason,
        )

    def _count_leaving(self, book: _SideBook) -> None:
        book.leaving_count += 1
        self._leaving_count += 1

    def _book_of(self, order: Order) -> _SideBook:
        return self._buys if order.side is _BUY else self._sells


def _nearest_first(book: _SideBook) -> list[Slot]:
    return sorted(book.waiting, key=lambda slot: slot.price, reverse=book.side is _BUY)
