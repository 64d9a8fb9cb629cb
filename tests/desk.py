"""
A desk for strategy tests: one strategy, its orders and position, and a venue that answers as told.

It does what an actor does (claim, book, follow) without journal or database.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from market_maker.domain.fill import Fill, Side
from market_maker.domain.instrument import Instrument
from market_maker.domain.intents import PlaceIntent
from market_maker.domain.order import (
    Order,
    OrderState,
    Purpose,
    RejectReason,
    apply_fill,
    apply_report,
    transition,
)
from market_maker.domain.position import Position
from market_maker.domain.position import apply_fill as apply_fill_to_position
from market_maker.domain.strategies.base import Plan, Slot, StrategyState
from market_maker.domain.strategies.grid import GridSettings, GridStrategy
from tests.builders import (
    NOW,
    SYMBOL,
    a_fill_of,
    a_plan_context,
    a_report,
    an_instrument,
    an_order,
    grid_settings,
)


class Desk:
    """`plan` asks the strategy; every other method is something that the venue or gate does."""

    def __init__(
        self, settings: GridSettings | None = None, instrument: Instrument | None = None
    ) -> None:
        self.strategy = GridStrategy(settings or grid_settings())
        self.instrument = instrument or an_instrument()
        self.state = StrategyState()
        self.orders: dict[str, Order] = {}
        self.ended: dict[str, Order] = {}
        self.position = Position(symbol=SYMBOL)
        self.now: datetime = NOW
        self.order_count = 0

    # --- the strategy ---

    def plan(self, price: str | int | Decimal, **overrides: object) -> Plan:
        """Ask for a plan and keep its state; nothing is claimed or sent."""
        context = a_plan_context(
            price,
            orders=self.orders.values(),
            instrument=self.instrument,
            now=self.now,
            **overrides,
        )
        plan = self.strategy.plan(self.state, context)
        self.state = plan.state
        return plan

    def quote(self, price: str | int | Decimal, **overrides: object) -> Plan:
        """Plan, and have the venue accept every order and confirm every cancel."""
        plan = self.plan(price, **overrides)
        for cancel in plan.cancels:
            self.cancel(cancel.client_order_id)
        for intent in plan.places:
            self.accept(self.claim(intent))
        return plan

    def claim(self, intent: PlaceIntent) -> str:
        """The gate approved: the order exists and its slot is claimed; nothing is sent yet."""
        self.order_count += 1
        order = an_order(
            client_order_id=f"o{self.order_count}",
            side=intent.side,
            type=intent.type,
            price=intent.price,
            quantity=intent.quantity,
            post_only=intent.post_only,
            purpose=intent.purpose,
            slot=intent.slot,
            correlation_id=intent.correlation_id,
            state=OrderState.PENDING_NEW,
        )
        self.orders[order.client_order_id] = order
        self.state = self.strategy.on_planned(self.state, order)
        return order.client_order_id

    # --- the venue ---

    def accept(self, client_order_id: str) -> None:
        order = self.find(client_order_id)
        self.put(apply_report(order, a_report(order, OrderState.OPEN)))

    def reject(self, client_order_id: str, reason: RejectReason = RejectReason.OTHER) -> None:
        order = replace(self.find(client_order_id), reject_reason=reason)
        self.put(transition(order, OrderState.REJECTED))

    def lose(self, client_order_id: str) -> None:
        """No answer came: the outcome is unknown."""
        self.put(transition(self.find(client_order_id), OrderState.UNKNOWN))

    def expire(self, client_order_id: str) -> None:
        """Settling found that the order was never placed."""
        self.put(transition(self.find(client_order_id), OrderState.EXPIRED))

    def cancel(self, client_order_id: str) -> None:
        order = self.find(client_order_id)
        self.put(apply_report(order, a_report(order, OrderState.CANCELED)))

    def fill(
        self, client_order_id: str, quantity: str | Decimal | None = None, **overrides: object
    ) -> Fill:
        """A fill of an order of any age, booked as an actor books it."""
        order = self.find(client_order_id)
        fill = a_fill_of(order, quantity, **overrides)
        after = apply_fill(order, fill)
        self.position = apply_fill_to_position(self.position, fill, self.instrument)
        self.state = self.strategy.on_fill(self.state, after, fill, self.instrument)
        self.put(after)
        return fill

    def put(self, order: Order) -> None:
        """Keep an order that changed and let the strategy follow it."""
        if order.is_terminal:
            self.orders.pop(order.client_order_id, None)
            self.ended[order.client_order_id] = order
        else:
            self.orders[order.client_order_id] = order
        self.state = self.strategy.on_order(
            self.state, order, now=self.now, instrument=self.instrument
        )

    # --- reading ---

    def find(self, client_order_id: str) -> Order:
        return self.orders.get(client_order_id) or self.ended[client_order_id]

    def slot(self, key: str) -> Slot:
        return self.state.slots[key]

    def live(self, side: Side, purpose: Purpose | None = None) -> list[Order]:
        """Orders of a side that have not ended, lowest price first."""
        return sorted(
            (
                order
                for order in self.orders.values()
                if order.side is side and (purpose is None or order.purpose is purpose)
            ),
            key=lambda order: order.price or Decimal(0),
        )

    def live_at(self, side: Side, price: str | int) -> str:
        """The id of the one live order at a price."""
        (order,) = [order for order in self.live(side) if order.price == Decimal(price)]
        return order.client_order_id

    @property
    def held(self) -> Decimal:
        """What slots and dust hold together; always the position."""
        holdings = (slot.holding for slot in self.state.slots.values())
        return sum(holdings, self.state.memory.dust_quantity)


def prices(orders: list[Order]) -> list[str]:
    """Prices as text, for comparison at a glance."""
    return [f"{order.price:f}".removesuffix(".00") for order in orders]
