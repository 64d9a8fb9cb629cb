"""
Generated markets that can be killed: randomness comes in blocks, each seeded by its number.

A block is a pure function of (seed, symbol, block number, state at its start). The position of a
source is that state and an index, a few numbers; after a kill the block is generated again and the
path continues identically. Storing a random generator's own state would take 2,500 bytes a time.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from market_maker.adapters.exchange.simulated.sources.source import Position, Tick

BLOCK_STEPS = 256
GENERATED_BEGAN_AT = datetime(2024, 1, 1, tzinfo=UTC)
"""Generated markets have no calendar of their own; with lock-step their time begins here."""

State = Sequence[float]


class Model(Protocol):
    """What a generated market does in one block of `BLOCK_STEPS` steps."""

    def begin(self) -> State:
        """Return the state before the first block."""
        ...

    def play(
        self, generator: random.Random, state: State, *, block: int, sequence: int
    ) -> tuple[list[Tick], State]:
        """Return the block's ticks, numbered from `sequence`, and the state after it."""
        ...


class BlockSource:
    """A `Source` that plays a model block by block, for ever."""

    is_paced = True
    began_at = GENERATED_BEGAN_AT

    def __init__(self, model: Model, *, seed: str, position: Position) -> None:
        self._model = model
        self._seed = seed
        self._block: int = position.get("block", 0)
        self._sequence: int = position.get("sequence", 0)
        self._state: State = position.get("state") or model.begin()
        self._play()
        self._index: int = position.get("index", 0)
        self._skip_played()

    def peek(self) -> int:
        """The time of the next tick."""
        return self._ticks[self._index].at_us

    def take(self) -> Tick:
        """The next tick."""
        tick = self._ticks[self._index]
        self._index += 1
        if self._index == len(self._ticks):
            self._skip_played()
        return tick

    def position(self) -> Position:
        """What makes a new source continue with the next tick."""
        return {
            "block": self._block,
            "index": self._index,
            "sequence": self._sequence,
            "state": list(self._state),
        }

    def _skip_played(self) -> None:
        while self._index >= len(self._ticks):
            self._index -= len(self._ticks)
            self._sequence += len(self._ticks)
            self._block += 1
            self._state = self._next_state
            self._play()

    def _play(self) -> None:
        generator = random.Random(f"{self._seed}/{self._block}")
        self._ticks, self._next_state = self._model.play(
            generator, self._state, block=self._block, sequence=self._sequence
        )
