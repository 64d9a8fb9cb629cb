"""What waits: prices conflate, nothing else is ever dropped in silence."""

from decimal import Decimal
from typing import Any

import pytest

from market_maker.domain.events import (
    CommandIssued,
    FillReported,
    MalformedReceived,
    OrderReported,
    StreamGap,
    TradePrinted,
    Update,
)
from market_maker.domain.order import OrderState
from market_maker.engine.inbox import Inbox
from tests.actor_desk import a_book, a_command, a_trade, filled, malformed, reported
from tests.builders import a_fill, a_report, an_order

PLENTY = 10**9


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(price_updates_max=3, order_updates_max=4)


def take_all(inbox: Inbox, count_max: int = PLENTY) -> tuple[list[Update], dict[str, int]]:
    return inbox.take(count_max, PLENTY)


def prices(updates: list[Update]) -> list[Decimal]:
    return [update.price for update in updates if isinstance(update, TradePrinted)]


def test_updates_come_out_in_order_of_arrival(inbox: Inbox) -> None:
    updates: list[Update] = [a_trade(1), filled(a_fill()), a_command("pause"), a_trade(2)]
    for update in updates:
        inbox.put(update)

    assert take_all(inbox) == (updates, {})
    assert len(inbox) == 0
    assert not inbox.arrived.is_set()


def test_prices_beyond_the_limit_become_the_newest_and_are_counted(inbox: Inbox) -> None:
    for price in range(1, 11):
        inbox.put(a_trade(price))

    updates, skipped = take_all(inbox)

    assert prices(updates) == [1, 2, 10]
    assert skipped == {"BTC/USDT": 7}
    assert take_all(inbox) == ([], {})


def test_trades_and_books_conflate_apart_and_each_symbol_alone(inbox: Inbox) -> None:
    for number in range(1, 6):
        inbox.put(a_trade(number))
        inbox.put(a_book(number, number + 1))
        inbox.put(a_trade(number, symbol="ETH/USDT"))

    updates, skipped = take_all(inbox)

    mine = [update for update in updates if update.symbol == "BTC/USDT"]
    assert prices(mine)[-1] == 5
    assert skipped["BTC/USDT"] == 10 - len(mine)
    assert skipped["ETH/USDT"] == 2


def test_order_events_fills_and_commands_are_never_conflated(inbox: Inbox) -> None:
    events: list[Update] = [
        filled(a_fill(trade_id="1")),
        reported(a_report(an_order(), OrderState.OPEN)),
        a_command("pause"),
        filled(a_fill(trade_id="2")),
    ]
    for event in events:
        for price in range(1, 5):
            inbox.put(a_trade(price))
        inbox.put(event)

    updates, _ = take_all(inbox)

    assert [update for update in updates if update in events] == events


def test_too_many_order_updates_become_one_gap_and_commands_stay(inbox: Inbox) -> None:
    inbox.put(a_command("kill"))
    inbox.put(filled(a_fill(symbol="ETH/USDT")))
    for number in range(5):
        inbox.put(filled(a_fill(trade_id=str(number))))

    updates, _ = take_all(inbox)

    assert [type(update) for update in updates] == [CommandIssued, FillReported, StreamGap]
    assert updates[1].symbol == "ETH/USDT"
    assert updates[2].symbol == "BTC/USDT"


def test_after_an_overflow_new_order_updates_are_taken_behind_the_gap(inbox: Inbox) -> None:
    for number in range(6):
        inbox.put(filled(a_fill(trade_id=str(number))))

    updates, _ = take_all(inbox)

    assert [type(update) for update in updates] == [StreamGap, FillReported]


def test_memory_stays_bounded_whatever_comes(inbox: Inbox) -> None:
    for number in range(500):
        inbox.put(a_trade(number + 1))
        inbox.put(malformed(str(number)))
        inbox.put(reported(a_report(an_order(client_order_id=str(number)), OrderState.OPEN)))

    assert len([u for u in take_all(inbox)[0] if not isinstance(u, StreamGap)]) <= 12


def test_malformed_updates_in_a_flood_are_counted_as_skipped(inbox: Inbox) -> None:
    for number in range(10):
        inbox.put(malformed(str(number)))

    updates, skipped = take_all(inbox)

    kept = [update.content for update in updates if isinstance(update, MalformedReceived)]
    assert kept == ["0", "1", "9"]
    assert skipped == {"BTC/USDT": 7}


def test_a_batch_takes_the_oldest_and_leaves_the_rest_in_order(inbox: Inbox) -> None:
    updates: list[Any] = [a_trade(1), filled(a_fill()), a_command("pause")]
    for update in updates:
        inbox.put(update)

    assert take_all(inbox, 2)[0] == updates[:2]
    assert inbox.arrived.is_set()
    assert take_all(inbox, 2)[0] == updates[2:]
    assert not inbox.arrived.is_set()


def test_limits_hold_for_what_a_batch_left(inbox: Inbox) -> None:
    for price in range(1, 4):
        inbox.put(a_trade(price))
    take_all(inbox, 1)
    for price in range(4, 8):
        inbox.put(a_trade(price))

    updates, skipped = take_all(inbox)

    assert prices(updates) == [2, 3, 7]
    assert skipped == {"BTC/USDT": 3}


def test_reports_count_with_fills(inbox: Inbox) -> None:
    for number in range(2):
        inbox.put(filled(a_fill(trade_id=str(number))))
        inbox.put(reported(a_report(an_order(), OrderState.OPEN)))
    assert all(isinstance(u, FillReported | OrderReported) for u in inbox._updates)

    inbox.put(filled(a_fill(trade_id="9")))

    assert [type(update) for update in take_all(inbox)[0]] == [StreamGap]
