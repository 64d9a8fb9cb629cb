"""How the market passes: at its pace, while nobody is there, and in lock-step."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_maker.adapters.exchange.simulated.driver import CatchUp
from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.adapters.exchange.simulated.settings import SimulatedSettings
from market_maker.domain.errors import OrderRejected, TapeError
from market_maker.domain.events import StreamGap, TradePrinted, Update
from tests.fakes.clock import START, FakeClock
from tests.paper import (
    BTC,
    CALM_BOOK,
    Bench,
    FixedPermit,
    a_request,
    a_scenario,
    a_walk,
    an_instrument_setting,
    passed,
    scripted,
    some_settings,
    until,
)

D = Decimal
SECOND = timedelta(seconds=1)


def paced(
    folder: Path, steps: list[Any], *, speed: str = "1", **overrides: Any
) -> SimulatedSettings:
    market = a_scenario(folder, steps, at_end="hold", step="1s", speed=speed)
    listed = an_instrument_setting(market=market)
    return some_settings(folder, instruments=[listed], **({"lock_step": None} | overrides))


def permit(clock: FakeClock) -> FixedPermit:
    return FixedPermit(clock.now() + timedelta(days=365))


async def test_missed_market_is_played_on_opening(tmp_path: Path) -> None:
    settings = paced(tmp_path, [CALM_BOOK, {"price": "100"}, {"price": "98"}])
    clock = FakeClock()
    venue = SimulatedExchange(settings, clock=clock)
    await venue.open()
    await venue.place_order(a_request(), permit(clock))
    await venue.close()

    clock.advance(timedelta(seconds=10))
    told: list[CatchUp] = []
    venue = SimulatedExchange(settings, clock=clock, progress=told.append)
    await venue.open()

    (fill,) = await venue.fetch_fills(BTC)
    # Steps are at 0, 1 and 2 s after the venue first opened, whoever was there.
    assert fill.exchange_at == START + 2 * SECOND
    assert (told[-1].total, told[-1].ticks_count) == (10 * SECOND, 3)
    await venue.close()


async def test_missed_market_is_bounded(tmp_path: Path) -> None:
    steps = [{"price": "100"}] * 100
    settings = paced(tmp_path, steps, while_closed_max="PT5S")
    clock = FakeClock()
    venue = SimulatedExchange(settings, clock=clock)
    await venue.open()
    await venue.close()
    clock.advance(timedelta(hours=1))
    told: list[CatchUp] = []
    venue = SimulatedExchange(settings, clock=clock, progress=told.append)
    await venue.open()
    await venue.close()

    # 0 … 5 s, and not an hour.
    assert told[-1].ticks_count == 6


async def test_paused_market_waits(tmp_path: Path) -> None:
    settings = paced(tmp_path, [CALM_BOOK, {"price": "98"}], while_closed="pause")
    clock = FakeClock()
    venue = SimulatedExchange(settings, clock=clock)
    await venue.open()
    await venue.place_order(a_request(), permit(clock))
    await venue.close()
    clock.advance(timedelta(hours=1))
    venue = SimulatedExchange(settings, clock=clock)
    await venue.open()

    assert await venue.fetch_fills(BTC) == ()
    await venue.close()


@pytest.mark.parametrize(("speed", "count"), [("1", 4), ("4", 13)])
async def test_market_follows_wall_time_at_its_speed(
    tmp_path: Path, speed: str, count: int
) -> None:
    settings = paced(tmp_path, [{"price": "100"}] * 100, speed=speed)
    clock = FakeClock()
    venue = SimulatedExchange(settings, clock=clock)
    await venue.open()
    clock.advance(3 * SECOND)
    updates: list[Update] = []
    listening = asyncio.create_task(venue.stream((BTC,), updates.append))
    await until(lambda: bool(updates))

    assert len(updates) == count
    assert updates[-1].exchange_at == START + 3 * SECOND
    await venue.close()
    await asyncio.gather(listening, return_exceptions=True)


async def test_time_never_goes_back_behind_an_answer(tmp_path: Path) -> None:
    settings = paced(tmp_path, [CALM_BOOK, {"price": "98"}])
    clock = FakeClock()
    venue = SimulatedExchange(settings, clock=clock)
    await venue.open()
    clock.advance(5 * SECOND)
    await venue.place_order(a_request(), permit(clock))
    updates: list[Update] = []
    listening = asyncio.create_task(venue.stream((BTC,), updates.append))
    await until(lambda: bool(updates))

    assert {update.exchange_at for update in updates} == {START + 5 * SECOND}
    await venue.close()
    await asyncio.gather(listening, return_exceptions=True)


async def test_stream_ends_with_its_source(tmp_path: Path) -> None:
    market = a_scenario(tmp_path, [CALM_BOOK, {"price": "100"}], speed="max")
    listed = an_instrument_setting(market=market)
    settings = some_settings(tmp_path, instruments=[listed], lock_step=None)
    venue = SimulatedExchange(settings, clock=FakeClock())
    await venue.open()
    updates: list[Update] = []

    await venue.stream((BTC,), updates.append)

    assert [update.KIND for update in updates] == ["book_top", "trade"]
    await venue.close()


async def test_two_listeners_hear_the_same_and_one_may_leave(tmp_path: Path) -> None:
    bench = await Bench.begin(scripted(tmp_path, [{"price": "100"}] * 4))
    others: list[Update] = []
    other = asyncio.create_task(bench.venue.stream((BTC,), others.append))
    await asyncio.sleep(0)
    await bench.step(2)

    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    await bench.step(2)

    assert others == bench.updates[:2]
    assert len(bench.updates) == 4
    await bench.end()


async def test_stream_of_an_unlisted_symbol_is_refused(tmp_path: Path) -> None:
    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK]), listens=False)

    with pytest.raises(OrderRejected):
        await bench.venue.stream(("DOGE/USDT",), bench.updates.append)
    await bench.end()


async def test_gap_of_a_scenario_reaches_the_stream(tmp_path: Path) -> None:
    bench = await Bench.begin(scripted(tmp_path, [{"gap": "cable"}, {"price": "100"}]), first=2)

    gap, trade = bench.updates
    assert isinstance(gap, StreamGap)
    assert gap.reason == "cable"
    assert isinstance(trade, TradePrinted)
    await bench.end()


async def test_damaged_tape_ends_the_stream_after_everything_before_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.trades.csv"
    path.write_text(
        "exchange_at_ms,trade_id,price,quantity,taker_side\n1000,1,100,1,BUY\n1001,2,oops,1,BUY\n",
        encoding="ascii",
    )
    market = {"kind": "tape", "trades": str(path), "speed": "max"}
    listed = an_instrument_setting(market=market)
    settings = some_settings(tmp_path, instruments=[listed], lock_step=None)
    venue = SimulatedExchange(settings, clock=FakeClock())
    await venue.open()
    updates: list[Update] = []

    with pytest.raises(TapeError, match=r"bad\.trades\.csv:3"):
        await venue.stream((BTC,), updates.append)

    assert len(updates) == 1
    await venue.close()


# --- lock-step ---


async def play_in_lock_step(folder: Path, *, kill_after: int | None = None) -> list[Update]:
    """Two symbols, k = 3; a bot that places one order after each batch."""
    folder.mkdir()
    listed = [
        an_instrument_setting(),
        an_instrument_setting(symbol="ETH/USDT", market=a_walk(start_price="50")),
    ]
    settings = some_settings(folder, instruments=listed, lock_step=3)
    updates: list[Update] = []
    clock = FakeClock()
    venue = SimulatedExchange(settings, clock=clock)
    listening: asyncio.Task[None] | None = None
    for turn in range(12):
        if turn in {0, kill_after}:
            await venue.close()
            clock.advance(timedelta(hours=turn))
            venue = SimulatedExchange(settings, clock=clock)
            await venue.open()
            if turn:
                venue.release(0)
            symbols = (BTC, "ETH/USDT")
            listening = asyncio.create_task(venue.stream(symbols, updates.append))
        if turn:
            venue.notify_idle()
        await passed(venue)
        report = await venue.place_order(
            a_request(f"order-{turn}", price="99.5", quantity="0.1"),
            FixedPermit(venue.clock.now()),
        )
        assert report.client_order_id == f"order-{turn}"
    await venue.close()
    if listening is not None:
        await asyncio.gather(listening, return_exceptions=True)
    return updates


async def test_lock_step_runs_are_equal_to_the_last_byte(tmp_path: Path) -> None:
    first = await play_in_lock_step(tmp_path / "a")
    second = await play_in_lock_step(tmp_path / "b")

    assert first == second
    assert len([update for update in first if update.KIND in {"trade", "book_top"}]) == 36


async def test_lock_step_run_is_the_same_after_a_restart(tmp_path: Path) -> None:
    whole = await play_in_lock_step(tmp_path / "a")
    broken = await play_in_lock_step(tmp_path / "b", kill_after=6)

    assert whole == broken
