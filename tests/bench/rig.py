"""
One system in process, built as `market-maker run` builds it, on the venue of `venue.py`.

Everything between the inbox and the disk is the product's own: settings, bootstrap, engine, DBOS,
SQLite, metrics, logs. Only the venue is small, because it is not what is measured. The bare floor
runs beside it on the same DBOS, the same database and the same event loop.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from unittest.mock import patch

from dbos import DBOS, SetWorkflowID

from market_maker import bootstrap
from market_maker.adapters.system import SystemClock
from market_maker.cli.run import SWITCH_INTERVAL_S
from market_maker.config.loader import load_settings
from market_maker.config.settings import Settings
from market_maker.domain.events import BookTopChanged, TradePrinted
from market_maker.domain.symbol import SymbolMode
from market_maker.engine.orchestrator import Orchestrator
from market_maker.engine.settings import Stop
from tests.bench.venue import BenchExchange

SYMBOL: Final = "BTC/USDT"
WAITING_MAX: Final = 5_000
PATIENCE_S: Final = 60.0
# Each look wakes the loop, which takes the interpreter from the thread that writes: half a
# millisecond here doubled the latency that was to be measured.
POLL_S: Final = 0.004

Json = dict[str, Any]


# --- settings ---


def some_settings(folder: Path, symbols: Sequence[str] = (SYMBOL,)) -> Json:
    """A tight grid of 8 + 8 levels on each symbol, risk on, limits wide enough to keep quoting."""
    return {
        "bot": "bench",
        "tag": "ben",
        "database": {"url": f"sqlite:///{folder / 'bench.sqlite'}"},
        "venue": {
            "adapter": "simulated",
            "name": "bench",
            "file": str(folder / "venue.sqlite"),
            "seed": 7,
            "balances": {"USDT": "10000000", "BTC": "100"},
            "while_closed": "pause",
            "instruments": [_an_instrument(symbol) for symbol in symbols],
            "faults": {"seed": 1},
        },
        "symbols": [_a_symbol(symbol) for symbol in symbols],
        "risk": {
            "exposure_notional_quote_max": "1000000000",
            "concentration_ratio_max": "1",
            "symbols_allowed": list(symbols),
        },
        "book_age_max": "1h",
        "health": {"enabled": False},
        "logging": {"level": "INFO", "file": str(folder / "log.jsonl")},
    }


def _an_instrument(symbol: str) -> Json:
    return {
        "symbol": symbol,
        "kind": "spot",
        "tick_size": "0.01",
        "lot_size": "0.00001",
        "min_notional": "5",
        "maker_fee_ratio": "0.0001",
        "taker_fee_ratio": "0.0005",
        "fee_asset": "quote",
        "market": {
            "kind": "random_walk",
            "start_price": "60000",
            "step_bps_max": "1",
            "ticks": {"kind": "with_volume", "frequency_ms": 100},
        },
    }


def _a_symbol(symbol: str) -> Json:
    return {
        "symbol": symbol,
        "strategy": {
            "kind": "grid",
            "mode": "neutral",
            "interval_bps": "4",
            "order_notional_quote": "200",
            "buy_levels_max": 8,
            "sell_levels_max": 8,
            "anchor": "60000",
            "lower": "30000",
            "upper": "120000",
            "window_levels": 20,
        },
        "limits": {
            "price_collar_bps": "500",
            "order_notional_quote_max": "500",
            "order_quantity_base_max": "1",
            "order_count_per_side_max": 40,
            "position_quantity_base_max": "1000",
            "exposure_notional_quote_max": "100000000",
            "orders_per_minute_max": 1_000_000,
            "rejections_per_minute_max": 1_000_000,
            "daily_notional_quote_max": "1000000000000",
        },
    }


def write_settings(path: Path, settings: Json) -> Path:
    """Write settings where `--config` finds them."""
    path.write_text(json.dumps(settings))
    return path


# --- the bare floor ---


@DBOS.step(name="bench.first")
async def _first(value: int) -> int:
    return value


@DBOS.step(name="bench.second")
async def _second(value: int) -> int:
    _reached.append(perf_counter())
    return value


@DBOS.step(name="bench.third")
async def _third(value: int) -> int:
    return value


@DBOS.workflow(name="bench.bare")
async def _bare(value: int) -> int:
    return await _third(await _second(await _first(value)))


_reached: list[float] = []


@dataclass(slots=True)
class Bare:
    """Runs empty workflows and keeps what they took."""

    durations_s: list[float] = field(default_factory=list)
    second_steps_s: list[float] = field(default_factory=list)

    async def run(self, count: int) -> float:
        """Run some, one after the other; returns workflows per second."""
        began = perf_counter()
        for _ in range(count):
            started = perf_counter()
            with SetWorkflowID(f"bare-{id(self)}-{len(self.durations_s)}"):
                await _bare(1)
            self.durations_s.append(perf_counter() - started)
            self.second_steps_s.append(_reached.pop() - started)
        return count / (perf_counter() - began)


# --- the system ---


@dataclass(slots=True)
class Rig:
    """A running bot and its venue."""

    orchestrator: Orchestrator
    exchange: BenchExchange
    database: Path

    def offer(self, updates: Iterable[TradePrinted | BookTopChanged]) -> None:
        """Hand updates over as a stream would, with the fills that they cause."""
        put, exchange = self.orchestrator.put, self.exchange
        for update in updates:
            put(update)
            if type(update) is TradePrinted:
                for report in exchange.trade(update):
                    put(report)

    async def offer_all(self, updates: Sequence[TradePrinted | BookTopChanged]) -> None:
        """Offer faster than the bot can take, short of conflation, until all are recorded."""
        (inbox,) = {id(lane.inbox): lane.inbox for lane in self._lanes(updates)}.values()
        offered = 0
        while offered < len(updates):
            room = WAITING_MAX - len(inbox)
            if room > 0:
                self.offer(updates[offered : offered + room])
                offered += room
            await asyncio.sleep(POLL_S)
        await self.idle()

    async def idle(self) -> None:
        """Wait until everything is recorded."""
        while not self.orchestrator.is_idle:  # noqa: ASYNC110  # reason: no event says so
            await asyncio.sleep(POLL_S)

    @property
    def skipped_count(self) -> int:
        """Updates that were conflated."""
        states = self.orchestrator.procedures.states.values()
        return sum(state.status.updates_skipped_count for state in states)

    @property
    def recorded_count(self) -> int:
        """Updates that were recorded."""
        states = self.orchestrator.procedures.states.values()
        return sum(state.status.updates_processed_count for state in states)

    @property
    def workflow_count(self) -> int:
        """Workflows of all lanes."""
        return sum(lane.sequence for lane in self.orchestrator.lanes.values())

    @property
    def disk_bytes(self) -> int:
        """The database file and its write-ahead log."""
        files = (self.database, Path(f"{self.database}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def check(self) -> None:
        """A figure counts only if the bot did its whole work."""
        states = self.orchestrator.procedures.states.values()
        assert self.skipped_count == 0, f"{self.skipped_count} updates were conflated"
        assert self.exchange.fill_count, "nothing was filled"
        incidents = [i for state in states for i in state.incidents.values()]
        assert not incidents, incidents[0]

    def _lanes(self, updates: Iterable[TradePrinted | BookTopChanged]) -> list[Any]:
        symbols = {update.symbol for update in updates}
        hosts = self.orchestrator.lanes.values()
        return [lane for lane in hosts if symbols & set(lane.symbols)]


@asynccontextmanager
async def a_running_bot(folder: Path, settings: Json) -> AsyncIterator[Rig]:
    """Start a bot in this process, and stop it afterwards; yields when every symbol quotes."""
    checked = load_settings([write_settings(folder / "bench.json", settings)])
    bootstrap.start_logging(checked, console_level="ERROR")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    exchange = BenchExchange(
        SystemClock(), tuple(bootstrap.configured_instruments(checked).values())
    )
    with patch.object(bootstrap, "make_exchange", lambda _: exchange):
        system = await bootstrap.build_system(checked, version="bench")
    orchestrator = system.orchestrator
    await orchestrator.start()
    running = asyncio.create_task(orchestrator.run(Stop()))
    try:
        await _until_quoting(orchestrator, checked)
        yield Rig(orchestrator, exchange, folder / "bench.sqlite")
    finally:
        orchestrator.request_stop("measured")
        await running
        await orchestrator.stop()
        await system.close()


async def _until_quoting(orchestrator: Orchestrator, settings: Settings) -> None:
    states = orchestrator.procedures.states
    deadline = perf_counter() + PATIENCE_S
    while perf_counter() < deadline:
        modes = {states[symbol.symbol].status.mode for symbol in settings.symbols}
        if modes == {SymbolMode.QUOTING} and orchestrator.is_idle:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"not quoting within {timedelta(seconds=PATIENCE_S)}")
