"""The adapter's settings and the settings file agree on every name."""

from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_maker.adapters.exchange.simulated import settings as simulated
from market_maker.adapters.exchange.simulated.settings import parse_settings
from market_maker.config import market, venue
from market_maker.config.loader import load_settings
from market_maker.domain.errors import ConfigError
from market_maker.domain.instrument import InstrumentKind
from tests.paper import an_instrument_setting

D = Decimal
CONFIGS = Path(__file__).parents[4] / "configs"

PAIRS: list[tuple[Any, Any]] = [
    (venue.SimulatedVenueSettings, simulated.SimulatedSettings),
    (venue.InstrumentSettings, simulated.InstrumentSettings),
    (venue.FaultSettings, simulated.FaultSettings),
    (market.TapeSource, simulated.TapeSource),
    (market.ScenarioSource, simulated.ScenarioSource),
    (market.RandomWalkSource, simulated.RandomWalkSource),
    (market.GeometricBrownianSource, simulated.GeometricBrownianSource),
    (market.MeanReversionSource, simulated.MeanReversionSource),
    (market.JumpSource, simulated.JumpSource),
    (market.FittedSource, simulated.FittedSource),
    (market.SimpleTicks, simulated.SimpleTicks),
    (market.WithVolumeTicks, simulated.WithVolumeTicks),
    (market.FullDepthTicks, simulated.FullDepthTicks),
]
ONLY_IN_THE_FILE = {"adapter", "account_is_dedicated"}


@pytest.mark.parametrize(("model", "ours"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_every_key_of_the_settings_file_is_understood(model: Any, ours: Any) -> None:
    known = {field.name for field in fields(ours)}

    assert set(model.model_fields) - ONLY_IN_THE_FILE <= known


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_settings_are_understood(path: Path) -> None:
    loaded = load_settings([path], environment={})

    parsed = parse_settings(loaded.venue.model_dump())

    assert parsed.balances == loaded.venue.balances
    assert [item.symbol for item in parsed.instruments] == [
        item.symbol for item in loaded.venue.instruments
    ]


@pytest.mark.parametrize(
    ("fee_asset", "expected"),
    [("received", ""), ("base", "BTC"), ("quote", "USDT"), ("BNB", "BNB")],
)
def test_instrument_is_described_as_the_domain_knows_it(fee_asset: str, expected: str) -> None:
    listed = an_instrument_setting(
        symbol="BTC/USDT:USDT", kind="linear", fee_asset=fee_asset, quantity_min=None
    )
    values = {"name": "a", "file": "b", "seed": 1, "balances": {}, "instruments": [listed]}

    instrument = parse_settings(values).instruments[0].to_instrument()

    assert instrument.fee_asset == expected
    assert (instrument.base_asset, instrument.quote_asset) == ("BTC", "USDT")
    assert (instrument.kind, instrument.quantity_min) == (InstrumentKind.LINEAR, D("0.01"))


@pytest.mark.parametrize(
    "overrides",
    [{"unknown": 1}, {"market": {"kind": "crystal_ball"}}, {"tick_size": "ten"}, {"market": {}}],
)
def test_wrong_settings_are_refused(overrides: dict[str, Any]) -> None:
    listed = an_instrument_setting(**overrides)
    values = {"name": "a", "file": "b", "seed": 1, "balances": {}, "instruments": [listed]}

    with pytest.raises(ConfigError, match="paper exchange settings"):
        parse_settings(values)
