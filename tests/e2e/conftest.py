"""Bots for the end-to-end tests; every process that a test starts ends with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import SAID, Bot, some_settings

MakeBot = Callable[..., Bot]


@pytest.fixture(autouse=True)
def counts(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Takes what a test said about its counts to the summary of the run (tests/conftest.py)."""
    SAID.clear()
    yield
    for line in SAID:
        record_property("counts", line)


@pytest.fixture
def make_bot(tmp_path: Path, empty_database_url: str) -> Iterator[MakeBot]:
    """Makes bots that share the test's database; each has a folder of its own."""
    bots: list[Bot] = []

    def make(name: str = "e2e", *, tag: str = "e2e", **changes: Any) -> Bot:
        folder = tmp_path / name
        settings = some_settings(empty_database_url, folder) | {"bot": name, "tag": tag} | changes
        bots.append(Bot(folder, settings))
        return bots[-1]

    yield make
    for bot in bots:
        bot.close()


@pytest.fixture
def bot(make_bot: MakeBot) -> Bot:
    """An ordinary bot that was never started."""
    return make_bot()
