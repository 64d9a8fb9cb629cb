"""
Killed at random instants while the venue loses requests, answers and updates.

The instants are drawn from a printed seed, but where in the road a kill falls depends on the
machine: `CRASH_SEED` repeats the draws, not the run. `make crash` is the long hunt.
"""

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.e2e.conftest import MakeBot
from tests.e2e.harness import (
    FAULTS,
    Audit,
    Bot,
    Json,
    a_seed,
    as_neutral,
    as_perpetuals,
    check,
    check_so_far,
    say,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

KILLS_PER_LIFE: Final = 10
# A kill falls within this long of the process's first instant, or of its first new order.
EARLY_S_MAX: Final = 2.5
TRADING_S_MAX: Final = 1.5
EARLY_RATIO: Final = 0.4


@dataclass(slots=True)
class Tally:
    """What a hunt has seen so far."""

    kills: int = 0
    audits: list[Audit] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, bot: Bot, audit: Audit) -> None:
        self.audits.append(audit)
        self.events += bot.events()

    def lines(self) -> dict[str, int]:
        """The table that a hunt ends with; the last two must be 0."""
        sums: Counter[str] = Counter()
        for audit in self.audits:
            sums.update(audit.counts)
        return {
            "kills": self.kills,
            "workflows resumed": self.events["resuming_workflow"],
            "orders asked for at re-entry": self.events["reentry_asked"],
            "unknown orders settled": self.events["order_settled"],
            "workflows": sums["workflows"],
            "requests at the venue": sums["requests"],
            "orders": sums["orders"],
            "fills": sums["fills"],
            "expired orders": sums["expired"],
            "informative incidents": sums["incidents"],
            "duplicates": sums["duplicates"],
            "losses and differences": sums["problems"],
        }

    def show(self, title: str) -> None:
        say(title)
        for name, count in self.lines().items():
            say(f"  {name:<30} {count:>8}")


def kill_at_random(bot: Bot, draw: random.Random) -> None:
    """One process, ended early in its start or while it trades."""
    orders = bot.request_count()
    process = bot.start()
    if draw.random() < EARLY_RATIO:
        time.sleep(draw.uniform(0, EARLY_S_MAX))
    else:
        bot.until(lambda: bot.request_count() > orders, what="a new order")
        time.sleep(draw.uniform(0, TRADING_S_MAX))
    assert process.is_running, f"{process.label} ended by itself\n{process.tail()}"
    process.kill()


def live_and_die(bot: Bot, draw: random.Random, kills: int, on_kill: Callable[[], None]) -> Audit:
    """A bot's life of so many kills, and its audit."""
    bot.settings["venue"]["faults"] = FAULTS | {"seed": draw.randrange(1_000_000)}
    for _ in range(kills):
        kill_at_random(bot, draw)
        if bot.has_venue:
            check_so_far(bot)
        on_kill()
    bot.settle()
    return check(bot, label=f"{kills} random kills")


def as_it_is(settings: Json) -> Json:
    return settings


KINDS: Final = (as_it_is, as_perpetuals, as_neutral)


def test_random_kills_under_venue_faults_lose_and_double_nothing(
    make_bot: MakeBot, database_kind: str
) -> None:
    tally, draw = Tally(), random.Random(a_seed())

    def count() -> None:
        tally.kills += 1

    for number, to_kind in enumerate(KINDS[:2], start=1):
        bot = make_bot(f"life-{number}", tag=f"li{number}")
        bot.settings = to_kind(bot.settings)
        tally.add(bot, live_and_die(bot, draw, KILLS_PER_LIFE, count))

    tally.show(f"random kills on {database_kind}")
    assert tally.lines()["workflows resumed"]
    assert tally.lines()["fills"]


@pytest.mark.crash_hunt
@pytest.mark.timeout(0)
def test_the_long_hunt(make_bot: MakeBot, database_kind: str) -> None:
    """Half of `KILLS` on each database, a fresh bot now and then."""
    wanted = int(os.environ.get("KILLS", "500")) // 2
    tally, draw, began = Tally(), random.Random(a_seed()), time.monotonic()

    def progress() -> None:
        tally.kills += 1
        minutes = (time.monotonic() - began) / 60
        sums = tally.lines()
        sys.stderr.write(
            f"\r{database_kind}: {tally.kills}/{wanted} kills, {minutes:.1f} min, "
            f"{len(tally.audits)} lives audited, {sums['fills']} fills, "
            f"{sums['losses and differences']} differences "
        )
        sys.stderr.flush()

    while tally.kills < wanted:
        number = len(tally.audits) + 1
        bot = make_bot(f"hunt-{number}", tag=f"h{number % 100:02d}")
        bot.settings = KINDS[number % len(KINDS)](bot.settings)
        kills = min(KILLS_PER_LIFE, wanted - tally.kills)
        tally.add(bot, live_and_die(bot, draw, kills, progress))
        bot.close()

    tally.show(f"crash hunt on {database_kind}")
    assert tally.lines()["losses and differences"] == 0
