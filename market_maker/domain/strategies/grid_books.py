"""
A grid's slots and orders by side, and the base that no slot holds.

One pass over the slots sorts them: live opening orders, live closing orders, holdings that wait
for a closing order. Dust is used up before anything is planned.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from market_maker.domain.fill import Side
from market_maker.domain.order import Order, OrderState, Purpose
from market_maker.domain.strategies.base import Slot, StrategyMemory
from market_maker.domain.strategies.ladder import Ladder, slot_key
from market_maker.domain.strategies.slots import net_dust, store_slot, with_holding

ZERO: Final = Decimal(0)
INFINITY: Final = Decimal("Infinity")
DUST_PASSES_MAX: Final = 3
_BUY: Final = Side.BUY
_OPENING: Final = Purpose.OPENING


class SideBook:
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

    def nearest_first(self) -> list[Slot]:
        """Holdings that wait, the one whose closing order is nearest to the market first."""
        return sorted(self.waiting, key=lambda slot: slot.price, reverse=self.side is _BUY)


class GridBooks:
    """Both sides of one grid while it is planned; `slots` and `memory` may change on the way."""

    def __init__(
        self,
        *,
        ladder: Ladder,
        slots: Mapping[str, Slot],
        memory: StrategyMemory,
        price: Decimal,
    ) -> None:
        settings = ladder.settings
        self.ladder = ladder
        self.slots = slots
        self.memory = memory
        self.price = price
        self.buys = SideBook(Side.BUY, settings.buy_levels_max)
        self.sells = SideBook(Side.SELL, settings.sell_levels_max)
        self.leaving_count = 0
        self.highest_buy, self.lowest_sell = -INFINITY, INFINITY

    def of(self, order: Order) -> SideBook:
        """The side that an order is on."""
        return self.buys if order.side is _BUY else self.sells

    @property
    def all_openings(self) -> list[Order]:
        """Live opening orders of both sides."""
        return self.buys.openings + self.sells.openings

    def keep(self, slot: Slot) -> None:
        """Replace a slot; the mapping that was given is left as it is."""
        slots = dict(self.slots)
        store_slot(slots, slot)
        self.slots = slots

    def count_leaving(self, book: SideBook) -> None:
        """Count an order whose cancel is under way."""
        book.leaving_count += 1
        self.leaving_count += 1

    def survey(self, orders: Mapping[str, Order], *, low: Decimal, high: Decimal) -> None:
        """Sort every slot; forget the rejections of empty ones that are not from low to high."""
        buys, sells = self.buys, self.sells
        forgotten: list[Slot] = []
        for slot in self.slots.values():
            if slot.client_order_id:
                order = orders.get(slot.client_order_id)
                if order is None:
                    continue
                book = buys if order.side is _BUY else sells
                (book.openings if order.purpose is _OPENING else book.closings).append(order)
                self.note_price(order.side, order.price)
                if order.state is OrderState.PENDING_CANCEL:
                    self.count_leaving(book)
            elif slot.holding:
                (sells if slot.holding > 0 else buys).waiting.append(slot)
            elif not low <= slot.price <= high:
                forgotten.append(slot)
        for slot in forgotten:
            self.keep(replace(slot, post_only_rejections=0))

    def note_price(self, side: Side, price: Decimal | None) -> None:
        """Remember the own prices that are nearest to the other side's."""
        if price is None:
            return
        if side is _BUY:
            self.highest_buy = max(self.highest_buy, price)
        else:
            self.lowest_sell = min(self.lowest_sell, price)

    # --- dust ---

    def settle_dust(self) -> None:
        """
        Keep whole lots in the slots and everything else in the dust; then use up the dust.

        Holdings that cannot be ordered become dust. Whole lots of dust are set off against holdings
        of the other sign, then get slots of their own if they are worth an order, else they ride
        along with the nearest holding.
        """
        # Setting off may leave a holding too small to order, which is dust again.
        for _ in range(DUST_PASSES_MAX):
            for book in (self.sells, self.buys):
                shaved = [self._shave(slot, book) for slot in book.waiting]
                book.waiting = [slot for slot in shaved if slot]
            if not self._use_dust():
                return

    def _use_dust(self) -> bool:
        """Use up whole lots of dust; False if nothing could be done with them."""
        total = self.memory.dust_quantity
        before = self.ladder.instrument.floor_to_lot(abs(total)).copy_sign(total)
        if not before:
            return False
        left = self._ride_along(self._give_dust_slots(self._set_off(before)))
        self._set_dust(total - before + left)
        return left != before

    def _ride_along(self, dust: Decimal) -> Decimal:
        book = self.sells if dust > 0 else self.buys
        if not dust or not book.waiting:
            return dust
        slot = book.nearest_first()[0]
        if self.ladder.is_tradable(abs(dust), self.ladder.closing_price(slot.price, book.side)):
            return dust
        heavier = with_holding(slot, slot.holding + dust)
        book.waiting = [heavier if other is slot else other for other in book.waiting]
        self.keep(heavier)
        return ZERO

    def _shave(self, slot: Slot, book: SideBook) -> Slot | None:
        """Move to the dust what cannot be ordered; None if nothing is left in the slot."""
        ladder = self.ladder
        quantity = ladder.instrument.floor_to_lot(abs(slot.holding))
        if not ladder.is_tradable(quantity, ladder.closing_price(slot.price, book.side)):
            quantity = ZERO
        kept = quantity.copy_sign(slot.holding)
        if kept == slot.holding:
            return slot
        self._set_dust(self.memory.dust_quantity + slot.holding - kept)
        shaved = with_holding(slot, kept)
        self.keep(shaved)
        return shaved if kept else None

    def _set_off(self, dust: Decimal) -> Decimal:
        against = self.sells if dust < 0 else self.buys
        reduced, left = net_dust(against.waiting, dust)
        for slot in reduced:
            self.keep(slot)
        holdings = {slot.key: slot for slot in reduced}
        now = [holdings.get(slot.key, slot) for slot in against.waiting]
        against.waiting = [slot for slot in now if slot.holding]
        return left

    def _give_dust_slots(self, dust: Decimal) -> Decimal:
        """Put dust worth an order into the nearest empty slots, at a cost no longer known."""
        ladder = self.ladder
        book = self.sells if dust > 0 else self.buys
        for price in self._levels_for_dust(book):
            quantity = ladder.instrument.floor_to_lot(abs(dust))
            quantity = min(quantity, ladder.opening_quantity(price))
            if not ladder.is_tradable(quantity, ladder.closing_price(price, book.side)):
                break
            key = slot_key(price)
            slot = self.slots.get(key) or Slot(key=key, price=price)
            if slot.is_empty:
                slot = replace(slot, holding=quantity.copy_sign(dust), entry_price=price)
                self.keep(slot)
                book.waiting.append(slot)
                dust -= slot.holding
        return dust

    def _levels_for_dust(self, book: SideBook) -> Iterable[Decimal]:
        """Levels whose closing orders would rest at or beyond the market, nearest first."""
        ladder, price = self.ladder, self.price
        step, first = 1, ladder.first_buy_index(price)
        if book.side is _BUY:
            step, first = -1, ladder.first_sell_index(price)
        for number in range(ladder.settings.reach_levels - 2):
            yield ladder.price_at(first + step * number)

    def _set_dust(self, dust: Decimal) -> None:
        if dust != self.memory.dust_quantity:
            self.memory = replace(self.memory, dust_quantity=dust)
