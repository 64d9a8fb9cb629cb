"""What follows a recorded batch: log lines, metrics, questions to the venue, grants."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import structlog

from market_maker.domain.events import Allowance, AllowanceGranted, CommandIssued, Update
from market_maker.domain.order import OrderState
from market_maker.domain.position import unrealized_pnl
from market_maker.domain.symbol import SymbolMode, SymbolState
from market_maker.engine.crash import end_process
from market_maker.engine.lane import Lane
from market_maker.engine.procedures import Pending, Procedures
from market_maker.engine.reconciler import Reconciler
from market_maker.engine.records import Decision, from_record
from market_maker.engine.venue.settling import Settler, needs_settling
from market_maker.ports.metrics import Metric, Metrics
from market_maker.ports.store import Store

LOGGED_ONCE_MAX: Final = 2_000

_log = structlog.stdlib.get_logger(__name__)


class Feedback:
    """Called by a lane after each recorded batch; it only starts things, it never waits."""

    def __init__(
        self,
        *,
        procedures: Procedures,
        settler: Settler,
        reconciler: Reconciler,
        store: Store,
        metrics: Metrics,
        put: Callable[[Update], None],
        symbols: tuple[str, ...],
        on_progress: Callable[[int], None],
    ) -> None:
        self._procedures = procedures
        self._settler = settler
        self._reconciler = reconciler
        self._store = store
        self._metrics = metrics
        self._put = put
        self.symbols = symbols
        self._on_progress = on_progress
        self._logged: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._commands: dict[str, set[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def after_batch(self, lane: Lane, pending: Pending) -> None:
        """Start whatever the batch made necessary."""
        for symbol, state in pending.states.items():
            self._settler.settle(order for order in state.orders.values() if needs_settling(order))
            if state.status.mode is SymbolMode.SYNCING and symbol in self.symbols:
                self._reconciler.request(symbol)
            self._measure(state, pending)
        self._log_decision(pending.decision)
        for symbol, record in pending.decision.grants:
            self._grant(symbol, record, pending.batch.workflow_id, lane)
        for update in pending.batch.updates:
            if type(update) is CommandIssued:
                self._note_command(update)
        self._on_progress(len(pending.batch.updates))

    async def close(self) -> None:
        """Wait for what was started."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _grant(self, symbol: str, record: dict[str, object], cause: str, lane: Lane) -> None:
        self._put(
            AllowanceGranted(
                id=f"{cause}/{symbol}",
                symbol=symbol,
                exchange_at=None,
                received_at=lane.now,
                allowance=from_record(record, Allowance),
                cause=cause,
            )
        )

    def _note_command(self, command: CommandIssued) -> None:
        """A command is done once every symbol it addresses has recorded it."""
        if not command.command_id:
            return
        done = self._commands.setdefault(command.command_id, set())
        done.add(command.symbol)
        if command.is_for_all and not done.issuperset(self.symbols):
            return
        del self._commands[command.command_id]
        _log.info("command_done", command=command.name, command_id=command.command_id)
        task = asyncio.create_task(self._store.finish_command(command.command_id, "done"))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Else the command would stay open as long as this process lives.
            end_process(error, where="command")

    def _log_decision(self, decision: Decision) -> None:
        for notice in decision.notices:
            if notice.name == "unknown_symbol":
                self._metrics.count(Metric.UPDATES_REFUSED, symbol="", reason=notice.name)
            if self._is_new(notice.symbol, notice.name, notice.content):
                _log.warning(notice.name, symbol=notice.symbol, content=notice.content)
        for refusal in decision.refusals:
            self._metrics.count(Metric.REFUSALS, symbol=refusal.symbol, rule=refusal.rule)
            if self._is_new(refusal.symbol, refusal.side, refusal.rule, refusal.price):
                _log.info(
                    "order_refused",
                    symbol=refusal.symbol,
                    side=refusal.side,
                    price=refusal.price,
                    rule=refusal.rule,
                    limit=refusal.limit,
                    value=refusal.value,
                )

    def _is_new(self, *key: str) -> bool:
        """Whether this was not logged lately; the memory is bounded."""
        if key in self._logged:
            self._logged.move_to_end(key)
            return False
        self._logged[key] = None
        if len(self._logged) > LOGGED_ONCE_MAX:
            self._logged.popitem(last=False)
        return True

    def _measure(self, state: SymbolState, pending: Pending) -> None:
        metrics, symbol, price = self._metrics, state.symbol, state.market.price
        unknown = sum(1 for order in state.orders.values() if order.state is OrderState.UNKNOWN)
        metrics.gauge(Metric.UNKNOWN_ORDERS, unknown, symbol=symbol)
        metrics.gauge(Metric.OPEN_ORDERS, len(state.orders), symbol=symbol)
        metrics.gauge(Metric.POSITION, state.position.quantity, symbol=symbol)
        metrics.gauge(Metric.REALIZED_PNL, state.position.realized_pnl, symbol=symbol)
        if price is not None:
            metrics.gauge(
                Metric.UNREALIZED_PNL, unrealized_pnl(state.position, price), symbol=symbol
            )
        for changes in pending.decision.changes:
            for fill in changes.fills if changes.symbol == symbol else ():
                metrics.count(Metric.FILLS, symbol=symbol, side=fill.side, liquidity=fill.liquidity)
                metrics.count(Metric.FILLED_NOTIONAL, fill.notional, symbol=symbol, side=fill.side)
