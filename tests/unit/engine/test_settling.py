"""What is asked until it is known: never a conclusion before its time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from market_maker.domain.errors import ExchangeUnavailable
from market_maker.domain.events import OrderLookedUp, Update
from market_maker.domain.order import Order, OrderReport, OrderState
from market_maker.engine.venue import reading, settling
from market_maker.engine.venue.settling import Settler, needs_settling
from tests.builders import a_report, an_instrument, an_order
from tests.fakes.clock import START, FakeClock
from tests.fakes.exchange import FakeExchange

UNTIL = START + timedelta(seconds=2)
MOMENT_S = 0.01
MARGIN = timedelta(milliseconds=250)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def exchange(clock: FakeClock) -> FakeExchange:
    return FakeExchange(clock, (an_instrument(),))


@pytest.fixture
def heard() -> list[Update]:
    return []


@pytest.fixture
async def settler(
    clock: FakeClock,
    exchange: FakeExchange,
    heard: list[Update],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Settler]:
    monkeypatch.setattr(reading, "AGAIN_S", (0.0,))
    monkeypatch.setattr(settling, "FIRST_PAUSE_S", 0.0001)
    monkeypatch.setattr(settling, "PAUSE_S_MAX", 0.001)
    settler = Settler(exchange, clock, margin=MARGIN, put=heard.append, find=lambda order: order)
    yield settler
    await settler.close()


def unknown(**overrides: object) -> Order:
    return an_order(**({"state": OrderState.UNKNOWN, "signed_until": UNTIL} | overrides))


def answers(heard: list[Update]) -> list[OrderLookedUp]:
    return [update for update in heard if isinstance(update, OrderLookedUp)]


async def test_not_found_while_it_may_still_arrive_is_no_conclusion(
    settler: Settler, exchange: FakeExchange, clock: FakeClock, heard: list[Update]
) -> None:
    clock.advance(timedelta(seconds=2) + MARGIN)

    settler.settle([unknown()])
    await asyncio.sleep(MOMENT_S * 3)

    assert exchange.requests["fetch_order"] >= 3, "it was asked again and again"
    assert not heard


async def test_not_found_twice_after_its_lifetime_is_a_conclusion(
    settler: Settler, exchange: FakeExchange, clock: FakeClock, heard: list[Update]
) -> None:
    clock.advance(timedelta(seconds=2.3))

    settler.settle([unknown()])
    await asyncio.sleep(MOMENT_S)

    (answer,) = answers(heard)
    assert answer.report is None
    assert answer.is_conclusive
    assert exchange.requests["fetch_order"] == 2
    assert settler.is_idle


async def test_the_lifetime_is_measured_on_the_venues_clock(
    settler: Settler,
    exchange: FakeExchange,
    clock: FakeClock,
    heard: list[Update],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slow_clock() -> datetime:
        return START

    monkeypatch.setattr(exchange, "fetch_time", slow_clock)
    clock.advance(timedelta(hours=1))

    settler.settle([unknown()])
    await asyncio.sleep(MOMENT_S)

    assert not heard


async def test_found_gives_its_fate_and_its_fills(
    settler: Settler, exchange: FakeExchange, heard: list[Update]
) -> None:
    order = unknown()
    exchange.orders[order.client_order_id] = a_report(order, OrderState.OPEN)
    fill = exchange.fill(order.client_order_id, Decimal("0.4"))

    settler.settle([order])
    await asyncio.sleep(MOMENT_S)

    (answer,) = answers(heard)
    assert answer.report == exchange.orders[order.client_order_id]
    assert answer.fills == (fill,)


async def test_a_venue_that_cannot_be_asked_is_asked_again(
    settler: Settler,
    exchange: FakeExchange,
    heard: list[Update],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = unknown()
    exchange.orders[order.client_order_id] = a_report(order, OrderState.OPEN)
    fetch_order = exchange.fetch_order
    errors = [ExchangeUnavailable("down")] * 3

    async def flaky(symbol: str, client_order_id: str) -> OrderReport:
        if errors:
            raise errors.pop()
        return await fetch_order(symbol, client_order_id)

    monkeypatch.setattr(exchange, "fetch_order", flaky)
    settler.settle([order])
    await asyncio.sleep(MOMENT_S * 2)

    assert len(answers(heard)) == 1


async def test_a_venue_whose_clock_hangs_is_asked_again(
    settler: Settler,
    exchange: FakeExchange,
    clock: FakeClock,
    heard: list[Update],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hangs = [True]

    async def hang_once() -> datetime:
        if hangs.pop() if hangs else False:
            await asyncio.Event().wait()
        return clock.now()

    monkeypatch.setattr(reading, "REQUEST_TIMEOUT_S", 0.005)
    monkeypatch.setattr(exchange, "fetch_time", hang_once)
    exchange.orders["o1"] = a_report(unknown(), OrderState.OPEN)
    settler.settle([unknown()])
    await asyncio.sleep(MOMENT_S * 3)

    assert len(answers(heard)) == 1


async def test_one_order_is_asked_by_one_task(
    settler: Settler, exchange: FakeExchange, heard: list[Update]
) -> None:
    exchange.orders["o1"] = a_report(unknown(), OrderState.OPEN)

    settler.settle([unknown(), unknown()])
    settler.settle([unknown()])
    await asyncio.sleep(MOMENT_S)

    assert len(heard) == 1


async def test_answers_that_settle_nothing_come_ever_more_slowly(
    settler: Settler,
    exchange: FakeExchange,
    heard: list[Update],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A venue that names a cumulative and never its fills must not make a hot loop."""
    order = an_order(cumulative_quantity="0.5")
    exchange.orders["o1"] = a_report(order, OrderState.OPEN)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(delay: float) -> None:
        pauses.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    for _ in range(5):
        settler.settle([order])
        while not settler.is_idle:
            await sleep(0)

    assert pauses == [0.0001, 0.0002, 0.0004, 0.0008, 0.001]
    assert len(heard) == 5
    assert len({update.id for update in heard}) == 5


@pytest.mark.parametrize(
    ("order", "is_needed"),
    [
        (an_order(), False),
        (an_order(state=OrderState.PENDING_NEW), True),
        (an_order(state=OrderState.UNKNOWN), True),
        (an_order(state=OrderState.PENDING_CANCEL), True),
        (an_order(cumulative_quantity="0.5"), True),
        (an_order(reported_state=OrderState.CANCELED), True),
    ],
)
def test_what_needs_settling(order: Order, *, is_needed: bool) -> None:
    assert needs_settling(order) is is_needed
