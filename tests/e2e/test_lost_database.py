"""The database is deleted while the venue keeps orders and a position."""

import pytest

from tests.e2e.harness import Bot, check

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    # A server's database is not lost by deleting a file; what the bot then does is the same.
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]

REFUSED = 3


def test_a_lost_database_is_refused_and_rebuilt_from_the_exchange_when_asked(bot: Bot) -> None:
    process = bot.start()
    bot.await_fills(6)
    bot.await_orders()
    process.kill()
    bot.lose_database()
    requests = bot.request_count()

    for _ in range(2):
        refused = bot.run(code=REFUSED)
        assert "--rebuild-from-exchange" in refused.err()
    assert bot.request_count() == requests

    process = bot.start("--rebuild-from-exchange", "--yes")
    bot.until(lambda: bot.request_count() > requests + 2, what="new orders")
    process.kill()
    bot.settle()

    check(bot, label="rebuilt", is_rebuilt=True)


def test_a_rebuild_that_is_killed_can_be_asked_for_again(bot: Bot) -> None:
    process = bot.start()
    bot.await_fills(4)
    process.kill()
    bot.lose_database()

    for failpoint in ("start.recovered", "workflow.input_journaled", "record.inside"):
        bot.crash_at(f"{failpoint}:kill:1", "--rebuild-from-exchange", "--yes")
    process = bot.start("--rebuild-from-exchange", "--yes")
    bot.await_orders()
    process.kill()
    bot.settle()

    check(bot, label="rebuilt after kills", is_rebuilt=True)


def test_a_rebuild_over_a_database_that_is_not_lost_is_refused(bot: Bot) -> None:
    process = bot.start()
    bot.await_orders()
    process.kill()

    refused = bot.run("--rebuild-from-exchange", "--yes", code=REFUSED)

    assert "journal" in refused.err()
    bot.settle()
    check(bot, label="rebuild refused")
