"""
A market that resembles a recorded one: clustered orders, persistent sides, heavy-tailed sizes.

Idea. Market orders arrive as a Hawkes process (each makes the next more likely for a while). An
order has a side that follows a fast or a slow regime, some prints, and sometimes moves the mid, in
the direction of what was *unexpected* about its side: sides may then persist for long, as they do
in reality, and the price still does not trend. Sizes, prints, moves and spreads are drawn from the
measured quantiles. Notionals are fitted, so that the model fits an instrument at any price.

docs/fitted-market.md says how the figures were found (scripts/fit_market.py) and how close it gets.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from market_maker.adapters.exchange.simulated.settings import (
    FittedSource,
    FullDepthTicks,
    SimpleTicks,
)
from market_maker.adapters.exchange.simulated.sources.blocks import BLOCK_STEPS, State
from market_maker.adapters.exchange.simulated.sources.profiles import (
    PROFILES,
    FittedProfile,
    Quantiles,
)
from market_maker.adapters.exchange.simulated.sources.source import (
    US_PER_MS,
    Level,
    Tick,
    TopTick,
    TradeTick,
)
from market_maker.domain.errors import ConfigError
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument

US_PER_S = 1_000_000
LOG_PRICE_SPAN = 20.0
"""A path may grow or shrink by e^20 at most, so that no float overflows on a long run."""


class Sampler:
    """Draws from measured quantiles, with straight lines between them in the logarithm."""

    def __init__(self, quantiles: Quantiles) -> None:
        self._ratios = [ratio for ratio, _ in quantiles]
        self._logs = [math.log(value) for _, value in quantiles]

    def draw(self, generator: random.Random) -> float:
        """Return one value."""
        ratio = generator.random()
        ratios, logs = self._ratios, self._logs
        index = min(bisect_right(ratios, ratio), len(ratios) - 1)
        low, high = ratios[index - 1], ratios[index]
        share = (ratio - low) / (high - low)
        return math.exp(logs[index - 1] + (logs[index] - logs[index - 1]) * share)


@dataclass(slots=True)
class _Path:
    """Where the market is; `next_s` (order) and `narrow_s` (spread) count from the block's start."""

    log_mid: float
    excess_per_s: float
    next_s: float
    fast: float
    slow: float
    spread_bps: float
    narrow_s: float

    def to_state(self) -> State:
        return (
            self.log_mid,
            self.excess_per_s,
            self.next_s,
            self.fast,
            self.slow,
            self.spread_bps,
            self.narrow_s,
        )


