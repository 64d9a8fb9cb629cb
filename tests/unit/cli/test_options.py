"""Durations on the command line."""

from datetime import timedelta

import pytest
import typer

from market_maker.cli.options import parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("1.5m", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("PT2S", timedelta(seconds=2)),
        ("0s", timedelta(0)),
    ],
)
def test_duration_has_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["30", "", "soon", "-5s", "-PT5S", "P"])
def test_anything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_duration(text)
