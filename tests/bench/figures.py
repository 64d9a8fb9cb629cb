"""The figures that one process can measure, each on a bot of its own beside the bare floor."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from market_maker.domain.events import BookTopChanged, TradePrinted
from market_maker.domain.fill import Side
from market_maker.engine.lane import Lane
from market_maker.engine.procedures import Pending
from tests.bench.rig import SYMBOL, Bare, Rig, a_running_bot, some_settings
from tests.bench.table import Row, ms, percentile
from tests.bench.venue import Market

UPDATES_PER_S_MIN: Final = 20_000
BARE_RATIO_MIN: Final = 200
LATENCY_RATIO_MAX: Final = 1.5
GROWTH_MAX: Final = 1.10
# Per update 0.4 bps of standard deviation: a full batch of 4,000 crosses several levels.
FAST_STEP_CENTS: Final = 400
# Twenty updates a second that cross a level every few seconds.
PACED_STEP_CENTS: Final = 600
PACE_POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: `make bench`, or the short version."""

    throughput_rounds: int
    throughput_updates: int
    latency_samples: int
    paced_s: float
    memory_updates: tuple[int, int]
    history_updates: tuple[int, int]
    restarts: int


FULL: Final = Effort(8, 50_000, 150, 20.0, (100_000, 1_000_000), (1_000, 1_000_000), 7)
QUICK: Final = Effort(3, 40_000, 40, 6.0, (100_000, 300_000), (1_000, 100_000), 3)


async def throughput(folder: Path, effort: Effort) -> list[Row]:
    """Updates a second, offered faster than the bot can take; the bare floor between the rounds."""
    rates, floors, ratios = [], [], []
    market, bare = Market(SYMBOL, step_cents_max=FAST_STEP_CENTS), Bare()
    async with a_running_bot(folder, some_settings(folder)) as rig:
        await bare.run(20)
        await rig.offer_all(list(market.take(20_000, since=datetime.now(UTC))))
        recorded, workflows = rig.recorded_count, rig.workflow_count
        for _ in range(effort.throughput_rounds):
            floor = await bare.run(40)
            updates = list(market.take(effort.throughput_updates, since=datetime.now(UTC)))
            began = perf_counter()
            await rig.offer_all(updates)
            rates.append(len(updates) / (perf_counter() - began))
            floors.append(floor)
            ratios.append(rates[-1] / floor)
        rig.check()
        count = effort.throughput_rounds * effort.throughput_updates
        assert rig.recorded_count - recorded >= count, "not every update was recorded"
        per_workflow = (rig.recorded_count - recorded) / (rig.workflow_count - workflows)
        fill_count, per_update = rig.exchange.fill_count, rig.disk_bytes / rig.recorded_count
    rate, ratio = median(rates), median(ratios)
    second = median(bare.second_steps_s)
    return [
        Row(
            figure="bare: a DBOS workflow of three empty steps",
            measured=f"{median(floors):,.1f}/s; second step after {ms(second)}",
        ),
        Row(
            figure="recorded updates/s, one symbol, none conflated",
            measured=f"{rate:,.0f}/s",
            bare=f"{median(floors):,.1f} workflows/s",
            ratio=f"{ratio:,.0f} ×",
            must=f"≥ {UPDATES_PER_S_MIN:,}/s and ≥ {BARE_RATIO_MIN} ×",
            is_reached=rate >= UPDATES_PER_S_MIN and ratio >= BARE_RATIO_MIN,
        ),
        Row(
            figure="  updates per workflow; fills in the run",
            measured=f"{per_workflow:,.0f}; {fill_count:,}",
        ),
        Row(
            figure="  disk per update, before archive, full batches",
            measured=f"{per_update:,.0f} B",
        ),
    ]


async def latency(folder: Path, effort: Effort) -> list[Row]:
    """
    A trade fills one order of an idle bot: until the answer to it is signed.

    Each sample is followed by one of the bare floor, after the same silence.
    """
    taken: list[float] = []
    bare = Bare()
    market = Market(SYMBOL, step_cents_max=1)
    async with a_running_bot(folder, some_settings(folder)) as rig:
        await rig.offer_all(list(market.take(10, since=datetime.now(UTC))))
        for number in range(effort.latency_samples + 10):
            await asyncio.sleep(0.05)
            sample = await _answer_to_a_fill(rig, number)
            await asyncio.sleep(0.05)
            await bare.run(1)
            if number >= 10:
                taken.append(sample)
        rig.check()
    floors = bare.second_steps_s[10:]
    p50, floor50 = percentile(taken, 0.5), percentile(floors, 0.5)
    p99, floor99 = percentile(taken, 0.99), percentile(floors, 0.99)
    return [
        Row(
            figure="update received → order leaves, idle symbol, p50",
            measured=ms(p50),
            bare=ms(floor50),
            ratio=f"{p50 / floor50:.2f} ×",
            must=f"≤ {LATENCY_RATIO_MAX} ×",
            is_reached=p50 <= LATENCY_RATIO_MAX * floor50,
        ),
        Row(
            figure="  the same, p99",
            measured=ms(p99),
            bare=ms(floor99),
            ratio=f"{p99 / floor99:.2f} ×",
        ),
    ]


async def _answer_to_a_fill(rig: Rig, number: int) -> float:
    """Trade through one resting order, up and down in turn; returns the time to a signature."""
    buy, sell = rig.exchange.best(SYMBOL)
    cent = Decimal("0.01")
    now = datetime.now(UTC)
    trade = TradePrinted(
        id=f"{SYMBOL}:latency{number}",
        symbol=SYMBOL,
        exchange_at=now,
        received_at=now,
        price=buy - cent if number % 2 else sell + cent,
        quantity=Decimal(1),
        taker_side=Side.SELL if number % 2 else Side.BUY,
    )
    rig.exchange.signed_at.clear()
    began = perf_counter()
    rig.offer([trade])
    await rig.idle()
    assert rig.exchange.signed_at, "the bot did not answer a fill"
    return rig.exchange.signed_at[0] - began


