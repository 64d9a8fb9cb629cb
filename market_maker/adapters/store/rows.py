"""
Domain values to rows and back.

Columns and fields share their names, so a row is written by reading the fields that its table names
and read by giving the row to msgspec. A test holds every domain type against its table: a field
without a column would be forgotten by a restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import CursorResult, Table

from market_maker.adapters.store import tables
from market_maker.adapters.store.types import (
    DecimalText,
    InstantText,
    to_decimal_text,
    to_instant_text,
)
from market_maker.domain.events import Allowance
from market_maker.domain.fill import Fill
from market_maker.domain.ledger import LedgerEntry
from market_maker.domain.order import Order
from market_maker.domain.position import Position
from market_maker.domain.quote import Market
from market_maker.domain.risk.limits import RiskCounters
from market_maker.domain.strategies.base import Slot, StrategyMemory, StrategyState
from market_maker.domain.symbol import Incident, SymbolState, SymbolStatus
from market_maker.ports.store import JournalEntry, LaneRow

T = TypeVar("T")
Row = Mapping[str, Any]
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """How one domain type lies in its table: `extra` columns first, then the type's own fields."""

    table: Table
    extra: tuple[str, ...]
    own: tuple[str, ...]
    getters: tuple[tuple[Callable[[T], Any], Callable[[Any], Any]], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in the order of `to_values`."""
        return self.extra + self.own

    def to_values(self, value: T, *extra: Any) -> Values:
        """The row of `value` as database values."""
        return (*extra, *[convert(get(value)) for get, convert in self.getters])


def _shape(table: Table, model: type[T], *extra: str) -> Shape[T]:
    names = {field.name for field in fields(model)}  # type: ignore[arg-type]  # dataclasses only
    own = tuple(
        column.name for column in table.columns if column.name in names and column.name not in extra
    )
    getters = tuple((attrgetter(name), _converter(table, name)) for name in own)
    return Shape(table, extra, own, getters)


def _converter(table: Table, name: str) -> Callable[[Any], Any]:
    kind = table.columns[name].type
    if isinstance(kind, DecimalText):
        return lambda value: None if value is None else to_decimal_text(value)
    if isinstance(kind, InstantText):
        return lambda value: None if value is None else to_instant_text(value)
    return _to_plain


def _to_plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)  # a StrEnum becomes its text
    if isinstance(value, tuple):
        return to_json(value)
    return value


ORDERS: Final = _shape(tables.orders, Order, "bot", "is_open")
FILLS: Final = _shape(tables.fills, Fill, "bot", "lane", "sequence", "ordinal")
SLOTS: Final = _shape(tables.grid_slots, Slot, "bot", "symbol", "is_live")
POSITIONS: Final = _shape(tables.positions, Position, "bot")
LEDGER: Final = _shape(tables.ledger, LedgerEntry, "bot", "lane", "sequence", "ordinal")
INCIDENTS: Final = _shape(tables.incidents, Incident, "bot", "is_open")
JOURNAL: Final = _shape(tables.journal, JournalEntry, "bot", "chain")

SYMBOL_PARTS: Final[Mapping[str, type]] = {
    "status": SymbolStatus,
    "market": Market,
    "memory": StrategyMemory,
    "risk": RiskCounters,
    "allowance": Allowance,
}
"""What a symbols row keeps as JSON, by column; the same names as in `SymbolChanges`."""

STATUS_COLUMNS: Final = (
    "mode",
    "idle_reason",
    "updates_processed_count",
    "updates_skipped_count",
    "last_update_at",
)


def to_json(value: Any) -> str:
    """JSON text with sorted keys; decimals and instants as text."""
    return msgspec.json.encode(value, order="sorted").decode()


def from_json(text: str) -> Any:
    """Plain values of JSON text."""
    return msgspec.json.decode(text)


def to_status_values(status: SymbolStatus) -> Values:
    """The columns of `STATUS_COLUMNS`."""
    at = status.last_update_at
    return (
        str(status.mode),
        status.idle_reason,
        status.updates_processed_count,
        status.updates_skipped_count,
        None if at is None else to_instant_text(at),
    )


def is_live(slot: Slot) -> bool:
    """Whether a strategy still remembers the slot; the others are kept for the record only."""
    return not slot.is_empty or slot.post_only_rejections > 0


def to_rows(result: CursorResult[Any]) -> list[Row]:
    """Every row by plain column name; SQLAlchemy's own names are a str that msgspec refuses."""
    names = [str(name) for name in result.keys()]  # noqa: SIM118  # a result is no mapping
    return [dict(zip(names, row, strict=True)) for row in result]


def to_order(row: Row) -> Order:
    """The order of an orders row."""
    return msgspec.convert({**row, "trade_ids": from_json(row["trade_ids"])}, Order)


def to_slot(row: Row) -> Slot:
    """The slot of a grid_slots row."""
    return msgspec.convert(row, Slot)


def to_incident(row: Row) -> Incident:
    """The incident of an incidents row."""
    return msgspec.convert(row, Incident)


def to_position(row: Row) -> Position:
    """The position of a positions row."""
    return msgspec.convert(row, Position)


def to_lane(row: Row) -> LaneRow:
    """The lane of a lanes row."""
    return msgspec.convert(row, LaneRow)


def to_journal_entry(row: Row) -> JournalEntry:
    """The entry of a journal row, without its chain digest."""
    return msgspec.convert(row, JournalEntry)


def to_symbol_state(
    row: Row,
    *,
    position: Position | None,
    orders: list[Order],
    slots: list[Slot],
    incidents: list[Incident],
) -> SymbolState:
    """One actor's state from its rows; parts never recorded have their defaults."""
    symbol = row["symbol"]
    parts: dict[str, Any] = {
        name: msgspec.json.decode(row[name], type=kind)
        for name, kind in SYMBOL_PARTS.items()
        if row[name] is not None
    }
    memory = parts.pop("memory", StrategyMemory())
    return SymbolState(
        symbol=symbol,
        position=position or Position(symbol=symbol),
        strategy=StrategyState(memory=memory, slots={slot.key: slot for slot in slots}),
        orders={order.client_order_id: order for order in orders},
        incidents={incident.id: incident for incident in incidents},
        **parts,
    )
