"""How a batch's three steps are run: durably, or plainly."""

from dataclasses import dataclass
from typing import Any, Protocol

from market_maker.domain.errors import MarketMakerError


class SequenceTaken(MarketMakerError):
    """A workflow of this id exists; finish it and give the batch the next number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverDatabase:
    """Where a durable driver keeps its own tables: a url, and an engine where it is shared."""

    url: str
    engine: Any = None
    pool_size: int = 20


class Driver(Protocol):
    """Runs one batch as one workflow."""

    @property
    def is_durable(self) -> bool:
        """Whether the input of a batch survives the process."""
        ...

    async def launch(self, *, token: int) -> None:
        """Get ready inside the running loop; nothing starts by itself."""
        ...

    async def run(self, workflow_id: str, batch: dict[str, Any]) -> None:
        """Decide, place and record; raises `SequenceTaken` if the id exists."""
        ...

    async def is_unfinished(self, workflow_id: str) -> bool:
        """Whether a workflow exists that has been started and not completed."""
        ...

    async def find_input(self, workflow_id: str) -> dict[str, Any] | None:
        """The journaled input of a workflow or None; raises `StoreError` for an illegal state."""
        ...

    async def finish(self, workflow_id: str) -> None:
        """Complete what an earlier process started."""
        ...

    async def close(self) -> None:
        """Stop."""
        ...
