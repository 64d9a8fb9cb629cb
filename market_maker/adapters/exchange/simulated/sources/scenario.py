"""
Written scenarios: a market told step by step in a YAML or JSON file, for tests from the outside.

docs/howto/scenarios.md describes the file. Every value is read as text, so that no price passes
through a float. Steps are checked when the file is read; a mistake names the file and the line.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path

import yaml

from market_maker.adapters.exchange.simulated.settings import SPEED_MAX, ScenarioSource
from market_maker.adapters.exchange.simulated.sources.source import (
    FAULT_KINDS,
    FOREVER_US,
    US_PER_MS,
    FaultTick,
    GapTick,
    Level,
    Position,
    Tick,
    TopTick,
    TradeTick,
)
from market_maker.domain.errors import TapeError
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument

STEPS_MAX = 1_000_000
DEFAULT_STEP_MS = 100
BEGAN_AT = datetime(2024, 1, 1, tzinfo=UTC)

_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}

_Maker = Callable[[int, int], Tick]
"""Makes a step's tick from its time and sequence."""


@dataclass(slots=True)
class _Script:
    """Steps in order: (pause before it in ms, maker)."""

    instrument: Instrument
    path: Path
    step_ms: int = DEFAULT_STEP_MS
    last_price: Decimal | None = None
    pause_ms: int = 0

    def timed(self, maker: _Maker) -> tuple[int, _Maker]:
        """Give a step its time: the pause before it, and one step after."""
        pause_ms, self.pause_ms = self.pause_ms, self.step_ms
        return pause_ms, maker


class ScenarioReplay:
    """A `Source` that plays a scenario; raises `TapeError` for a file that is damaged."""

    def __init__(
        self, settings: ScenarioSource, instrument: Instrument, *, position: Position
    ) -> None:
        self._path = Path(settings.path).expanduser()
        root = _read(self._path)
        fields = _fields(root, self._path, {"steps", "step", "speed", "start_at", "at_end"})
        script = _Script(instrument, self._path)
        if "step" in fields:
            script.step_ms = _duration_ms(fields["step"], self._path)
        speed = _text(fields["speed"], self._path) if "speed" in fields else "1"
        self.is_paced = speed != SPEED_MAX
        self._speed = _speed(speed, root, self._path)
        self.began_at = _start_at(fields.get("start_at"), self._path)
        self._at_end = _choice(fields.get("at_end"), ("stop", "loop", "hold"), self._path)
        self._steps: list[tuple[int, _Maker]] = []
        at_ms = 0
        for pause_ms, maker in _steps(fields.get("steps"), root, script):
            at_ms += pause_ms
            self._steps.append((at_ms, maker))
            if len(self._steps) > STEPS_MAX:
                raise _bad(root, self._path, f"at most {STEPS_MAX} steps")
        if not self._steps:
            raise _bad(root, self._path, "at least one step")
        self._round_ms = at_ms + script.pause_ms
        self._index: int = position.get("index", 0)
        self._round: int = position.get("round", 0)

    def peek(self) -> int | None:
        """The time of the next step; `FOREVER_US` while the scenario holds at its end."""
        if self._index == len(self._steps):
            return FOREVER_US if self._at_end == "hold" else None
        at_us = (self._round * self._round_ms + self._steps[self._index][0]) * US_PER_MS
        return at_us * self._speed.denominator // self._speed.numerator

    def take(self) -> Tick:
        """The next step's tick."""
        at_us = self.peek()
        if at_us is None or at_us == FOREVER_US:
            raise TapeError(f"{self._path}: the scenario has ended")
        sequence = self._round * len(self._steps) + self._index
        tick = self._steps[self._index][1](at_us, sequence)
        self._index += 1
        if self._index == len(self._steps) and self._at_end == "loop":
            self._index = 0
            self._round += 1
        return tick

    def position(self) -> Position:
        """The number of the next step, and of the round that it is in."""
        return {"index": self._index, "round": self._round}


