"""
The plain driver: the same three steps, with `record` alone made durable.

State is persisted before anything is acknowledged, but the input of a batch is not: after a crash
orders of an unrecorded batch are found by reconcile. For tests, backtests and the simulator.
"""

from typing import Any

from market_maker.engine.procedures import Procedures

Record = dict[str, Any]


class SimpleDriver:
    """Runs batches in the caller's task."""

    def __init__(self, procedures: Procedures) -> None:
        self._procedures = procedures

    @property
    def is_durable(self) -> bool:
        """No: a batch that was not recorded is forgotten."""
        return False

    async def launch(self, *, token: int) -> None:
        """Nothing to start."""

    async def run(self, workflow_id: str, batch: Record) -> None:
        """Decide, place and record."""
        self._procedures.marks.add(workflow_id)
        decided = self._procedures.decide(batch)
        answered: list[Record] = []
        if decided["cancels"] or decided["places"]:
            answered = await self._procedures.place(batch, decided)
        self._procedures.record(batch, decided, answered)
        self._procedures.marks.discard(workflow_id)

    async def is_unfinished(self, workflow_id: str) -> bool:  # noqa: ARG002
        """Nothing is ever left behind."""
        return False

    async def find_input(self, workflow_id: str) -> Record | None:  # noqa: ARG002
        """No input is ever left behind."""
        return None

    async def finish(self, workflow_id: str) -> None:
        """Nothing is ever left behind."""

    async def close(self) -> None:
        """Nothing to stop."""
