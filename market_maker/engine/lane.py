"""
The main flow: inbox → batch → durable workflow, strictly one after the other.

The moment a lane is free it takes all waiting updates of its actors and runs them as one workflow,
so that one journal write pays for hundreds of updates under load and for one when it is quiet. Its
workflows are numbered 1, 2, 3 … without gaps.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from market_maker.domain.events import (
    FillReported,
    OrderLookedUp,
    OrderReported,
    TimerFired,
    Update,
    VenueSnapshotTaken,
)
from market_maker.domain.order import Order
from market_maker.engine import records
from market_maker.engine.inbox import Inbox
from market_maker.engine.procedures import Pending, Procedures
from market_maker.engine.records import Batch
from market_maker.ports.clock import Clock
from market_maker.ports.driver import Driver, SequenceTaken
from market_maker.ports.failpoints import failpoint
from market_maker.ports.metrics import Metric, Metrics

ONE_MICROSECOND: Final = timedelta(microseconds=1)

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """Limits of one lane."""

    bot: str
    settings_version: int
    batch_updates_max: int
    batch_bytes_max: int


class Lane:
    """One sequential loop over the updates of its symbols."""

    def __init__(
        self,
        number: int,
        *,
        sequence: int,
        now: datetime,
        symbols: Iterable[str],
        settings: LaneSettings,
        inbox: Inbox,
        procedures: Procedures,
        driver: Driver,
        clock: Clock,
        metrics: Metrics,
        after_batch: Callable[["Lane", Pending], None],
    ) -> None:
        self.number = number
        self.sequence = sequence
        self.now = now
        self.symbols = tuple(symbols)
        self.inbox = inbox
        self.is_busy = False
        self.busy_since: float | None = None
        self._settings = settings
        self._procedures = procedures
        self._driver = driver
        self._clock = clock
        self._metrics = metrics
        self._after_batch = after_batch
        self._fired: dict[str, datetime] = {}
        self._stopping = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.is_busy and not len(self.inbox)

    async def run(self) -> None:
        """Process batches until stopped; what is running is finished first."""
        while not self._stopping:
            if not len(self.inbox):
                await self._wait()
            self._fire_timers()
            if len(self.inbox):
                await self.process_waiting()

    def stop(self) -> None:
        """End the loop after the running batch."""
        self._stopping = True
        self.inbox.arrived.set()

    async def process_waiting(self) -> None:
        """Journal, decide, place and record everything that waits, up to one batch."""
        self.is_busy, self.busy_since = True, time.monotonic()
        updates, skipped = self.inbox.take(
            self._settings.batch_updates_max, self._settings.batch_bytes_max
        )
        batch = Batch(
            bot=self._settings.bot,
            lane=self.number,
            sequence=self.sequence + 1,
            settings_version=self._settings.settings_version,
            now=max(self.now + ONE_MICROSECOND, self._clock.now()),
            updates=tuple(updates),
            skipped=skipped,
            loaded=await self._load_orders(updates),
        )
        failpoint("lane.before_journal")
        async with self._procedures.turn.held():
            batch = await self._run(batch)
        self.sequence, self.now = batch.sequence, batch.now
        pending = self._procedures.commit(batch.workflow_id)
        self._measure(batch)
        self._after_batch(self, pending)
        self.is_busy, self.busy_since = False, None

    async def finish_head(self) -> bool:
        """
        Complete what an earlier process started; says whether there was a workflow n+1.

        A process may also have died between the commit of n and its outcome: then n itself is
        finished, and its record step finds its own journal row.
        """
        if self.sequence and await self._driver.is_unfinished(self._workflow_id(self.sequence)):
            await self._finish(self._workflow_id(self.sequence))
        workflow_id = self._workflow_id(self.sequence + 1)
        record = await self._driver.find_input(workflow_id)
        if record is None:
            return False
        await self._finish(workflow_id)
        self.sequence += 1
        self.now = records.decode_batch(record).now
        return True

    async def _finish(self, workflow_id: str) -> None:
        record = await self._driver.find_input(workflow_id)
        if record is not None:
            await self._procedures.load_settings(record["settings_version"])
        _log.info("resuming_workflow", workflow_id=workflow_id)
        await self._driver.finish(workflow_id)

    async def _run(self, batch: Batch) -> Batch:
        """Run the batch under the next free number."""
        while True:
            try:
                await self._driver.run(batch.workflow_id, records.encode_batch(batch))
            except SequenceTaken:
                await self.finish_head()
                await self._procedures.load_states(self.symbols)
                batch = Batch(
                    bot=batch.bot,
                    lane=batch.lane,
                    sequence=self.sequence + 1,
                    settings_version=batch.settings_version,
                    now=max(self.now + ONE_MICROSECOND, batch.now),
                    updates=batch.updates,
                    skipped=batch.skipped,
                    # What the other workflow ended is no longer among the live orders.
                    loaded=await self._load_orders(batch.updates),
                )
            else:
                return batch

    async def _wait(self) -> None:
        """Sleep until an update arrives or a timer is due."""
        wake_at = min(self._due().values(), default=None)
        timeout = None
        if wake_at is not None:
            timeout = max((wake_at - self._clock.now()).total_seconds(), 0.0)
        try:
            await asyncio.wait_for(self.inbox.arrived.wait(), timeout)
        except TimeoutError:
            return

    def _due(self) -> Mapping[str, datetime]:
        """Wake times that have not been fired yet, by symbol."""
        due = {}
        for symbol in self.symbols:
            state = self._procedures.states.get(symbol)
            wake_at = state.status.wake_at if state is not None else None
            if wake_at is not None and self._fired.get(symbol) != wake_at:
                due[symbol] = wake_at
        return due

    def _fire_timers(self) -> None:
        now = self._clock.now()
        for symbol, wake_at in self._due().items():
            if wake_at > now:
                continue
            self._fired[symbol] = wake_at
            self.inbox.put(
                TimerFired(
                    id=f"{symbol}:timer:{wake_at.isoformat()}",
                    symbol=symbol,
                    exchange_at=None,
                    received_at=now,
                    due_at=wake_at,
                )
            )

    async def _load_orders(self, updates: Iterable[Update]) -> tuple[Order, ...]:
        """Orders that updates name and that are no longer in memory."""
        missing: dict[str, None] = {}
        for update in updates:
            for client_order_id in named_orders(update):
                state = self._procedures.states.get(update.symbol)
                if state is None or client_order_id not in state.orders:
                    missing[client_order_id] = None
        if not missing:
            return ()
        return await self._procedures.store.load_orders(tuple(missing))

    def _measure(self, batch: Batch) -> None:
        metrics, lane = self._metrics, str(self.number)
        metrics.count(Metric.WORKFLOWS, lane=lane)
        metrics.count(Metric.UPDATES, len(batch.updates), lane=lane)
        metrics.observe(Metric.BATCH_SIZE, len(batch.updates), lane=lane)
        metrics.gauge(Metric.INBOX_DEPTH, len(self.inbox), lane=lane)
        if batch.updates:
            latency = self._clock.now() - batch.updates[0].received_at
            metrics.observe(Metric.UPDATE_LATENCY, latency.total_seconds(), lane=lane)

    def _workflow_id(self, sequence: int) -> str:
        return f"{self._settings.bot}/{self.number}/{sequence:09d}"


def named_orders(update: Update) -> tuple[str, ...]:
    """Client order ids that one update is about."""
    match update:
        case OrderReported(report=report):
            return (report.client_order_id,)
        case FillReported(fill=fill):
            return (fill.client_order_id,)
        case OrderLookedUp(client_order_id=client_order_id):
            return (client_order_id,)
        case VenueSnapshotTaken():
            return (
                *(report.client_order_id for report in update.open_orders),
                *(fill.client_order_id for fill in update.fills),
            )
        case _:
            return ()


def lane_for(symbol: str, lane_count: int) -> int:
    """The lane that hosts a symbol, by a hash that never changes."""
    digest = hashlib.blake2b(symbol.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % lane_count
