"""
The database as the engine sees it: one bot's tables.

`record` is the lane's checkpoint: one transaction whose first statement is the compare-and-set on
the lane's sequence and token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from market_maker.domain.order import Order
from market_maker.domain.symbol import Incident, SymbolChanges, SymbolState

Record = Mapping[str, Any]
"""A plain, versioned payload: str, int, bool, None, list and dict only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write. `token` rises at every takeover."""

    bot: str
    holder: str
    token: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRow:
    """A lane's place: `sequence` is the last recorded workflow, `now` its journaled time."""

    lane: int
    sequence: int
    token: int
    now: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolRow:
    """Where a symbol lives and what it is set to trade."""

    symbol: str
    lane: int
    strategy: str
    is_configured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """
    One recorded workflow.

    Digests are hex BLAKE2b-256; `chain` = digest of (previous chain + this row's other fields) and
    is filled in by `record`.
    """

    lane: int
    sequence: int
    workflow_id: str
    settings_version: int
    now: datetime
    update_count: int
    input_digest: str
    decision_digest: str
    outcomes_digest: str
    state_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """An operator's command as the CLI wrote it. `symbol` "" means all; `state` new | done."""

    command_id: str
    name: str
    symbol: str
    argument: str
    state: str
    created_at: datetime
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """
    Everything `record` writes in its one transaction.

    `account` is kept under `account_key`, the key of `load_account`.
    """

    entry: JournalEntry
    token: int
    changes: tuple[SymbolChanges, ...]
    snapshot: Record | None = None
    account: Record | None = None
    account_key: str = "@account"


class Store(Protocol):
    """One bot's durable memory. Errors are `StoreError`s; a raised token shows as `Fenced`."""

    async def open(self) -> None:
        """Check reachability and schema version; raises `StoreError` with what to do."""
        ...

    async def close(self) -> None:
        """Release every connection."""
        ...

    # --- one writer ---

    async def acquire_lease(self, *, holder: str, ttl: timedelta) -> Lease:
        """
        Take the operating-system or server lock, then the lease row; raises the token everywhere.

        Raises `LeaseHeld` if a live process holds it. A holder that died loses the lock at once;
        one that is frozen loses it when its lease has expired.
        """
        ...

    async def renew_lease(self, lease: Lease, *, ttl: timedelta) -> Lease:
        """Extend our own lease on its own connection; raises `Fenced` if the token moved on."""
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Give the lease back so that the next start takes over at once."""
        ...

    # --- start ---

    async def register_settings(self, payload: Record) -> int:
        """Store the decision settings unless equal to the newest; return their version number."""
        ...

    async def find_newest_settings(self) -> Record | None:
        """The payload of the newest settings version; None in a new database."""
        ...

    async def load_settings(self, version: int) -> Record:
        """The payload of one settings version."""
        ...

    async def ensure_lanes(self, lanes: int, *, token: int) -> tuple[LaneRow, ...]:
        """Create the missing lane rows 0 … lanes−1; return every row, also unconfigured ones."""
        ...

    async def place_symbols(self, rows: Sequence[SymbolRow]) -> None:
        """Store which lane hosts which symbol; symbols not named are marked unconfigured."""
        ...

    async def load_symbol_rows(self) -> tuple[SymbolRow, ...]:
        """Every symbol this bot has ever had."""
        ...

    async def load_symbol_state(self, symbol: str) -> SymbolState | None:
        """State as of the last recorded workflow; None for a symbol never recorded."""
        ...

    async def load_account(self, key: str) -> Record | None:
        """The account actor's recorded state."""
        ...

    async def has_journal(self) -> bool:
        """Whether this bot has ever recorded anything."""
        ...

    # --- the road of an update ---

    def record(self, recording: Recording) -> str:
        """
        Write one workflow's results and return its chain digest. Synchronous: a step runs it.

        Returns the stored chain digest unchanged if this very workflow was already recorded.
        Raises `Fenced` if the lane's token moved on or another workflow took the sequence,
        `StoreBusy` if it must be tried again.
        """
        ...

    async def load_orders(self, client_order_ids: Sequence[str]) -> tuple[Order, ...]:
        """Orders of any state by our ids, with their trade ids."""
        ...

    # --- operator commands ---

    async def add_command(self, row: CommandRow) -> None:
        """Queue a command; a command id that exists is left as it is."""
        ...

    async def take_commands(self) -> tuple[CommandRow, ...]:
        """Commands not yet done, oldest first; taking them twice is harmless."""
        ...

    async def finish_command(self, command_id: str, result: str) -> None:
        """Mark a command done; repeating it changes nothing."""
        ...

    async def load_command(self, command_id: str) -> CommandRow | None:
        """One command with its state and result."""
        ...

    # --- read models ---

    async def fetch_lease(self) -> Lease | None:
        """The lease row as it stands."""
        ...

    async def fetch_lanes(self) -> tuple[LaneRow, ...]:
        """Every lane."""
        ...

    async def fetch_symbol_states(self) -> tuple[SymbolState, ...]:
        """The state of every symbol ever recorded, read as one snapshot."""
        ...

    async def fetch_orders(
        self, *, symbol: str = "", only_open: bool = False, limit: int = 0
    ) -> tuple[Order, ...]:
        """Orders newest first."""
        ...

    async def fetch_fills(self, *, symbol: str = "", limit: int = 0) -> tuple[Record, ...]:
        """Fills newest first, as plain records with the fields of `Fill`."""
        ...

    async def fetch_incidents(self, *, only_open: bool = True) -> tuple[Incident, ...]:
        """Incidents newest first."""
        ...

    async def sum_ledger(self, symbol: str = "") -> Mapping[tuple[str, str], Decimal]:
        """Sums by (account, asset), added in Python."""
        ...