def _steps(
    node: yaml.Node | None, parent: yaml.Node, script: _Script
) -> Iterator[tuple[int, _Maker]]:
    if not isinstance(node, yaml.SequenceNode):
        raise _bad(node or parent, script.path, "steps: a list")
    for item in node.value:
        if not isinstance(item, yaml.MappingNode) or len(item.value) != 1:
            raise _bad(item, script.path, "a step with one key")
        name, value = item.value[0][0].value, item.value[0][1]
        if name == "wait":
            script.pause_ms += _duration_ms(value, script.path)
        elif name == "repeat":
            fields = _fields(value, script.path, {"count", "steps"})
            for _ in range(_count(fields.get("count"), value, script.path)):
                yield from _steps(fields.get("steps"), value, script)
        elif name in _STEPS:
            yield from (script.timed(maker) for maker in _STEPS[name](value, script))
        else:
            known = ", ".join(sorted((*_STEPS, "wait", "repeat")))
            raise _bad(item, script.path, f"one of {known}; found {name!r}")


def _price(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    yield _price_maker(_decimal(node, script.path), script)


def _prices(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    if not isinstance(node, yaml.SequenceNode):
        raise _bad(node, script.path, "a list of prices")
    for item in node.value:
        yield _price_maker(_decimal(item, script.path), script)


def _ramp(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    fields = _fields(node, script.path, {"start", "end", "count"}, are_required=True)
    start, end = (_decimal(fields[name], script.path) for name in ("start", "end"))
    count = _count(fields["count"], node, script.path)
    tick_size = script.instrument.tick_size
    for index in range(count):
        exact = start + (end - start) * index / max(count - 1, 1)
        ticks = (exact / tick_size).to_integral_value(ROUND_HALF_EVEN)
        yield _price_maker(ticks * tick_size, script)


def _trade(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    fields = _fields(node, script.path, {"price", "quantity", "side"}, are_required=True)
    price, quantity = (_decimal(fields[name], script.path) for name in ("price", "quantity"))
    side = Side(_choice(fields["side"], ("BUY", "SELL"), script.path))
    script.last_price = price
    yield lambda at_us, sequence: TradeTick(at_us, sequence, price, quantity, side)


def _book(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    known = {"bid", "bid_quantity", "ask", "ask_quantity", "bids", "asks"}
    fields = _fields(node, script.path, known)
    bids = _levels(fields, "bid", node, script)
    asks = _levels(fields, "ask", node, script)
    (bid, bid_quantity), (ask, ask_quantity) = bids[0], asks[0]
    if bid >= ask:
        raise _bad(node, script.path, f"bid {bid} below ask {ask}")
    depth = (bids, asks) if "bids" in fields or "asks" in fields else ((), ())
    yield lambda at_us, sequence: TopTick(
        at_us, sequence, bid, bid_quantity, ask, ask_quantity, *depth
    )


def _gap(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    reason = _text(node, script.path)
    yield lambda at_us, sequence: GapTick(at_us, sequence, reason)


def _fault(node: yaml.Node, script: _Script) -> Iterator[_Maker]:
    fields = _fields(node, script.path, {"kind", "count", "on"})
    if "kind" not in fields:
        raise _bad(node, script.path, "kind")
    kind = _choice(fields["kind"], FAULT_KINDS, script.path)
    count = _count(fields["count"], node, script.path) if "count" in fields else 1
    about = _choice(fields.get("on"), ("place", "cancel", "lookup"), script.path)
    yield lambda at_us, sequence: FaultTick(at_us, sequence, kind, count, about)


_STEPS: dict[str, Callable[[yaml.Node, _Script], Iterator[_Maker]]] = {
    "price": _price,
    "prices": _prices,
    "ramp": _ramp,
    "trade": _trade,
    "book": _book,
    "gap": _gap,
    "fault": _fault,
}


def _price_maker(price: Decimal, script: _Script) -> _Maker:
    before, script.last_price = script.last_price, price
    side = Side.SELL if before is not None and price < before else Side.BUY
    quantity = script.instrument.quantity_min
    return lambda at_us, sequence: TradeTick(at_us, sequence, price, quantity, side, True)


def _levels(
    fields: dict[str, yaml.Node], name: str, node: yaml.Node, script: _Script
) -> tuple[Level, ...]:
    several = fields.get(f"{name}s")
    if several is None:
        if name not in fields:
            raise _bad(node, script.path, f"{name} or {name}s")
        quantity = fields.get(f"{name}_quantity")
        return (
            (
                _decimal(fields[name], script.path),
                None if quantity is None else _decimal(quantity, script.path),
            ),
        )
    levels = []
    items = several.value if isinstance(several, yaml.SequenceNode) else []
    for item in items:
        if not isinstance(item, yaml.SequenceNode) or len(item.value) != 2:
            raise _bad(item, script.path, "[price, quantity]")
        price, held = (_decimal(part, script.path) for part in item.value)
        levels.append((price, held))
    if not levels:
        raise _bad(several, script.path, "a list of [price, quantity], best first")
    return tuple(levels)


def _read(path: Path) -> yaml.Node:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise TapeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TapeError(f"{path}: {' '.join(str(error).split())}") from error
    if root is None:
        raise TapeError(f"{path}:1: the scenario is empty")
    return root


def _fields(
    node: yaml.Node, path: Path, known: set[str], *, are_required: bool = False
) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _bad(node, path, f"keys out of {', '.join(sorted(known))}")
    fields = {key.value: value for key, value in node.value}
    if set(fields) - known or (are_required and set(fields) != known):
        raise _bad(node, path, f"keys out of {', '.join(sorted(known))}")
    return fields


def _text(node: yaml.Node, path: Path) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _bad(node, path, "a text")
    return str(node.value)


def _decimal(node: yaml.Node, path: Path) -> Decimal:
    try:
        value = Decimal(_text(node, path))
    except ArithmeticError as error:
        raise _bad(node, path, "a number above zero") from error
    if not value.is_finite() or value <= 0:
        raise _bad(node, path, "a number above zero")
    return value


def _count(node: yaml.Node | None, parent: yaml.Node, path: Path) -> int:
    text = "" if node is None else _text(node, path)
    if not text.isdecimal() or not 0 < int(text) <= STEPS_MAX:
        raise _bad(node or parent, path, f"count: a whole number from 1 to {STEPS_MAX}")
    return int(text)


def _duration_ms(node: yaml.Node, path: Path) -> int:
    match = _DURATION.fullmatch(_text(node, path))
    if match is None:
        raise _bad(node, path, "a duration such as 500ms, 2s, 1m or 1h")
    return int(match[1]) * _UNIT_MS[match[2]]


def _choice(node: yaml.Node | None, choices: tuple[str, ...], path: Path) -> str:
    text = choices[0] if node is None else _text(node, path)
    if text not in choices:
        raise _bad(node, path, f"one of {', '.join(choices)}")
    return text


def _speed(text: str, root: yaml.Node, path: Path) -> Fraction:
    if text == SPEED_MAX:
        return Fraction(1)
    try:
        speed = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise _bad(root, path, "speed: max or a number above zero") from error
    if speed <= 0:
        raise _bad(root, path, "speed: max or a number above zero")
    return speed


def _start_at(node: yaml.Node | None, path: Path) -> datetime:
    if node is None:
        return BEGAN_AT
    try:
        at = datetime.fromisoformat(_text(node, path))
    except ValueError as error:
        raise _bad(node, path, "start_at: a time such as 2024-01-01T00:00:00Z") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _bad(node: yaml.Node | None, path: Path, expected: str) -> TapeError:
    line = 1 if node is None else node.start_mark.line + 1
    return TapeError(f"{path}:{line}: expected {expected}")
