"""Named roundings land on the step and never loosen a limit."""

from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from market_maker.domain.errors import InvalidOrder
from tests.builders import an_instrument

STEPS = st.sampled_from(["0.00001", "0.01", "0.05", "0.25", "1", "5", "1E+2"]).map(Decimal)
VALUES = st.decimals(min_value="0.00001", max_value=10**9, places=8)


@settings(derandomize=True, max_examples=300)
@given(value=VALUES, step=STEPS)
def test_roundings_are_directional_and_land_on_the_step(value: Decimal, step: Decimal) -> None:
    instrument = an_instrument(tick_size=step, lot_size=step)

    bid, ask = instrument.bid_to_tick(value), instrument.ask_to_tick(value)
    lot = instrument.floor_to_lot(value)

    assert bid % step == ask % step == lot % step == 0
    assert value - step < bid <= value <= ask < value + step
    assert lot == bid
    assert instrument.bid_to_tick(bid) == bid
    assert instrument.ask_to_tick(ask) == ask


@pytest.mark.parametrize("name", ["tick_size", "lot_size"])
def test_an_instrument_without_steps_is_refused(name: str) -> None:
    with pytest.raises(InvalidOrder, match="must be above zero"):
        an_instrument(**{name: Decimal(0)})
