"""Two runs of the same market in lock-step do exactly the same, however fast the machine is."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Bot, some_settings


@pytest.mark.parametrize("engine", ["dbos", "simple"])
def test_lock_step_runs_of_one_seed_are_equal_to_the_last_digit(
    tmp_path: Path, engine: str
) -> None:
    first, second = (fills_of_a_run(tmp_path / name, engine) for name in ("first", "second"))

    assert len(first) > 5, "the market is meant to fill"
    assert first == second


def fills_of_a_run(folder: Path, engine: str) -> list[Any]:
    settings = some_settings(f"sqlite:///{folder}/bot.sqlite", folder)
    venue = settings["venue"] | {"lock_step": 20, "faults": {"seed": 1}, "while_closed": "pause"}
    bot = Bot(folder, settings | {"bot": "lock", "tag": "lck", "engine": engine, "venue": venue})
    try:
        bot.run("--max-updates", "600")
        fills: list[Any] = json.loads(bot.command("exchange fills", "--json"))
    finally:
        bot.close()
    return fills
