"""
Lets the market pass: at its pace, as fast as possible, or in lock-step with the bot.

All sources lie on one line of elapsed microseconds. With a pace, an anchor ties that line to wall
time; what passed while no process had the file open lies before the present, and is played first.
As fast as possible, events carry the present. In lock-step the venue's clock *is* the market's time
and k updates pass whenever the bot is idle, so that two runs can be compared exactly.

The failure this prevents: a bot that looks safe in tests because its market waits for it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from market_maker.adapters.exchange.simulated.durable import DurableVenue
from market_maker.adapters.exchange.simulated.faults import Fault, Faults
from market_maker.adapters.exchange.simulated.settings import SimulatedSettings
from market_maker.adapters.exchange.simulated.sources.source import FOREVER_US, FaultTick, GapTick
from market_maker.adapters.exchange.simulated.storage import StoredVenue
from market_maker.adapters.exchange.simulated.streams import Streams
from market_maker.domain.errors import ExchangeUnavailable, TapeError
from market_maker.domain.events import Update
from market_maker.ports.clock import Clock

GROUP_TICKS_MAX = 256
"""Ticks between two turns of the event loop: a few milliseconds of work."""
SAVE_INTERVAL_S = 1.0
PAUSE_S_MIN = 0.001
PAUSE_S_MAX = 1.0
PROGRESS_INTERVAL_S = 1.0
SHOWN_MIN = timedelta(seconds=1)
"""Nobody needs to be told of a shorter absence."""
US = timedelta(microseconds=1)
NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """How far the market that passed while nobody was here has been played."""

    played: timedelta
    total: timedelta
    ticks_count: int


ProgressSink = Callable[[CatchUp], None]


class Driver:
    """The pace of one open venue. Only `run` and `catch_up` await."""

    def __init__(
        self,
        venue: DurableVenue,
        stored: StoredVenue,
        settings: SimulatedSettings,
        *,
        clock: Clock,
        faults: Faults,
        streams: Streams,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._faults = faults
        self._streams = streams
        self._skew = settings.faults.clock_skew
        self._began_at = stored.began_at
        self._lock_step = settings.lock_step
        self._credit = settings.lock_step or 0
        self._released = asyncio.Event()
        self._saved_s = clock.boottime()
        at = clock.now()
        missed = NO_TIME
        if settings.while_closed == "run" and self.is_paced:
            missed = min(max(at - stored.elapsed_at, NO_TIME), settings.while_closed_max)
        # With a missed market the anchor lies in the past, and what it missed is simply due.
        self._anchor_us = stored.elapsed_us
        self._anchor_at = at - missed
        self._missed = missed
        venue.wall_at = self._wall_at

    # --- time ---

    @property
    def is_paced(self) -> bool:
        """Whether the market waits for wall time."""
        return self._venue.feed.is_paced and self._lock_step is None

    def now(self) -> datetime:
        """Return the venue's clock, skew included."""
        return self.local_now() + self._skew

    def local_now(self) -> datetime:
        """Return true time: the wall's, or the market's in lock-step."""
        if self._lock_step is not None:
            return self._began_at + self._venue.elapsed_us * US
        return self._clock.now()

    def _due_us(self) -> int:
        """The market's time that wall time has come to."""
        return self._anchor_us + (self._clock.now() - self._anchor_at) // US

    # --- passing ---

    @property
    def is_waiting(self) -> bool:
        """In lock-step: whether everything that was released has passed and been told."""
        return self._lock_step is not None and not self._credit

    def release(self, count: int | None = None) -> None:
        """In lock-step: let the next updates go, `lock_step` of them unless told otherwise."""
        if self._lock_step is not None:
            self._credit = self._lock_step if count is None else count
            self._released.set()

    async def catch_up(self, progress: ProgressSink | None) -> None:
        """Play the market that passed while nobody had the file open; fills are committed."""
        if not self._missed:
            return
        ticks_count, shown_s = 0, self._clock.boottime()
        while passed := self.advance(self._due_us(), GROUP_TICKS_MAX * 16):
            ticks_count += passed
            now_s = self._clock.boottime()
            if progress is not None and now_s - shown_s >= PROGRESS_INTERVAL_S:
                shown_s = now_s
                progress(self._catch_up(ticks_count))
            await asyncio.sleep(0)
        if progress is not None and self._missed >= SHOWN_MIN:
            progress(self._catch_up(ticks_count))

    async def run(self) -> None:
        """Let the market pass until every source has ended; raises what `advance` raises."""
        await asyncio.sleep(0)  # Listeners that come in the same turn hear the first tick too.
        while (next_us := self._venue.feed.peek()) is not None:
            if next_us >= FOREVER_US:
                await asyncio.sleep(PAUSE_S_MAX)
            elif self._lock_step is not None:
                await self._step()
            elif not self.is_paced:
                self.advance(None, GROUP_TICKS_MAX)
                await asyncio.sleep(0)
            elif self.advance(self._due_us(), GROUP_TICKS_MAX) == GROUP_TICKS_MAX:
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(self._pause_s())
        self._venue.store(ExchangeUnavailable)
        self._streams.flush()

    def advance(self, limit_us: int | None, ticks_max: int) -> int:
        """
        Let at most `ticks_max` ticks pass up to `limit_us`, store, tell; return how many passed.

        Raises `ExchangeUnavailable` if the file failed (the market then goes back to what it
        stored) and `TapeError` at a damaged place, after everything before it was stored and told.
        """
        venue, feed = self._venue, self._venue.feed
        told: list[Update] | None = None if self._streams.is_empty else []
        local_at = self._clock.now()
        count, damage = 0, None
        limit = FOREVER_US - 1 if limit_us is None else limit_us
        while count < ticks_max:
            at_us = feed.peek()
            if at_us is None or at_us > limit:
                break
            try:
                track, tick, at_us = feed.take()
            except TapeError as error:
                damage = error
                break
            count += 1
            venue.elapsed_us = max(venue.elapsed_us, at_us)
            exchange_at, received_at = self._stamps(at_us, local_at)
            if isinstance(tick, FaultTick):
                self._faults.force(Fault(tick.kind), tick.hit_count, about=tick.about)
            elif not isinstance(tick, GapTick):
                venue.apply(
                    track, tick, exchange_at=exchange_at, received_at=received_at, told=told
                )
            elif told is not None:
                told.append(
                    self._streams.to_gap(
                        track.symbol,
                        tick.reason,
                        exchange_at=exchange_at,
                        received_at=received_at,
                    )
                )
        self._store_if_due(count)
        if told:
            self._streams.deliver(told)
        if damage is not None:
            raise damage
        return count

    # --- private ---

    async def _step(self) -> None:
        while not self._credit:
            self._released.clear()
            await self._released.wait()
        self._credit -= self.advance(None, self._credit)
        await asyncio.sleep(0)

    def _pause_s(self) -> float:
        next_us = self._venue.feed.peek()
        if next_us is None:
            return 0
        seconds = (next_us - self._due_us()) / 1_000_000
        return min(max(seconds, PAUSE_S_MIN), PAUSE_S_MAX)

    def _stamps(self, at_us: int, local_at: datetime) -> tuple[datetime, datetime]:
        """The venue's time of a tick and ours of hearing of it."""
        if self._lock_step is not None:
            at = self._began_at + self._venue.elapsed_us * US
            return at + self._skew, at
        if self._venue.feed.is_paced:
            # A request may have come in before a tick that was due earlier: time never goes back.
            return max(self._wall_at(at_us) + self._skew, self._venue.last_at), local_at
        return local_at + self._skew, local_at

    def _wall_at(self, at_us: int) -> datetime:
        """Which wall time the market's time stands for, so that the next opening knows the rest."""
        if not self.is_paced:
            return self._clock.now()
        return self._anchor_at + (at_us - self._anchor_us) * US

    def _store_if_due(self, count: int) -> None:
        now_s = self._clock.boottime()
        is_due = count > 0 and now_s - self._saved_s >= SAVE_INTERVAL_S
        if self._venue.venue.has_changes or is_due:
            self._saved_s = now_s
            self._venue.store(ExchangeUnavailable)

    def _catch_up(self, ticks_count: int) -> CatchUp:
        played = (self._venue.elapsed_us - self._anchor_us) * US
        return CatchUp(
            played=min(played, self._missed), total=self._missed, ticks_count=ticks_count
        )
