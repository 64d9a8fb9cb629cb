"""What the venue's file holds after a kill, an I/O error, a second driver, and years of use."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from market_maker.adapters.exchange.simulated.reading import (
    read_balances,
    read_fills,
    read_orders,
    read_positions,
    read_requests,
)
from market_maker.domain.errors import ExchangeUnavailable, OrderRejected, OutcomeUnknown
from market_maker.domain.fill import Side
from market_maker.domain.order import OrderState
from market_maker.ports import failpoints
from tests.fakes.clock import FakeClock
from tests.paper import (
    BTC,
    CALM_BOOK,
    Bench,
    FixedPermit,
    a_cancel,
    a_request,
    fills_of,
    scripted,
    some_settings,
)

D = Decimal

PLACE_AND_STEP = """
import asyncio, sys
from pathlib import Path
from tests.paper import Bench, CALM_BOOK, a_request, scripted

async def main():
    steps = [CALM_BOOK, {"price": "98"}, CALM_BOOK]
    bench = await Bench.begin(scripted(Path(sys.argv[1]), steps), first=1)
    for name in ("a", "b"):
        report = await bench.place(a_request(name))
        print(report.exchange_order_id, flush=True)
    await bench.step()
    print("told", flush=True)
    await bench.end()

asyncio.run(main())
"""


def run_until_killed(folder: Path, failpoint: str) -> list[str]:
    """Run the script above in a process that a failpoint kills; return what it had been told."""
    root = Path(__file__).parents[4]
    process = subprocess.run(
        [sys.executable, "-c", PLACE_AND_STEP, str(folder)],
        cwd=root,
        env={**os.environ, failpoints.VARIABLE: failpoint, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    return process.stdout.split()


@pytest.mark.parametrize(
    ("failpoint", "told", "stored"),
    [
        ("venue.before_commit:kill:1", [], []),
        ("venue.after_commit_before_ack:kill:1", [], ["a"]),
        ("venue.before_commit:kill:2", ["1"], ["a"]),
        ("venue.after_commit_before_ack:kill:2", ["1"], ["a", "b"]),
    ],
)
def test_killed_venue_has_every_acknowledged_order(
    tmp_path: Path, failpoint: str, told: list[str], stored: list[str]
) -> None:
    assert run_until_killed(tmp_path, failpoint) == told

    path = tmp_path / "venue.sqlite"
    assert [order.client_order_id for order in read_orders(path)] == stored
    assert [request.client_order_id for request in read_requests(path)] == stored


TRADE_FOR_EVER = """
import asyncio, sys
from decimal import Decimal
from pathlib import Path
from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.domain.fill import Side
from tests.fakes.clock import FakeClock
from tests.paper import BTC, FixedPermit, a_request, passed, some_settings
from datetime import timedelta

async def main():
    clock = FakeClock()
    venue = SimulatedExchange(some_settings(Path(sys.argv[1]), lock_step=20), clock=clock)
    await venue.open()
    stream = asyncio.create_task(venue.stream((BTC,), lambda update: None))
    number = 0
    while True:
        await passed(venue)
        for side, price in ((Side.BUY, "99.8"), (Side.SELL, "100.2")):
            number += 1
            request = a_request(f"order-{number}", side=side, price=price, quantity="0.2")
            permit = FixedPermit(venue.clock.now() + timedelta(days=1))
            try:
                await venue.place_order(request, permit)
            except Exception as error:
                if "INSUFFICIENT" not in str(error) and "MAX_NUM" not in str(error):
                    raise
            else:
                print(f"order-{number}", flush=True)
        venue.notify_idle()

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged_count", [1, 40, 97])
def test_venue_killed_while_trading_is_whole(tmp_path: Path, acknowledged_count: int) -> None:
    root = Path(__file__).parents[4]
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", TRADE_FOR_EVER, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line.strip())
            if len(told) == acknowledged_count:
                process.kill()
                break
    assert len(told) == acknowledged_count

    path = tmp_path / "venue.sqlite"
    orders, fills = read_orders(path), read_fills(path)
    assert told == [order.client_order_id for order in orders][: len(told)]
    for order in orders:
        own = [fill for fill in fills if fill.exchange_order_id == order.exchange_order_id]
        assert sum(fill.quantity for fill in own) == order.cumulative_quantity
    totals = {item.asset: item.free + item.locked for item in read_balances(path)}
    assert totals["BTC"] == 10 + sum(fill.side.sign * fill.quantity for fill in fills)
    assert totals["USDT"] == 10_000 - sum(fill.side.sign * fill.notional for fill in fills)
    locked = {item.asset: item.locked for item in read_balances(path)}
    resting = [order for order in orders if order.is_open and order.side is Side.BUY]
    assert locked["USDT"] == sum(order.limit * order.remaining_quantity for order in resting)