class FittedModel:
    """A `Model` of the market that the settings' profile describes."""

    def __init__(self, settings: FittedSource, instrument: Instrument) -> None:
        profile = PROFILES.get(settings.profile)
        if profile is None:
            known = ", ".join(sorted(PROFILES))
            raise ConfigError(f"market profile {settings.profile!r} is unknown; known are {known}")
        self._profile = profile
        self._start = math.log(settings.start_price)
        self._step_us = settings.ticks.frequency_ms * US_PER_MS
        self._is_simple = isinstance(settings.ticks, SimpleTicks)
        ticks = settings.ticks
        self._level_count = ticks.level_count if isinstance(ticks, FullDepthTicks) else 0
        self._prints = Sampler(profile.prints_per_order)
        self._notionals = Sampler(profile.trade_notional_quote)
        self._levels_notional = Sampler(profile.level_notional_quote)
        self._moves = Sampler(profile.move_bps)
        self._spreads = Sampler(profile.wide_spread_bps)
        self._tick_size, self._lot_size = instrument.tick_size, instrument.lot_size
        self._tick, self._lot = float(instrument.tick_size), float(instrument.lot_size)
        self._base_rate = profile.orders_per_s * (1 - profile.branching_ratio)
        self._jump = profile.branching_ratio * profile.decay_per_s

    def begin(self) -> State:
        """Return the state before the first block."""
        return _Path(self._start, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0).to_state()

    def play(
        self, generator: random.Random, state: State, *, block: int, sequence: int
    ) -> tuple[list[Tick], State]:
        """Return one block's ticks and the state after it."""
        path = _Path(*state)
        ticks: list[Tick] = []
        began_us = block * BLOCK_STEPS * self._step_us
        step_s = self._step_us / US_PER_S
        for step in range(BLOCK_STEPS):
            ends_s = (step + 1) * step_s
            while path.next_s < ends_s:
                self._narrow(generator, path, ticks, path.next_s, began_us, sequence)
                at_us = began_us + int(path.next_s * US_PER_S)
                self._play_order(generator, path, ticks, at_us, sequence + len(ticks))
                path.next_s += self._wait_s(generator, path)
            self._narrow(generator, path, ticks, ends_s, began_us, sequence)
            at_us = began_us + (step + 1) * self._step_us - 1
            self._show(generator, path, ticks, at_us, sequence + len(ticks))
        path.next_s -= BLOCK_STEPS * step_s
        path.narrow_s -= BLOCK_STEPS * step_s
        return ticks, path.to_state()

    def _wait_s(self, generator: random.Random, path: _Path) -> float:
        """
        Draw the time to the next order and let the excitement decay over it.

        The exact method for exponential kernels: the earlier of an arrival from the base rate and
        one from the excess, which may never come (Dassios and Zhao, 2013).
        """
        decay = self._profile.decay_per_s
        wait_s = -math.log(1.0 - generator.random()) / self._base_rate
        if path.excess_per_s > 0:
            left = 1.0 + decay * math.log(1.0 - generator.random()) / path.excess_per_s
            if left > 0:
                wait_s = min(wait_s, -math.log(left) / decay)
        path.excess_per_s = path.excess_per_s * math.exp(-decay * wait_s)
        return wait_s

    def _narrow(
        self,
        generator: random.Random,
        path: _Path,
        ticks: list[Tick],
        before_s: float,
        began_us: int,
        sequence: int,
    ) -> None:
        """Close a wide spread whose time has come before this instant."""
        if path.spread_bps and path.narrow_s < before_s:
            path.spread_bps = 0.0
            if not self._is_simple:
                at_us = began_us + int(path.narrow_s * US_PER_S)
                self._show(generator, path, ticks, at_us, sequence + len(ticks))

    def _play_order(
        self,
        generator: random.Random,
        path: _Path,
        ticks: list[Tick],
        at_us: int,
        sequence: int,
    ) -> None:
        """One market order: its prints, and the mid and spread after it."""
        path.excess_per_s += self._jump
        sign, surprise = self._draw_side(generator, path)
        bid, ask = self._touch(path)
        move_bps = 0.0
        if generator.random() < self._profile.move_ratio:
            move_bps = self._moves.draw(generator) * self._profile.move_scale
            if generator.random() >= 0.5 + 0.5 * self._profile.impact_ratio * surprise * sign:
                sign_of_move = -sign
            else:
                sign_of_move = sign
            moved = path.log_mid + sign_of_move * move_bps / 10_000
            path.log_mid = min(
                max(moved, self._start - LOG_PRICE_SPAN), self._start + LOG_PRICE_SPAN
            )
            if generator.random() < self._profile.wide_spread_ratio:
                path.spread_bps = self._spreads.draw(generator)
                path.narrow_s = path.next_s + self._profile.wide_spread_s
        new_bid, new_ask = self._touch(path)
        if self._is_simple:
            return
        # An order that moves the price its own way walks the book: its last print is at the new
        # touch. Otherwise everything prints at the touch it found.
        first = ask if sign > 0 else bid
        last = max(new_bid, first) if sign > 0 else min(new_ask, first)
        side = Side.BUY if sign > 0 else Side.SELL
        count = max(int(self._prints.draw(generator)), 1)
        mid = math.exp(path.log_mid)
        for index in range(count):
            at = first + (last - first) * (index + 1) // count if count > 1 else last
            quantity = self._to_quantity(self._notionals.draw(generator) / mid)
            price = at * self._tick_size
            ticks.append(TradeTick(at_us, sequence + index, price, quantity, side))
        if move_bps:
            self._show(generator, path, ticks, at_us, sequence + count)

    def _draw_side(self, generator: random.Random, path: _Path) -> tuple[int, float]:
        """Draw +1 or −1, and how far that is from what the regimes let expect."""
        profile = self._profile
        expected = (
            profile.side_fast_ratio * profile.side_fast_persistence * path.fast
            + profile.side_slow_ratio * profile.side_slow_persistence * path.slow
        )
        if generator.random() >= profile.side_fast_persistence:
            path.fast = 1.0 if generator.random() < 0.5 else -1.0
        if generator.random() >= profile.side_slow_persistence:
            path.slow = 1.0 if generator.random() < 0.5 else -1.0
        draw = generator.random()
        if draw < profile.side_fast_ratio:
            side = path.fast
        elif draw < profile.side_fast_ratio + profile.side_slow_ratio:
            side = path.slow
        else:
            side = 1.0 if generator.random() < 0.5 else -1.0
        return int(side), side - expected

    def _touch(self, path: _Path) -> tuple[int, int]:
        """Return bid and ask in ticks: one tick apart unless the spread is wide just now."""
        mid = math.exp(path.log_mid) / self._tick
        half = mid * path.spread_bps / 20_000
        bid = max(math.floor(mid - half), 1)
        return bid, max(math.ceil(mid + half), bid + 1)

    def _show(
        self,
        generator: random.Random,
        path: _Path,
        ticks: list[Tick],
        at_us: int,
        sequence: int,
    ) -> None:
        bid, ask = self._touch(path)
        mid = math.exp(path.log_mid)
        if self._is_simple:
            price = bid * self._tick_size
            side = Side.BUY if path.fast > 0 else Side.SELL
            nominal = self._to_quantity(self._notionals.draw(generator) / mid)
            ticks.append(TradeTick(at_us, sequence, price, nominal, side, True))
            return
        bids = self._draw_levels(generator, bid, -1, mid)
        asks = self._draw_levels(generator, ask, 1, mid)
        ticks.append(
            TopTick(
                at_us,
                sequence,
                bids[0][0],
                bids[0][1],
                asks[0][0],
                asks[0][1],
                bids if self._level_count else (),
                asks if self._level_count else (),
            )
        )

    def _draw_levels(
        self, generator: random.Random, ticks: int, direction: int, mid: float
    ) -> Sequence[Level] | tuple[Level, ...]:
        return tuple(
            (
                (ticks + direction * index) * self._tick_size,
                self._to_quantity(self._levels_notional.draw(generator) / mid),
            )
            for index in range(self._level_count or 1)
            if ticks + direction * index > 0
        )

    def _to_quantity(self, quantity: float) -> Decimal:
        return max(round(quantity / self._lot), 1) * self._lot_size


__all__ = ["FittedModel", "FittedProfile", "Sampler"]
