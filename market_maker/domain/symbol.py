"""
One symbol's whole state, and the difference between two of them.

The state is immutable: a decision builds a new one, and `changes_between` says what the database
must write. Applying the changes to the old state gives the new one (a property test holds it), so
the tables are the state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from market_maker.domain.events import Allowance
from market_maker.domain.fill import Fill
from market_maker.domain.ledger import LedgerEntry
from market_maker.domain.order import Order
from market_maker.domain.position import Position
from market_maker.domain.quote import Market
from market_maker.domain.risk.limits import RiskCounters
from market_maker.domain.strategies.base import Slot, StrategyMemory, StrategyState

NO_ALLOWANCE: Final = Allowance(
    exposure_notional_quote_max=Decimal(0),
    order_count_max=0,
    is_opening_allowed=False,
    reason="no allowance yet",
)


class SymbolMode(StrEnum):
    """
    What the actor does.

    SYNCING waits for a snapshot, QUOTING trades, PAUSED keeps its orders and places nothing new,
    KILLED cancels everything until an operator resumes, PARKED met an error of its own.
    """

    SYNCING = "SYNCING"
    QUOTING = "QUOTING"
    PAUSED = "PAUSED"
    KILLED = "KILLED"
    PARKED = "PARKED"


class IncidentSeverity(StrEnum):
    """OPEN stops quoting on the symbol until an operator decides; INFO is kept for the record."""

    OPEN = "OPEN"
    INFO = "INFO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """
    Something that contradicts the books.

    `resolution` is "" while open, else the operator's word: adopt, ignore or flatten.
    """

    id: str
    symbol: str
    kind: str
    severity: IncidentSeverity
    content: str
    opened_at: datetime
    closed_at: datetime | None = None
    resolution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolStatus:
    """
    The small facts of a symbol that `status` shows; counts only grow.

    A snapshot ends SYNCING only if it was begun at or after `syncing_since`.
    `is_canceling` keeps canceling every own order until an operator resumes, `is_flattening` sells
    or buys back the position once they are gone, `is_observing` only carries out commands. Before
    `hold_until` nothing new is sent (the venue asked for a pause). `last_trade_id` is the watermark
    of fills that a snapshot has confirmed; `wake_at` when the actor wants to be asked again.
    `filled_at` is the batch that booked the newest fill. `difference_ignored` is by how much the
    operator lets the venue's position differ from our fills. `recent_command_ids` are the commands
    carried out last: one that is taken up again does nothing.
    """

    mode: SymbolMode = SymbolMode.SYNCING
    is_paused: bool = False
    is_killed: bool = False
    is_canceling: bool = False
    is_flattening: bool = False
    is_observing: bool = False
    syncing_since: datetime | None = None
    hold_until: datetime | None = None
    idle_reason: str = "starting"
    updates_processed_count: int = 0
    updates_skipped_count: int = 0
    updates_malformed_count: int = 0
    foreign_order_count: int = 0
    intents_refused_count: int = 0
    last_update_at: datetime | None = None
    last_trade_id: str = ""
    wake_at: datetime | None = None
    filled_at: datetime | None = None
    difference_ignored: Decimal = Decimal(0)
    recent_command_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolState:
    """Everything one actor knows; `orders` have not ended, `incidents` are open."""

    symbol: str
    position: Position
    status: SymbolStatus = field(default_factory=SymbolStatus)
    market: Market = field(default_factory=Market)
    strategy: StrategyState = field(default_factory=StrategyState)
    risk: RiskCounters = field(default_factory=RiskCounters)
    allowance: Allowance = NO_ALLOWANCE
    orders: Mapping[str, Order] = field(default_factory=dict)
    incidents: Mapping[str, Incident] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolChanges:
    """
    What one batch changed; None or empty means unchanged.

    `fills` and `ledger` are appended, everything else replaces its row; orders that ended and
    incidents that closed are in it once, in their final form.
    """

    symbol: str
    status: SymbolStatus | None = None
    market: Market | None = None
    memory: StrategyMemory | None = None
    risk: RiskCounters | None = None
    allowance: Allowance | None = None
    position: Position | None = None
    orders: tuple[Order, ...] = ()
    slots: tuple[Slot, ...] = ()
    incidents: tuple[Incident, ...] = ()
    fills: tuple[Fill, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