@pytest.mark.parametrize(
    ("failpoint", "fill_count"),
    [
        ("venue.before_commit_fills:kill", 0),
        ("venue.after_commit_before_tell:kill", 2),
    ],
)
async def test_killed_venue_fills_each_trade_once(
    tmp_path: Path, failpoint: str, fill_count: int
) -> None:
    run_until_killed(tmp_path, failpoint)
    assert len(read_fills(tmp_path / "venue.sqlite")) == fill_count

    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK, {"price": "98"}, CALM_BOOK]))
    await bench.step(2 if fill_count == 0 else 1)

    fills = await bench.venue.fetch_fills(BTC)
    assert [(fill.trade_id, fill.client_order_id) for fill in fills] == [("1", "a"), ("2", "b")]
    await bench.end()


async def test_io_error_before_the_commit_leaves_nothing_and_the_outcome_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK, {"price": "98"}]), first=1)
    monkeypatch.setitem(failpoints._ARMED, "venue.before_commit", failpoints._Armed("error", 1))

    with pytest.raises(OutcomeUnknown):
        await bench.place(a_request("lost"))

    assert await bench.venue.fetch_open_orders(BTC) == ()
    assert (await bench.venue.fetch_balances())[1].locked == D(0)
    assert (await bench.place(a_request("next"))).exchange_order_id == "1"
    await bench.end()


async def test_io_error_while_the_market_passes_ends_the_stream_and_loses_no_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK, {"price": "98"}]), first=1)
    await bench.place(a_request())
    monkeypatch.setitem(
        failpoints._ARMED, "venue.before_commit_fills", failpoints._Armed("error", 1)
    )

    assert bench.listening is not None
    bench.venue.release(1)
    with pytest.raises(ExchangeUnavailable):
        await bench.listening

    assert fills_of(bench.updates) == []
    bench.listen()
    await bench.step()
    assert [fill.trade_id for fill in fills_of(bench.updates)] == ["1"]
    await bench.end()


async def test_reopened_venue_continues_where_it_was(tmp_path: Path) -> None:
    settings = scripted(
        tmp_path, [CALM_BOOK, {"trade": {"price": "99", "quantity": "3", "side": "SELL"}}] * 2
    )
    bench = await Bench.begin(settings, first=1)
    await bench.place(a_request())
    await bench.step()
    await bench.end()

    again = await Bench.begin(settings)
    await again.step(2)

    # 5 were ahead; 3 traded before the restart and 3 after it: 2 of others, 1 of ours.
    assert [fill.quantity for fill in fills_of(again.updates)] == [D(1)]
    market_ids = [update.id for update in (*bench.updates, *again.updates)]
    assert len(set(market_ids)) == len(market_ids)
    await again.end()


async def test_second_driver_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    settings = scripted(tmp_path, [CALM_BOOK])
    bench = await Bench.begin(settings, first=1)
    await bench.place(a_request())

    with pytest.raises(ExchangeUnavailable, match="driven by another process"):
        await Bench.begin(settings)

    assert [order.state for order in read_orders(settings.file)] == [OrderState.OPEN]
    await bench.end()
    await (await Bench.begin(settings)).end()


