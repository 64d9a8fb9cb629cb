"""Reading the venue: one consistent view, bounded in time, and stopped when told to."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from market_maker.domain.errors import ExchangeUnavailable, OutcomeUnknown, RateLimited
from market_maker.domain.events import Balance, VenueSnapshotTaken
from market_maker.domain.order import OrderState
from market_maker.engine.venue import reading
from market_maker.engine.venue.reading import asked, look_up, read_snapshot, within_timeout
from tests.builders import SYMBOL, a_report, an_instrument, an_order
from tests.fakes.clock import START, FakeClock
from tests.fakes.exchange import FakeExchange


class TradingExchange(FakeExchange):
    """Trades while it is read, as often as told."""

    trades_left = 0

    async def fetch_balances(self) -> tuple[Balance, ...]:
        if self.trades_left:
            self.trades_left -= 1
            self.fill("o1", Decimal("0.1"))
        bought = sum((fill.quantity for fill in self.fills), Decimal(0))
        return (Balance(asset="BTC", free=bought, locked=Decimal(0)),)


@pytest.fixture
def exchange() -> TradingExchange:
    exchange = TradingExchange(FakeClock(), (an_instrument(),))
    exchange.orders["o1"] = a_report(an_order(), OrderState.OPEN)
    return exchange


async def read(exchange: FakeExchange, after_trade_id: str = "") -> VenueSnapshotTaken:
    return await read_snapshot(
        exchange,
        exchange.clock,
        symbol=SYMBOL,
        orders=(an_order(), an_order(client_order_id="o2")),
        since_at=START,
        after_trade_id=after_trade_id,
        update_id="s1",
    )


async def test_a_view_holds_the_fills_that_its_balances_reflect(exchange: TradingExchange) -> None:
    exchange.trades_left = 3

    snapshot = await read(exchange)

    assert sum(fill.quantity for fill in snapshot.fills) == snapshot.balances[0].free
    assert len(snapshot.fills) == 3


async def test_a_symbol_that_never_stands_still_is_no_view(exchange: TradingExchange) -> None:
    exchange.trades_left = 100

    with pytest.raises(ExchangeUnavailable):
        await read(exchange)


async def test_only_orders_that_are_not_listed_are_asked_for(exchange: TradingExchange) -> None:
    snapshot = await read(exchange)

    (lookup,) = snapshot.lookups
    assert lookup.client_order_id == "o2"
    assert lookup.report is None
    assert not lookup.is_conclusive


async def test_fills_before_the_watermark_are_not_read_again(exchange: TradingExchange) -> None:
    exchange.fill("o1", Decimal("0.1"))
    second = exchange.fill("o1", Decimal("0.1"))

    assert (await read(exchange, after_trade_id="1")).fills == (second,)


async def test_an_order_is_looked_up_with_its_fills(exchange: TradingExchange) -> None:
    fill = exchange.fill("o1", Decimal("0.4"))

    answer = await look_up(
        exchange, exchange.clock, symbol=SYMBOL, client_order_id="o1", update_id="l1"
    )

    assert answer.fills == (fill,)
    assert answer.is_conclusive


async def test_no_answer_is_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REQUEST_TIMEOUT_S", 0.001)

    with pytest.raises(OutcomeUnknown):
        await within_timeout(asyncio.Event().wait())


async def test_a_cancellation_is_never_swallowed_by_an_answer_that_comes_with_it() -> None:
    """`asyncio.wait_for` does that, and a loop that asks again and again would never stop."""

    async def ask_for_ever() -> None:
        while True:
            await within_timeout(asyncio.sleep(0))

    task = asyncio.create_task(ask_for_ever())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    _, pending = await asyncio.wait([task], timeout=0.5)

    assert not pending


async def test_a_question_without_an_answer_is_asked_again_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "AGAIN_S", (0.0, 0.0))
    errors: list[Exception] = [OutcomeUnknown("lost"), ExchangeUnavailable("down")]

    async def ask() -> str:
        if errors:
            raise errors.pop()
        return "answer"

    assert await asked(ask) == "answer"


async def test_a_rate_limited_question_is_not_repeated_at_once() -> None:
    errors: list[Exception] = [RateLimited("slow down", retry_after=timedelta(seconds=1))] * 2

    async def ask() -> str:
        raise errors.pop()

    with pytest.raises(RateLimited):
        await asked(ask)
    assert len(errors) == 1
