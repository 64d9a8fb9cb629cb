"""
Versioned plain payloads that cross a durable boundary, and their way back to domain values.

A record holds only str, int, bool, None, list and dict: decimals and times are text. What is
written here is public API: the database remembers it, and later releases must still read it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
import orjson

from market_maker.domain.events import (
    AllowanceGranted,
    BalancesTaken,
    BookTopChanged,
    CommandIssued,
    FillReported,
    MalformedReceived,
    OrderLookedUp,
    OrderReported,
    StreamGap,
    TimerFired,
    TradePrinted,
    Update,
    VenueSnapshotTaken,
)
from market_maker.domain.intents import Outcome
from market_maker.domain.order import CancelRequest, Order, OrderRequest
from market_maker.domain.symbol import SymbolChanges, SymbolState

Record = dict[str, Any]
T = TypeVar("T")

BATCH_VERSION: Final = 1
DECISION_VERSION: Final = 1

_SORTED: Final = msgspec.json.Encoder(order="sorted")

_UPDATE_TYPES: Final[Mapping[str, type[Any]]] = {
    update_type.KIND: update_type
    for update_type in (
        TradePrinted,
        BookTopChanged,
        OrderReported,
        FillReported,
        OrderLookedUp,
        TimerFired,
        StreamGap,
        MalformedReceived,
        VenueSnapshotTaken,
        CommandIssued,
        AllowanceGranted,
        BalancesTaken,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """
    The journaled input of one workflow: everything that its decision may use.

    `now` is strictly later than the lane's previous batch. `loaded` are orders that updates name
    and that are not in memory any more, as the database knew them.
    """

    bot: str
    lane: int
    sequence: int
    settings_version: int
    now: datetime
    updates: tuple[Update, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    loaded: tuple[Order, ...] = ()

    @property
    def workflow_id(self) -> str:
        """`<bot>/<lane>/<sequence>`."""
        return f"{self.bot}/{self.lane}/{self.sequence:09d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPlace:
    """An approved order on its way to the venue."""

    request: OrderRequest
    after_cancel: str = ""
    expected_cumulative: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRecord:
    """An intent that the risk gate refused."""

    symbol: str
    side: str
    price: str
    quantity: str
    rule: str
    limit: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something worth a log line: logged once, after it is decided. `content` names the cause."""

    symbol: str
    name: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """
    What one batch decided.

    `changes` are the new facts before any outcome is known; with them a later process can finish
    this workflow without deciding again.
    """

    cancels: tuple[CancelRequest, ...] = ()
    places: tuple[PlannedPlace, ...] = ()
    refusals: tuple[RefusalRecord, ...] = ()
    notices: tuple[Notice, ...] = ()
    changes: tuple[SymbolChanges, ...] = ()
    account: Record | None = None
    grants: tuple[tuple[str, Record], ...] = ()

    @property
    def has_intents(self) -> bool:
        """Whether anything must go to the venue."""
        return bool(self.cancels or self.places)


def encode_batch(batch: Batch) -> Record:
    """The batch as the record that DBOS journals."""
    return {
        "version": BATCH_VERSION,
        "bot": batch.bot,
        "lane": batch.lane,
        "sequence": batch.sequence,
        "settings_version": batch.settings_version,
        "now": msgspec.to_builtins(batch.now),
        "skipped": dict(batch.skipped),
        "loaded": [to_record(order) for order in batch.loaded],
        "updates": [[update.KIND, to_record(update)] for update in batch.updates],
    }


def decode_batch(record: Mapping[str, Any]) -> Batch:
    """The batch in a journaled record; raises `ValueError` for an unknown version."""
    if record["version"] != BATCH_VERSION:
        raise ValueError(f"batch record version was {record['version']}, known is {BATCH_VERSION}")
    convert = msgspec.convert
    types = _UPDATE_TYPES
    return Batch(
        bot=record["bot"],
        lane=record["lane"],
        sequence=record["sequence"],
        settings_version=record["settings_version"],
        now=convert(record["now"], datetime),
        skipped=record["skipped"],
        loaded=tuple(convert(order, Order) for order in record["loaded"]),
        updates=tuple(convert(body, types[kind]) for kind, body in record["updates"]),
    )


def encode_decision(decision: Decision) -> Record:
    """The decision as the record that the decide step leaves behind."""
    return {"version": DECISION_VERSION, **to_record(decision)}


def decode_decision(record: Mapping[str, Any]) -> Decision:
    """The decision in a step's recorded output."""
    if record["version"] != DECISION_VERSION:
        raise ValueError(
            f"decision record version was {record['version']}, known is {DECISION_VERSION}"
        )
    return msgspec.convert(record, Decision)


def encode_outcomes(outcomes: Iterable[Outcome]) -> list[Record]:
    """Outcomes as the record that the place step leaves behind."""
    return [to_record(outcome) for outcome in outcomes]


def decode_outcomes(records: Sequence[Mapping[str, Any]]) -> tuple[Outcome, ...]:
    """Outcomes in a step's recorded output."""
    return tuple(msgspec.convert(record, Outcome) for record in records)


def to_record(value: Any) -> Record:
    """Any frozen domain value as a plain record."""
    record: Record = msgspec.to_builtins(value)
    return record


def from_record(record: Any, kind: type[T]) -> T:
    """The domain value of type `kind` in a plain record."""
    return msgspec.convert(record, kind)


def digest(value: Any) -> str:
    """Hex BLAKE2b-256 of a record's canonical JSON (sorted keys)."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=32).hexdigest()


def state_digest(states: Mapping[str, SymbolState]) -> str:
    """The same of the record of each state, without making the record: it is long."""
    return hashlib.blake2b(_SORTED.encode(states), digest_size=32).hexdigest()
