"""The list of symbols changes between two runs: nothing that rests is forgotten."""

from copy import deepcopy

from market_maker.adapters.exchange.simulated.reading import read_orders
from tests.e2e.conftest import MakeBot
from tests.e2e.harness import BTC, ETH, check


def test_orders_of_a_symbol_that_was_taken_out_are_canceled(make_bot: MakeBot) -> None:
    bot = make_bot()
    process = bot.start()
    bot.await_orders(6)
    process.kill()
    without = deepcopy(bot.settings)
    without["symbols"] = [s for s in without["symbols"] if s["symbol"] != ETH]
    without["risk"]["symbols_allowed"] = [BTC]

    bot.run("--for", "4s", settings=without)

    resting = {order.symbol for order in read_orders(bot.venue_file, only_open=True)}
    assert resting == {BTC}
    bot.settings = without
    bot.settle()
    check(bot)
