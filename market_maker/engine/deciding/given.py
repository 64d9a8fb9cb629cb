"""What one actor is given of a batch, and what it makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from market_maker.domain.events import (
    Update,
)
from market_maker.domain.order import (
    CancelRequest,
    Order,
)
from market_maker.domain.settings import SymbolSettings
from market_maker.domain.strategies.base import Strategy
from market_maker.domain.symbol import (
    SymbolChanges,
    SymbolState,
)
from market_maker.engine.deciding.draft import Stamp
from market_maker.engine.records import Notice, PlannedPlace, RefusalRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorInput:
    """One actor's part of a batch; `next_client_order_id` derives ids from the journaled input."""

    settings: SymbolSettings
    strategy: Strategy
    stamp: Stamp
    updates: Sequence[Update]
    skipped_count: int
    loaded: Mapping[str, Order]
    symbols_allowed: tuple[str, ...]
    is_account_dedicated: bool
    next_client_order_id: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorDecision:
    """What one actor decided, and the state it will have once the batch is recorded."""

    state: SymbolState
    changes: SymbolChanges | None
    cancels: tuple[CancelRequest, ...] = ()
    places: tuple[PlannedPlace, ...] = ()
    refusals: tuple[RefusalRecord, ...] = ()
    notices: tuple[Notice, ...] = ()
