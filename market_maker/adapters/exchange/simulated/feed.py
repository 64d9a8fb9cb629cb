"""
Every symbol's source on one time line, in microseconds since the venue's market first opened.

A source that is replaced (other settings, another tape) begins anew at the present instant, under a
new generation, so that its updates' ids do not repeat old ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heapreplace

from market_maker.adapters.exchange.simulated.books.matching import Touch
from market_maker.adapters.exchange.simulated.settings import SimulatedSettings
from market_maker.adapters.exchange.simulated.sources.build import (
    build_source,
    fingerprint_of,
    speed_of,
)
from market_maker.adapters.exchange.simulated.sources.source import Source, Tick
from market_maker.adapters.exchange.simulated.storage import StoredMarket


@dataclass(slots=True, kw_only=True)
class Track:
    """One symbol's source and where its time 0 lies on the common line."""

    symbol: str
    source: Source
    offset_us: int
    generation: int
    fingerprint: str
    speed: str
    is_dirty: bool = True

    @property
    def prefix(self) -> str:
        """What the ids of this source's updates begin with."""
        return f"{self.symbol}:{self.generation or ''}"

    def to_stored(self, touch: Touch) -> StoredMarket:
        """Return what brings the track back."""
        return StoredMarket(
            fingerprint=self.fingerprint,
            speed=self.speed,
            generation=self.generation,
            offset_us=self.offset_us,
            position=self.source.position(),
            touch=touch.to_plain(),
        )


class Feed:
    """The merged ticks of all tracks; at the same instant the symbol listed first goes first."""

    def __init__(self, tracks: tuple[Track, ...]) -> None:
        self.tracks = tracks
        self.is_paced = all(track.source.is_paced for track in tracks)
        self._heads = [
            (track.offset_us + at_us, index)
            for index, track in enumerate(tracks)
            if (at_us := track.source.peek()) is not None
        ]
        heapify(self._heads)

    @property
    def began_at(self) -> datetime:
        """The instant of the common time 0 on the calendar of the symbol listed first."""
        return self.tracks[0].source.began_at

    def peek(self) -> int | None:
        """The time of the next tick; None when every source has ended."""
        return self._heads[0][0] if self._heads else None

    def take(self) -> tuple[Track, Tick, int]:
        """The next tick, its track and its time."""
        at_us, index = self._heads[0]
        track = self.tracks[index]
        tick = track.source.take()
        track.is_dirty = True
        following = track.source.peek()
        if following is None:
            heappop(self._heads)
        else:
            heapreplace(self._heads, (track.offset_us + following, index))
        return track, tick, at_us


def build_feed(
    settings: SimulatedSettings, stored: Mapping[str, StoredMarket], *, elapsed_us: int
) -> Feed:
    """Return the feed from the stored positions on; raises `TapeError`."""
    tracks = []
    for instrument in settings.instruments:
        fingerprint = fingerprint_of(instrument, seed=settings.seed)
        speed = speed_of(instrument)
        market = stored.get(instrument.symbol)
        is_same = market is not None and market.fingerprint == fingerprint
        source = build_source(
            instrument,
            seed=settings.seed,
            position=market.position if market is not None and is_same else {},
        )
        offset_us, generation = elapsed_us, 0
        if market is not None and is_same:
            offset_us, generation = market.offset_us, market.generation
            if market.speed != speed:
                offset_us = elapsed_us - (source.peek() or 0)
        elif market is not None:
            generation = market.generation + 1
        tracks.append(
            Track(
                symbol=instrument.symbol,
                source=source,
                offset_us=offset_us,
                generation=generation,
                fingerprint=fingerprint,
                speed=speed,
            )
        )
    return Feed(tuple(tracks))
