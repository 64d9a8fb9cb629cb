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
from dataclasses import dataclass, field
from decimal import Decimal

from market_maker.adapters.exchange.simulated.settings import (
    FittedSource,
    FullDepthTicks,
    SimpleTicks,
)
from market_maker.adapters.exchange.simulated.sources.blocks import BLOCK_STEPS, State
from market_maker.adapters.exchange.simulated.sources.profiles import (
    PROFILES,
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
class _Run:
    """
    One block while it is played: where the market is, and the ticks so far.

    `next_s` (the next order) and `narrow_s` (when a wide spread closes) count from `began_us`.
    """

    generator: random.Random
    began_us: int
    sequence: int
    log_mid: float
    excess_per_s: float
    next_s: float
    fast: float
    slow: float
    spread_bps: float
    narrow_s: float
    ticks: list[Tick] = field(default_factory=list, init=False)

    @property
    def next_sequence(self) -> int:
        return self.sequence + len(self.ticks)

    def at_us(self, block_s: float) -> int:
        return self.began_us + int(block_s * US_PER_S)

    def to_state(self, block_s: float) -> State:
        """What the block that begins `block_s` later starts from."""
        return (
            self.log_mid,
            self.excess_per_s,
            self.next_s - block_s,
            self.fast,
            self.slow,
            self.spread_bps,
            self.narrow_s - block_s,
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
        return (self._start, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0)

    def play(
        self, generator: random.Random, state: State, *, block: int, sequence: int
    ) -> tuple[list[Tick], State]:
        """Return one block's ticks and the state after it."""
        run = _Run(generator, block * BLOCK_STEPS * self._step_us, sequence, *state)
        step_s = self._step_us / US_PER_S
        for step in range(BLOCK_STEPS):
            ends_s = (step + 1) * step_s
            while run.next_s < ends_s:
                self._narrow(run, run.next_s)
                self._play_order(run)
                run.next_s += self._wait_s(run)
            self._narrow(run, ends_s)
            self._show(run, run.began_us + (step + 1) * self._step_us - 1)
        return run.ticks, run.to_state(BLOCK_STEPS * step_s)

    def _wait_s(self, run: _Run) -> float:
        """
        Draw the time to the next order and let the excitement decay over it.

        The exact method for exponential kernels: the earlier of an arrival from the base rate and
        one from the excess, which may never come (Dassios and Zhao, 2013).
        """
        decay = self._profile.decay_per_s
        wait_s = -math.log(1.0 - run.generator.random()) / self._base_rate
        if run.excess_per_s > 0:
            left = 1.0 + decay * math.log(1.0 - run.generator.random()) / run.excess_per_s
            if left > 0:
                wait_s = min(wait_s, -math.log(left) / decay)
        run.excess_per_s *= math.exp(-decay * wait_s)
        return wait_s

    def _play_order(self, run: _Run) -> None:
        """One market order: its prints, and the mid and spread after it."""
        run.excess_per_s += self._jump
        sign, surprise = self._draw_side(run)
        bid, ask = self._touch(run)
        has_moved = run.generator.random() < self._profile.move_ratio
        if has_moved:
            self._move(run, sign, surprise)
        if self._is_simple:
            return
        new_bid, new_ask = self._touch(run)
        # An order that moves the price its own way walks the book: its last print is at the new
        # touch. Otherwise everything prints at the touch it found.
        if sign > 0:
            self._print(run, Side.BUY, ask, max(new_bid, ask))
        else:
            self._print(run, Side.SELL, bid, min(new_ask, bid))
        if has_moved:
            self._show(run, run.at_us(run.next_s))

    def _move(self, run: _Run, sign: int, surprise: float) -> None:
        """Move the mid, leaning to the order's side as far as that was not to be expected."""
        profile, generator = self._profile, run.generator
        move_bps = self._moves.draw(generator) * profile.move_scale
        leaning = 0.5 + 0.5 * profile.impact_ratio * surprise * sign
        direction = sign if generator.random() < leaning else -sign
        low, high = self._start - LOG_PRICE_SPAN, self._start + LOG_PRICE_SPAN
        run.log_mid = min(max(run.log_mid + direction * move_bps / 10_000, low), high)
        if generator.random() < profile.wide_spread_ratio:
            run.spread_bps = self._spreads.draw(generator)
            run.narrow_s = run.next_s + profile.wide_spread_s

    def _print(self, run: _Run, side: Side, first: int, last: int) -> None:
        """Print an order's trades, from one price (in ticks) to another."""
        count = max(int(self._prints.draw(run.generator)), 1)
        at_us, mid = run.at_us(run.next_s), math.exp(run.log_mid)
        for index in range(1, count + 1):
            price = (first + (last - first) * index // count) * self._tick_size
            quantity = self._to_quantity(self._notionals.draw(run.generator) / mid)
            run.ticks.append(TradeTick(at_us, run.next_sequence, price, quantity, side))

    def _draw_side(self, run: _Run) -> tuple[int, float]:
        """Draw +1 or −1, and how far that is from what the regimes let expect."""
        profile, generator = self._profile, run.generator
        expected = (
            profile.side_fast_ratio * profile.side_fast_persistence * run.fast
            + profile.side_slow_ratio * profile.side_slow_persistence * run.slow
        )
        if generator.random() >= profile.side_fast_persistence:
            run.fast = _even(generator)
        if generator.random() >= profile.side_slow_persistence:
            run.slow = _even(generator)
        draw = generator.random()
        if draw < profile.side_fast_ratio:
            side = run.fast
        elif draw < profile.side_fast_ratio + profile.side_slow_ratio:
            side = run.slow
        else:
            side = _even(generator)
        return int(side), side - expected

    def _narrow(self, run: _Run, before_s: float) -> None:
        """Close a wide spread whose time has come before this instant."""
        if run.spread_bps and run.narrow_s < before_s:
            run.spread_bps = 0.0
            if not self._is_simple:
                self._show(run, run.at_us(run.narrow_s))

    def _touch(self, run: _Run) -> tuple[int, int]:
        """Return bid and ask in ticks: one tick apart unless the spread is wide just now."""
        mid = math.exp(run.log_mid) / self._tick
        half = mid * run.spread_bps / 20_000
        bid = max(math.floor(mid - half), 1)
        return bid, max(math.ceil(mid + half), bid + 1)

    def _show(self, run: _Run, at_us: int) -> None:
        """Show the touch and, if the format has them, the levels behind."""
        bid, ask = self._touch(run)
        mid = math.exp(run.log_mid)
        if self._is_simple:
            side = Side.BUY if run.fast > 0 else Side.SELL
            nominal = self._to_quantity(self._notionals.draw(run.generator) / mid)
            price = bid * self._tick_size
            run.ticks.append(TradeTick(at_us, run.next_sequence, price, nominal, side, True))
            return
        bids = self._draw_levels(run, bid, -1, mid)
        asks = self._draw_levels(run, ask, 1, mid)
        depth = (bids, asks) if self._level_count else ((), ())
        run.ticks.append(TopTick(at_us, run.next_sequence, *bids[0], *asks[0], *depth))

    def _draw_levels(self, run: _Run, ticks: int, direction: int, mid: float) -> tuple[Level, ...]:
        return tuple(
            (
                (ticks + direction * index) * self._tick_size,
                self._to_quantity(self._levels_notional.draw(run.generator) / mid),
            )
            for index in range(self._level_count or 1)
            if ticks + direction * index > 0
        )

    def _to_quantity(self, quantity: float) -> Decimal:
        return max(round(quantity / self._lot), 1) * self._lot_size


def _even(generator: random.Random) -> float:
    return 1.0 if generator.random() < 0.5 else -1.0