async def fifty(folder: Path, effort: Effort) -> list[Row]:
    """50 symbols × 20 updates a second."""
    return await _paced(folder, effort, symbol_count=50, rate=20, p99_max_s=0.5)


async def two_hundred(folder: Path, effort: Effort) -> list[Row]:
    """200 symbols × 5 updates a second."""
    return await _paced(folder, effort, symbol_count=200, rate=5, p99_max_s=1.0)


async def _paced(
    folder: Path, effort: Effort, *, symbol_count: int, rate: int, p99_max_s: float
) -> list[Row]:
    """Offer at a steady pace; latency counts from when an update was due, however late it came."""
    symbols = [f"S{number:03d}/USDT" for number in range(symbol_count)]
    markets = [Market(symbol, step_cents_max=PACED_STEP_CENTS) for symbol in symbols]
    bare, latencies = Bare(), _Latencies()
    async with a_running_bot(folder, some_settings(folder, symbols)) as rig:
        await bare.run(20)
        floor = await bare.run(40)
        await _pace(rig, markets, rate=rate, seconds=3.0)
        await rig.idle()
        latencies.listen(rig)
        recorded, workflows, disk = rig.recorded_count, rig.workflow_count, rig.disk_bytes
        fills, cpu_s, began = rig.exchange.fill_count, time.process_time(), perf_counter()
        await _pace(rig, markets, rate=rate, seconds=effort.paced_s)
        cpu_ratio = (time.process_time() - cpu_s) / (perf_counter() - began)
        await rig.idle()
        rig.check()
        offered = int(symbol_count * rate * effort.paced_s)
        assert len(latencies.seconds) >= offered, "not every update was recorded"
        count = rig.recorded_count - recorded
        per_workflow = count / (rig.workflow_count - workflows)
        per_update = (rig.disk_bytes - disk) / count
        fills = rig.exchange.fill_count - fills
        floor = (floor + await bare.run(40)) / 2
    p50, p99 = percentile(latencies.seconds, 0.5), percentile(latencies.seconds, 0.99)
    whole = median(bare.durations_s)
    return [
        Row(
            figure=f"{symbol_count} symbols × {rate} updates/s: update → recorded, p99",
            measured=ms(p99),
            bare=f"{ms(whole)} a workflow",
            ratio=f"{p99 / whole:,.1f} ×",
            must=f"≤ {p99_max_s * 1000:,.0f} ms, none conflated",
            is_reached=p99 <= p99_max_s,
        ),
        Row(
            figure="  p50; updates per workflow; processor; fills",
            measured=f"{ms(p50)}; {per_workflow:,.1f}; {cpu_ratio:.0%}; {fills:,}",
        ),
        Row(figure="  disk per update, before archive", measured=f"{per_update:,.0f} B"),
    ]


async def _pace(rig: Rig, markets: list[Market], *, rate: int, seconds: float) -> None:
    """Update k is due at k / (symbols × rate), on the symbols in turn."""
    gap_s = 1 / (len(markets) * rate)
    began, began_at = perf_counter(), datetime.now(UTC)
    count, sent = int(seconds / gap_s), 0
    while sent < count:
        due = min(int((perf_counter() - began) / gap_s), count)
        while sent < due:
            at = began_at + timedelta(seconds=sent * gap_s)
            rig.offer([markets[sent % len(markets)].next(exchange_at=at, received_at=at)])
            sent += 1
        await asyncio.sleep(PACE_POLL_S)


class _Latencies:
    """From received to recorded, of every price update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def listen(self, rig: Rig) -> None:
        feedback: Any = rig.orchestrator.feedback
        original: Callable[[Lane, Pending], None] = feedback.after_batch

        def after_batch(lane: Lane, pending: Pending) -> None:
            now = datetime.now(UTC)
            self.seconds += [
                (now - update.received_at).total_seconds()
                for update in pending.batch.updates
                if isinstance(update, TradePrinted | BookTopChanged)
            ]
            original(lane, pending)

        feedback.after_batch = after_batch


async def memory(folder: Path, effort: Effort) -> list[Row]:
    """Resident memory after many updates against after a tenth of them."""
    market = Market(SYMBOL, step_cents_max=FAST_STEP_CENTS)
    few, many = effort.memory_updates
    bare = Bare()
    async with a_running_bot(folder, some_settings(folder)) as rig:
        await bare.run(40)
        before = await _resident_after(rig, market, few)
        after = await _resident_after(rig, market, many)
        rig.check()
    return [
        Row(
            figure=f"memory after {many:,} updates vs after {few:,}",
            measured=f"{after:,.0f} MiB vs {before:,.0f} MiB",
            ratio=f"{after / before:.3f} ×",
            must=f"≤ {GROWTH_MAX:.2f} ×",
            is_reached=after <= GROWTH_MAX * before,
        )
    ]


async def _resident_after(rig: Rig, market: Market, count: int) -> float:
    while (left := count - rig.recorded_count) > 0:
        await rig.offer_all(list(market.take(min(left, 10_000), since=datetime.now(UTC))))
    gc.collect()
    status = await asyncio.to_thread(Path("/proc/self/status").read_text)
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


Figure = Callable[[Path, Effort], Coroutine[Any, Any, list[Row]]]

IN_PROCESS: Final[Mapping[str, Figure]] = {
    "throughput": throughput,
    "latency": latency,
    "fifty": fifty,
    "two-hundred": two_hundred,
    "memory": memory,
}
