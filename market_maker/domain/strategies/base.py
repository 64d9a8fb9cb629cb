"""
What a strategy is: a pure function from memory and market to intents.

The actor owns orders, fills and position; a strategy owns its slots and a little memory. It is told
of every order of its own that changed and of every fill, and is asked for a plan once per batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from market_maker.domain.events import Allowance
from market_maker.domain.fill import Fill
from market_maker.domain.instrument import Instrument
from market_maker.domain.intents import CancelIntent, PlaceIntent
from market_maker.domain.order import Order
from market_maker.domain.quote import Market

ZERO = Decimal(0)


class SlotState(StrEnum):
    """FREE: may be ordered in. PENDING: claimed, not acknowledged. LOCKED: its order is live."""

    FREE = "FREE"
    PENDING = "PENDING"
    LOCKED = "LOCKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """
    One rung of a ladder, keyed by its own price.

    `holding` is signed base (negative is short), `entry_price` its average cost (quote per base).
    At most one live order, `client_order_id`; a closing order keeps the slot of its origin.
    `correlation_id` names the round: the opening order and the closing orders that return it.
    """

    key: str
    price: Decimal
    state: SlotState = SlotState.FREE
    holding: Decimal = ZERO
    entry_price: Decimal = ZERO
    client_order_id: str = ""
    is_unknown: bool = False
    post_only_rejections: int = 0
    correlation_id: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the slot neither holds nor orders anything."""
        return not self.holding and self.state is SlotState.FREE


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyMemory:
    """
    What a strategy remembers beside its slots; durable like everything else.

    `anchor` is the first price ever seen: stored, so a restart does not shift the grid.
    `dust_quantity` is signed base of ours that no slot holds: too small to order, or filled by an
    order that its slot no longer follows. The holdings of all slots and the dust are the position.
    `round_profit_quote` sums what closing fills earned after fees, booked as they come.
    """

    anchor: Decimal | None = None
    margin_lock_until: datetime | None = None
    dust_quantity: Decimal = ZERO
    rounds_completed_count: int = 0
    round_profit_quote: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyState:
    """A strategy's whole state: memory and slots by key."""

    memory: StrategyMemory = StrategyMemory()
    slots: Mapping[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """
    Everything a plan may look at.

    `orders` are the symbol's own orders that have not ended, by client order id. With
    `is_opening_allowed` False only closing orders and cancels of opening ones may be planned.
    `round_id` is unique to this batch: prefix new correlation ids with it.
    """

    instrument: Instrument
    market: Market
    now: datetime
    orders: Mapping[str, Order]
    allowance: Allowance
    is_opening_allowed: bool
    round_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What a strategy wants now, most important first, and when to be asked again at the latest.

    `idle_reason` says why it wants nothing at all ("" if it quotes).
    """

    state: StrategyState
    cancels: tuple[CancelIntent, ...] = ()
    places: tuple[PlaceIntent, ...] = ()
    wake_at: datetime | None = None
    idle_reason: str = ""


class Strategy(Protocol):
    """One strategy with its settings bound; every method is pure and returns new state."""

    def on_planned(self, state: StrategyState, order: Order) -> StrategyState:
        """Claim what `order` (PENDING_NEW, approved by the risk gate, not sent yet) needs."""
        ...

    def on_fill(
        self, state: StrategyState, order: Order, fill: Fill, instrument: Instrument
    ) -> StrategyState:
        """Book one new fill of an own order; called once per trade id, before `on_order`."""
        ...

    def on_order(
        self, state: StrategyState, order: Order, *, now: datetime, instrument: Instrument
    ) -> StrategyState:
        """Follow an own order that entered another state; repeated calls change nothing more."""
        ...

    def wants(self, state: StrategyState, order: Order) -> bool:
        """Whether an order that was given up and turned out live may have its slot back."""
        ...

    def plan(self, state: StrategyState, context: PlanContext) -> Plan:
        """Say what to place and cancel now, given everything above."""
        ...
