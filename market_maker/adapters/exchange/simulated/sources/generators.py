"""
Models of a mid price: random walk, geometric Brownian motion, mean reversion, jumps.

Each moves once every `frequency_ms`. Floats live only inside the models; `Printer` puts prices and
quantities on the instrument's grid.
"""

import math
import random
from collections.abc import Callable

from market_maker.adapters.exchange.simulated.settings import (
    GeometricBrownianSource,
    JumpSource,
    MeanReversionSource,
    RandomWalkSource,
)
from market_maker.adapters.exchange.simulated.sources.blocks import BLOCK_STEPS, State
from market_maker.adapters.exchange.simulated.sources.printing import Printer
from market_maker.adapters.exchange.simulated.sources.source import US_PER_MS, Tick
from market_maker.domain.instrument import Instrument

SECONDS_PER_DAY = 86_400
LOG_PRICE_SPAN = 20.0
"""A path may grow or shrink by e^20 at most, so that no float overflows on a long run."""

Step = Callable[[random.Random, float], float]
"""One step of a log price."""

GeneratorSettings = RandomWalkSource | GeometricBrownianSource | MeanReversionSource | JumpSource


class MidModel:
    """A `Model` whose whole state is the log of the mid price."""

    def __init__(self, settings: GeneratorSettings, instrument: Instrument) -> None:
        self._start = math.log(settings.start_price)
        self._step_us = settings.ticks.frequency_ms * US_PER_MS
        self._step = to_step(settings)
        self._printer = Printer(
            settings.ticks,
            instrument,
            spread_bps=settings.spread_bps,
            trade_quantity_base=settings.trade_quantity_base,
        )

    def begin(self) -> State:
        """Return the state before the first block."""
        return (self._start,)

    def play(
        self, generator: random.Random, state: State, *, block: int, sequence: int
    ) -> tuple[list[Tick], State]:
        """Return one block's ticks and the log mid after it."""
        ticks: list[Tick] = []
        log_mid = state[0]
        low, high = self._start - LOG_PRICE_SPAN, self._start + LOG_PRICE_SPAN
        at_us = block * BLOCK_STEPS * self._step_us
        for _ in range(BLOCK_STEPS):
            moved = min(max(self._step(generator, log_mid), low), high)
            sequence = self._printer.print_step(
                ticks.append,
                generator,
                at_us=at_us,
                sequence=sequence,
                mid=math.exp(moved),
                is_up=moved > log_mid or (moved == log_mid and generator.random() < 0.5),
            )
            log_mid = moved
            at_us += self._step_us
        return ticks, (log_mid,)


def to_step(settings: GeneratorSettings) -> Step:
    """Return the step of a log price over one `frequency_ms`."""
    days = settings.ticks.frequency_ms / 1_000 / SECONDS_PER_DAY
    if isinstance(settings, RandomWalkSource):
        return _random_walk(float(settings.step_bps_max) / 10_000)
    deviation = float(settings.volatility_per_day_ratio) * math.sqrt(days)
    if isinstance(settings, MeanReversionSource):
        pull = math.exp(-math.log(2) * days * SECONDS_PER_DAY / float(settings.half_life_s))
        # The step's variance under the pull, so that the figure means the same at any frequency.
        rate = -math.log(pull) / days
        pulled = float(settings.volatility_per_day_ratio) * math.sqrt((1 - pull**2) / (2 * rate))
        return _mean_reversion(math.log(settings.mean_price), pull, pulled)
    drift = float(settings.drift_per_day_ratio) * days
    if isinstance(settings, JumpSource):
        chance = 1 - math.exp(-float(settings.jumps_per_day) * days)
        return _jump(drift, deviation, chance, float(settings.jump_bps) / 10_000)
    return _brownian(drift, deviation)


def _random_walk(step_max: float) -> Step:
    return lambda generator, log_mid: log_mid + generator.uniform(-step_max, step_max)


def _brownian(drift: float, deviation: float) -> Step:
    return lambda generator, log_mid: log_mid + drift + generator.gauss(0.0, deviation)


def _mean_reversion(mean: float, pull: float, deviation: float) -> Step:
    return lambda generator, log_mid: (
        mean + (log_mid - mean) * pull + generator.gauss(0.0, deviation)
    )


def _jump(drift: float, deviation: float, chance: float, jump: float) -> Step:
    def step(generator: random.Random, log_mid: float) -> float:
        moved = log_mid + drift + generator.gauss(0.0, deviation)
        return moved + generator.gauss(0.0, jump) if generator.random() < chance else moved

    return step
