"""
Starts, supervises and stops the lanes: the order in which a bot comes to life and ends.

lock and lease → instruments and settings version → states from tables → driver → finish each lane's
head → lanes → stream → reconcile → quote. A stop finishes the running workflow and nothing else.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import structlog

from market_maker.domain.account import AccountState
from market_maker.domain.errors import (
    PreflightRefused,
)
from market_maker.domain.events import CommandIssued, Update
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import Order
from market_maker.domain.settings import DecisionSettings
from market_maker.engine import records
from market_maker.engine.crash import end_process
from market_maker.engine.deciding.account import AccountActor
from market_maker.engine.deciding.commands import OBSERVE, RETIRE, START, STOP
from market_maker.engine.feedback import Feedback
from market_maker.engine.inbox import Inbox
from market_maker.engine.lane import Lane, LaneSettings, lane_for
from market_maker.engine.operating import OperatorDesk
from market_maker.engine.preflight import check_books
from market_maker.engine.procedures import Pending, Procedures, Turn
from market_maker.engine.queries import status_object
from market_maker.engine.reconciler import Reconciler
from market_maker.engine.settings import EngineSettings, Stop
from market_maker.engine.venue.lease import LeaseKeeper
from market_maker.engine.venue.placing import Placer, VenueClock
from market_maker.engine.venue.reading import until_answered
from market_maker.engine.venue.settling import Settler
from market_maker.ports.clock import Clock
from market_maker.ports.driver import Driver
from market_maker.ports.exchange import Exchange
from market_maker.ports.failpoints import failpoint
from market_maker.ports.metrics import Metric, Metrics
from market_maker.ports.store import Lease, Store, SymbolRow

IDLE_POLL_S: Final = 0.0005
STOP_POLL_S: Final = 0.01
STOPPED_FIRST: Final = ("stream", "commands", "command", "reconcile", "takeover", "idle")
STUCK_AFTER_S: Final = 60.0
CLOCK_OFFSET_MAX: Final = timedelta(seconds=30)


_log = structlog.stdlib.get_logger(__name__)


class Orchestrator:
    """One bot, from start to stop."""

    def __init__(
        self,
        *,
        settings: EngineSettings,
        store: Store,
        exchange: Exchange,
        clock: Clock,
        metrics: Metrics,
        holder: str,
        make_driver: Callable[[Procedures], Driver],
        make_decision_settings: Callable[[tuple[Instrument, ...], str], DecisionSettings],
        on_idle: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.exchange = exchange
        self.clock = clock
        self.metrics = metrics
        self.keeper = LeaseKeeper(store, clock, holder=holder, ttl=settings.lease_ttl)
        self.venue_clock = VenueClock()
        self.lanes: dict[int, Lane] = {}
        self.updates_count = 0
        self._lane_by_symbol: dict[str, Lane] = {}
        self._make_decision_settings = make_decision_settings
        self._on_idle = on_idle
        self._lease: Lease | None = None
        self._stopped = asyncio.Event()
        self._stop = Stop()
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._numbers = count(1)
        self._rebuilds: Mapping[str, str] = {}
        self._answers: list[Update] = []
        self._retired: tuple[str, ...] = ()
        self.symbols = settings.symbols
        self._strategy_kinds: Mapping[str, str] = {}
        placer = Placer(
            exchange,
            clock,
            self.keeper,
            venue_clock=self.venue_clock,
            place_wait=settings.place_wait,
            lifetime=settings.request_lifetime,
            on_update=self.put,
        )
        self.placer = placer
        self.procedures = Procedures(
            store=store,
            keeper=self.keeper,
            placer=placer,
            turn=Turn(asyncio.Lock() if settings.has_writer_turn else None),
            metrics=metrics,
            settings={},
            states={},
            account=AccountActor(AccountState()),
            snapshot_every=settings.snapshot_every,
        )
        self.driver = make_driver(self.procedures)
        self.settler = Settler(
            exchange,
            clock,
            put=self._put_answer,
            find=self._find_order,
            margin=settings.settle_margin,
        )
        self.reconciler = Reconciler(
            exchange,
            clock,
            self.procedures,
            self.venue_clock,
            lane_of=self._lane_by_symbol.__getitem__,
            put=self._put_answer,
        )
        self.desk = OperatorDesk(
            store=store,
            exchange=exchange,
            clock=clock,
            procedures=self.procedures,
            reconciler=self.reconciler,
            tag=settings.tag,
            symbols=settings.symbols,
            put=self.put,
        )
        self.feedback = Feedback(
            procedures=self.procedures,
            settler=self.settler,
            reconciler=self.reconciler,
            store=store,
            metrics=metrics,
            put=self.put,
            symbols=settings.symbols,
            on_progress=self._on_progress,
        )

    # --- start ---

    async def start(self, *, is_rebuild: bool = False) -> None:
        """Bring the bot to where it quotes; raises before anything was sent if it must not."""
        self._lease = await self.keeper.acquire()
        self._tasks["lease"] = self._supervise("lease", self.keeper.renew_forever())
        failpoint("start.lease_held")
        await self.exchange.open()
        self._rebuilds = await until_answered(
            lambda: check_books(
                self.store,
                self.exchange,
                self.settings,
                is_rebuild=is_rebuild,
                cancel=self.placer.cancel,
            )
        )
        await self._load_states()
        await self.driver.launch(token=self.keeper.token)
        failpoint("start.launched")
        await self._finish_heads()
        version = await self._register_settings()
        await self._measure_clock()
        await self._open_lanes(version)
        failpoint("start.recovered")

    async def run(self, stop: Stop) -> None:
        """Trade until told to stop, or until the source ends."""
        self._stop = stop
        for symbol in self.symbols:
            argument = OBSERVE if stop.command_id else self._rebuilds.get(symbol, "")
            argument = RETIRE if symbol in self._retired else argument
            self.put(self._engine_command(START, symbol, argument))
        self.reconciler.request_account()
        for number, lane in self.lanes.items():
            self._tasks[f"lane {number}"] = self._supervise(f"lane {number}", lane.run())
        self._tasks["stream"] = self._supervise(
            "stream", self.exchange.stream(self.symbols, self.put)
        )
        self._tasks["stream"].add_done_callback(self._on_stream_done)
        self._tasks["commands"] = self._supervise("commands", self.desk.poll_forever())
        if stop.command_id:
            self._tasks["command"] = self._supervise("command", self._end_after_command(stop))
        if self._on_idle is not None:
            self._tasks["idle"] = self._supervise("idle", self._watch_idle(self._on_idle))
        else:
            self._tasks["reconcile"] = self._supervise("reconcile", self._reconcile_forever())
            self._tasks["takeover"] = self._supervise("takeover", self._reconcile_after_takeover())
        try:
            timeout = stop.after.total_seconds() if stop.after is not None else None
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            self.request_stop(f"{stop.after} are over")

    def request_stop(self, reason: str) -> None:
        """End the run gracefully."""
        if not self._stopped.is_set():
            _log.info("stopping", reason=reason)
            self._stopped.set()

    async def stop(self) -> None:
        """Finish what runs, cancel own orders if so set, give the lease back."""
        await self._cancel_tasks(*STOPPED_FIRST)
        if self.settings.is_cancel_on_exit and self.lanes:
            await self._cancel_own_orders()
        await self._drain()
        for lane in self.lanes.values():
            lane.stop()
        lane_tasks = [task for name, task in self._tasks.items() if name.startswith("lane")]
        await asyncio.gather(*lane_tasks)
        await self.reconciler.close()
        await self.settler.close()
        await self.placer.close()
        await self.feedback.close()
        await self._cancel_tasks("lease")
        await self.driver.close()
        await self.keeper.release()
        await self.exchange.close()

    # --- while it runs ---

    def _find_order(self, order: Order) -> Order | None:
        if self._on_idle is not None:
            # In lock-step every question is asked, however long it took to come to it.
            return order
        state = self.procedures.states.get(order.symbol)
        return None if state is None else state.orders.get(order.client_order_id)

    def put(self, update: Update) -> None:
        """Give an update to the lane of its symbol; unknown symbols go to the first lane."""
        lane = self._lane_by_symbol.get(update.symbol)
        if lane is None:
            lane = next(iter(self.lanes.values()), None)
        if lane is not None:
            lane.inbox.put(update)

    def _put_answer(self, update: Update) -> None:
        """Give back what was asked; in lock-step all answers together, in one order."""
        if self._on_idle is None:
            self.put(update)
        else:
            self._answers.append(update)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, runs or is being asked."""
        return (
            all(lane.is_idle for lane in self.lanes.values())
            and self.settler.is_idle
            and self.reconciler.is_idle
        )

    def liveness(self) -> str | None:
        """Why the bot is stuck; None if it is not."""
        for lane in self.lanes.values():
            if lane.busy_since is not None and time.monotonic() - lane.busy_since > STUCK_AFTER_S:
                return f"lane {lane.number} has been busy for more than {STUCK_AFTER_S:.0f} s"
        return None

    async def status(self) -> dict[str, Any]:
        """The status object of the command line, from memory."""
        self.metrics.gauge(Metric.LEASE_AGE, self.keeper.age.total_seconds())
        return status_object(
            bot=self.settings.bot,
            lease=await self.store.fetch_lease(),
            lanes=[(lane.number, lane.sequence) for lane in self.lanes.values()],
            states=[self.procedures.states[symbol] for symbol in self.symbols],
            strategies=self._strategy_kinds,
            limits=self.settings.to_limits(),
        )

    # --- parts of start ---

    async def _register_settings(self) -> int:
        instruments = await until_answered(
            lambda: self.exchange.fetch_instruments(self.settings.symbols)
        )
        before = await self.store.find_newest_settings()
        newest = None if before is None else records.from_record(before, DecisionSettings)
        # Without a journal a forgotten batch may have sent orders: its ids must not come again.
        is_kept = newest is not None and self.driver.is_durable
        epoch = newest.epoch if newest is not None and is_kept else self.clock.now().isoformat()
        decision = self._retire(self._make_decision_settings(instruments, epoch), newest)
        version = await self.store.register_settings(records.to_record(decision))
        self.procedures.settings[version] = decision
        self._strategy_kinds = {s: it.strategy.kind for s, it in decision.symbols.items()}
        self._retired = decision.retired
        self.symbols = (*self.settings.symbols, *decision.retired)
        self.feedback.symbols = self.desk.symbols = self.symbols
        return version

    def _retire(
        self, decision: DecisionSettings, newest: DecisionSettings | None
    ) -> DecisionSettings:
        """Keep symbols that were taken out of the settings while they still have orders."""
        known = {} if newest is None else newest.symbols
        retired = tuple(
            symbol
            for symbol in sorted(known)
            if symbol not in decision.symbols and self.procedures.states[symbol].orders
        )
        for symbol in retired:
            _log.warning("symbol_retired", symbol=symbol, what="canceling its orders")
        kept = {symbol: known[symbol] for symbol in retired}
        return replace(decision, symbols={**decision.symbols, **kept}, retired=retired)

    async def _load_states(self) -> None:
        rows = await self.store.load_symbol_rows()
        symbols = {row.symbol for row in rows} | set(self.settings.symbols)
        await self.procedures.load_states(sorted(symbols))

    async def _finish_heads(self) -> None:
        """Complete what a dead process left at the head of any lane, configured or not."""
        rows = await self.store.ensure_lanes(self.settings.lane_count, token=self.keeper.token)
        for symbol_row in await self.store.load_symbol_rows():
            hosted = self.procedures.hosted.get(symbol_row.lane, ())
            self.procedures.hosted[symbol_row.lane] = (*hosted, symbol_row.symbol)
        for row in rows:
            lane = self._make_lane(row.lane, row.sequence, row.now, symbols=(), version=0)
            if await lane.finish_head():
                await self._load_states()
        self.procedures.pending.clear()
        self.procedures.hosted.clear()

    async def _measure_clock(self) -> None:
        await self.reconciler.measure_clock()
        if abs(self.venue_clock.offset) > CLOCK_OFFSET_MAX:
            raise PreflightRefused(
                f"the venue's clock differs from ours by {self.venue_clock.offset}, more than "
                f"{CLOCK_OFFSET_MAX}: set this machine's clock (NTP) and start again"
            )

    async def _open_lanes(self, version: int) -> None:
        """Assign symbols by stable hash and create the lanes that host them."""
        rows = await self.store.ensure_lanes(self.settings.lane_count, token=self.keeper.token)
        latest = max((row.now for row in rows if row.now is not None), default=None)
        placed: dict[int, list[str]] = {n: [] for n in range(self.settings.lane_count)}
        for symbol in self.symbols:
            placed[lane_for(symbol, self.settings.lane_count)].append(symbol)
        await self.store.place_symbols(
            [
                SymbolRow(
                    symbol=symbol,
                    lane=number,
                    strategy=self._strategy_kinds[symbol],
                    is_configured=symbol not in self._retired,
                )
                for number, symbols in placed.items()
                for symbol in symbols
            ]
        )
        for row in rows:
            if row.lane not in placed:
                continue
            symbols = tuple(placed[row.lane])
            lane = self._make_lane(row.lane, row.sequence, latest, symbols=symbols, version=version)
            self.lanes[row.lane] = lane
            self.procedures.hosted[row.lane] = symbols
            for symbol in symbols:
                self._lane_by_symbol[symbol] = lane
        self._lane_by_symbol[AccountActor.SYMBOL] = self.lanes[0]

    def _make_lane(
        self,
        number: int,
        sequence: int,
        now: datetime | None,
        *,
        symbols: tuple[str, ...],
        version: int,
    ) -> Lane:
        return Lane(
            number,
            sequence=sequence,
            now=now or datetime.fromtimestamp(0, UTC),
            symbols=symbols,
            settings=LaneSettings(
                bot=self.settings.bot,
                settings_version=version,
                batch_updates_max=self.settings.batch_updates_max,
                batch_bytes_max=self.settings.batch_bytes_max,
            ),
            inbox=Inbox(
                price_updates_max=self.settings.price_updates_max,
                order_updates_max=self.settings.order_updates_max,
            ),
            procedures=self.procedures,
            driver=self.driver,
            clock=self.clock,
            metrics=self.metrics,
            after_batch=self._after_batch,
        )

    # --- parts of running ---

    def _after_batch(self, lane: Lane, pending: Pending) -> None:
        self.feedback.after_batch(lane, pending)

    def _on_progress(self, update_count: int) -> None:
        self.updates_count += update_count
        updates_max = self._stop.updates_max
        if updates_max is not None and self.updates_count >= updates_max:
            self.request_stop(f"{self.updates_count} updates were processed")

    def _engine_command(self, name: str, symbol: str, argument: str = "") -> CommandIssued:
        return CommandIssued(
            id=f"{symbol}:{name}:{self.keeper.token}.{next(self._numbers)}",
            symbol=symbol,
            exchange_at=None,
            received_at=self.clock.now(),
            command_id="",
            name=name,
            argument=argument,
        )

    def _on_stream_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            self.request_stop("the source ended")

    async def _reconcile_after_takeover(self) -> None:
        """Read the venue once more when nothing that the last process signed can still arrive."""
        await asyncio.sleep(
            (self.settings.request_lifetime + self.settings.settle_margin).total_seconds()
        )
        self._request_reconcile()

    async def _reconcile_forever(self) -> None:
        """Read every symbol, the account and the venue's clock again and again."""
        while True:
            await asyncio.sleep(self.settings.reconcile_interval.total_seconds())
            await self.reconciler.measure_clock()
            self._request_reconcile()

    def _request_reconcile(self) -> None:
        for symbol in self.symbols:
            self.reconciler.request(symbol)
        self.reconciler.request_account()

    async def _end_after_command(self, stop: Stop) -> None:
        await self.desk.await_command(stop, lambda: self.is_idle)
        self.request_stop("the command is done")

    async def _watch_idle(self, on_idle: Callable[[], None]) -> None:
        """
        Tell a lock-step source whenever everything it emitted has been dealt with.

        Reconciles are due by the market's own time: two runs must do the same at the same tick.
        """
        due_at = self.clock.now() + self.settings.reconcile_interval
        while not self._stopped.is_set():
            if self.is_idle and self._answers:
                answers, self._answers = self._answers, []
                for answer in sorted(answers, key=lambda one: (one.symbol, one.id)):
                    self.put(answer)
            elif self.is_idle and self.clock.now() >= due_at:
                due_at += self.settings.reconcile_interval
                self._request_reconcile()
            elif self.is_idle:
                on_idle()
            await asyncio.sleep(IDLE_POLL_S)

    async def _cancel_own_orders(self) -> None:
        """Cancel on exit: until nothing of ours rests or the time is up."""
        for symbol in self.symbols:
            self.put(self._engine_command(STOP, symbol))
        if not await self._within_stop_timeout(
            lambda: self.is_idle and self.desk.has_no_own_orders()
        ):
            _log.warning("own_orders_left", timeout=str(self.settings.stop_timeout))

    async def _drain(self) -> None:
        """Give what was received a chance to be recorded; what is not comes back by reconcile."""
        await self._within_stop_timeout(lambda: all(lane.is_idle for lane in self.lanes.values()))

    async def _within_stop_timeout(self, is_reached: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.settings.stop_timeout.total_seconds()
        while not is_reached() and time.monotonic() < deadline:  # noqa: ASYNC110  # reason: several parts
            await asyncio.sleep(STOP_POLL_S)
        return is_reached()

    def _supervise(self, name: str, work: Any) -> asyncio.Task[Any]:
        """Run a part of the bot; if it fails, the process ends and the next one resumes."""

        async def supervised() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  # reason: crash-only, see engine/crash.py
                end_process(error, where=name)

        return asyncio.create_task(supervised(), name=name)

    async def _cancel_tasks(self, *names: str) -> None:
        tasks = [task for name in names if (task := self._tasks.get(name)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
