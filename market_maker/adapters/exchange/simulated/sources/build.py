"""Builds the source that the settings name."""

import json
from dataclasses import asdict
from typing import assert_never

from market_maker.adapters.exchange.simulated.settings import (
    FittedSource,
    GeometricBrownianSource,
    InstrumentSettings,
    JumpSource,
    MeanReversionSource,
    RandomWalkSource,
    ScenarioSource,
    TapeSource,
)
from market_maker.adapters.exchange.simulated.sources.blocks import BlockSource
from market_maker.adapters.exchange.simulated.sources.fitted import FittedModel
from market_maker.adapters.exchange.simulated.sources.generators import MidModel
from market_maker.adapters.exchange.simulated.sources.scenario import ScenarioReplay
from market_maker.adapters.exchange.simulated.sources.source import Position, Source
from market_maker.adapters.exchange.simulated.sources.tape import TapeReplay


def build_source(settings: InstrumentSettings, *, seed: int, position: Position) -> Source:
    """Return the market of one instrument from `position` on; raises `TapeError`."""
    market = settings.market
    instrument = settings.to_instrument()
    seed_text = f"{seed}/{settings.symbol}"
    match market:
        case RandomWalkSource() | GeometricBrownianSource() | MeanReversionSource() | JumpSource():
            return BlockSource(MidModel(market, instrument), seed=seed_text, position=position)
        case FittedSource():
            return BlockSource(FittedModel(market, instrument), seed=seed_text, position=position)
        case TapeSource():
            return TapeReplay(market, position=position)
        case ScenarioSource():
            return ScenarioReplay(market, instrument, position=position)
        case _:
            assert_never(market)


def fingerprint_of(settings: InstrumentSettings, *, seed: int) -> str:
    """
    Return what a stored position belongs to; another text means that it starts anew.

    The speed is not part of it: the same tape goes on at another pace.
    """
    market = asdict(settings.market)
    market.pop("speed", None)
    grid = [str(settings.tick_size), str(settings.lot_size)]
    plain = {"market": market, "seed": seed, "grid": grid, "symbol": settings.symbol}
    return json.dumps(plain, sort_keys=True, default=str)


def speed_of(settings: InstrumentSettings) -> str:
    """Return the speed that positions in time were written at."""
    return settings.market.speed if isinstance(settings.market, TapeSource) else "1"
