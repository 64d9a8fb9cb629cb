"""
Turns a model's mid price into ticks on the instrument's grid, in one of the tick formats.

Floats end here: prices leave as whole ticks (bids down, asks up), quantities as whole lots.
"""

import math
import random
from collections.abc import Callable
from decimal import Decimal

from market_maker.adapters.exchange.simulated.settings import (
    FullDepthTicks,
    SimpleTicks,
    Ticks,
)
from market_maker.adapters.exchange.simulated.sources.source import (
    Level,
    Tick,
    TopTick,
    TradeTick,
)
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument

BOOK_TO_TRADE_QUANTITY = 10
"""A level holds this many mean trades: enough that a queue takes a while to pass."""


class Printer:
    """Prints steps of a mid price in one format; quantities are exponential around their mean."""

    def __init__(
        self,
        ticks: Ticks,
        instrument: Instrument,
        *,
        spread_bps: Decimal,
        trade_quantity_base: Decimal,
    ) -> None:
        self._tick_size = instrument.tick_size
        self._lot_size = instrument.lot_size
        self._tick = float(instrument.tick_size)
        self._half_spread_ratio = float(spread_bps) / 20_000
        self._trade_lots = float(trade_quantity_base / instrument.lot_size)
        self._nominal = self._to_quantity(self._trade_lots)
        self._level_count = ticks.level_count if isinstance(ticks, FullDepthTicks) else 0
        self._is_simple = isinstance(ticks, SimpleTicks)

    def print_step(
        self,
        out: Callable[[Tick], None],
        generator: random.Random,
        *,
        at_us: int,
        sequence: int,
        mid: float,
        is_up: bool,
    ) -> int:
        """Emit one step's ticks; return the sequence after them."""
        side = Side.BUY if is_up else Side.SELL
        if self._is_simple:
            price = self._to_price(max(round(mid / self._tick), 1))
            out(TradeTick(at_us, sequence, price, self._nominal, side, True))
            return sequence + 1
        bid_ticks = max(math.floor(mid * (1 - self._half_spread_ratio) / self._tick), 1)
        ask_ticks = max(math.ceil(mid * (1 + self._half_spread_ratio) / self._tick), bid_ticks + 1)
        bid, ask = self._to_price(bid_ticks), self._to_price(ask_ticks)
        bids = self._levels(generator, bid_ticks, -1, ask_ticks - bid_ticks)
        asks = self._levels(generator, ask_ticks, 1, ask_ticks - bid_ticks)
        out(
            TopTick(
                at_us,
                sequence,
                bid,
                bids[0][1],
                ask,
                asks[0][1],
                bids if self._level_count else (),
                asks if self._level_count else (),
            )
        )
        quantity = self._to_quantity(generator.expovariate(1.0) * self._trade_lots)
        out(TradeTick(at_us, sequence + 1, ask if is_up else bid, quantity, side))
        return sequence + 2

    def _levels(
        self, generator: random.Random, ticks: int, direction: int, spread_ticks: int
    ) -> tuple[Level, ...]:
        gap = max(spread_ticks // 2, 1)
        mean = self._trade_lots * BOOK_TO_TRADE_QUANTITY
        levels = []
        for index in range(self._level_count or 1):
            at = ticks + direction * gap * index
            if at < 1:
                break
            quantity = self._to_quantity(generator.expovariate(1.0) * mean * (1 + index))
            levels.append((self._to_price(at), quantity))
        return tuple(levels)

    def _to_price(self, ticks: int) -> Decimal:
        return ticks * self._tick_size

    def _to_quantity(self, lots: float) -> Decimal:
        return max(int(lots), 1) * self._lot_size