async def test_readers_show_the_venues_own_view(tmp_path: Path) -> None:
    settings = scripted(
        tmp_path,
        [CALM_BOOK, {"price": "98"}],
        instrument={"maker_fee_ratio": "0.001"},
    )
    bench = await Bench.begin(settings, first=1)
    await bench.place(a_request("a"))
    await bench.place(a_request("b", side=Side.SELL, price="102"))
    with pytest.raises(OrderRejected):
        await bench.place(a_request("c", price="1"))
    await bench.step()

    orders = read_orders(settings.file)
    assert [(order.client_order_id, order.state) for order in orders] == [
        ("a", OrderState.FILLED),
        ("b", OrderState.OPEN),
    ]
    assert orders[0].created_at < orders[0].updated_at
    assert [order.client_order_id for order in read_orders(settings.file, only_open=True)] == ["b"]
    assert read_fills(settings.file) == await bench.venue.fetch_fills(BTC)
    assert read_balances(settings.file) == await bench.venue.fetch_balances()
    assert read_positions(settings.file) == ()
    verdicts = [request.verdict for request in read_requests(settings.file)]
    assert verdicts[:2] == ["accepted", "accepted"]
    assert verdicts[2].startswith("rejected: MIN_NOTIONAL")
    await bench.end()


async def test_every_request_that_arrived_is_logged_and_no_other(tmp_path: Path) -> None:
    faults = {"rate_limit_ratio": "1"}
    settings = scripted(tmp_path, [CALM_BOOK], faults=faults)
    bench = await Bench.begin(settings)
    with pytest.raises(ExchangeUnavailable):
        await bench.place(a_request("at the door"))
    await bench.end()
    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK]))
    late = FixedPermit(bench.venue.clock.now() - timedelta(seconds=1))
    with pytest.raises(OrderRejected):
        await bench.venue.place_order(a_request("late"), late)
    await bench.end()

    (request,) = read_requests(settings.file)
    assert (request.client_order_id, request.signed_until) == ("late", late.signed_until)
    assert request.verdict.startswith("rejected: request expired")


def test_readers_of_a_missing_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(ExchangeUnavailable, match="does not exist yet"):
        read_orders(tmp_path / "none.sqlite")


async def test_file_of_another_version_or_account_is_refused(tmp_path: Path) -> None:
    settings = some_settings(tmp_path)
    await (await Bench.begin(settings)).end()

    with pytest.raises(ExchangeUnavailable, match="belongs to account paper"):
        await Bench.begin(some_settings(tmp_path, name="other"))
    with sqlite3.connect(settings.file) as connection:
        connection.execute("UPDATE venue SET schema_version = 99")
    connection.close()
    with pytest.raises(ExchangeUnavailable, match="schema 99"):
        await Bench.begin(settings)
    with pytest.raises(ExchangeUnavailable, match="schema 99"):
        read_fills(settings.file)


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    settings = some_settings(tmp_path)
    Path(settings.file).write_text("this is not a database " * 100, encoding="utf-8")

    with pytest.raises(ExchangeUnavailable):
        await Bench.begin(settings)


async def test_closed_venue_answers_nothing(tmp_path: Path) -> None:
    bench = await Bench.begin(some_settings(tmp_path), listens=False)
    permit = await bench.permit()
    await bench.end()
    await bench.venue.close()

    with pytest.raises(ExchangeUnavailable):
        await bench.venue.fetch_time()
    with pytest.raises(ExchangeUnavailable):
        await bench.venue.place_order(a_request(), permit)
    assert permit.signed_count == 0


async def test_open_orders_on_a_symbol_that_is_no_longer_listed_are_refused(
    tmp_path: Path,
) -> None:
    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK]))
    await bench.place(a_request())
    await bench.end()
    elsewhere = scripted(tmp_path, [CALM_BOOK], instrument={"symbol": "ETH/USDT"})

    with pytest.raises(ExchangeUnavailable, match=BTC):
        await Bench.begin(elsewhere, clock=FakeClock(), listens=False)


async def test_cancel_survives_the_process(tmp_path: Path) -> None:
    settings = scripted(tmp_path, [CALM_BOOK])
    bench = await Bench.begin(settings, first=1)
    await bench.place(a_request())
    await bench.cancel(a_cancel())
    await bench.end()

    again = await Bench.begin(settings)

    assert await again.venue.fetch_open_orders(BTC) == ()
    assert (await again.venue.fetch_order(BTC, "one")).state is OrderState.CANCELED
    await again.end()
