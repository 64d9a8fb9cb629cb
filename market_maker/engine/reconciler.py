"""When the venue is read: at start, after every gap, regularly, and once more after a takeover."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import count
from typing import Any, Final

import structlog

from market_maker.domain.errors import ExchangeError
from market_maker.domain.events import BalancesTaken, Update, VenuePosition
from market_maker.engine.crash import end_process
from market_maker.engine.deciding.account import AccountActor
from market_maker.engine.lane import Lane
from market_maker.engine.procedures import Procedures
from market_maker.engine.venue.placing import VenueClock
from market_maker.engine.venue.reading import asked, read_snapshot, within_timeout
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Exchange
from market_maker.ports.failpoints import failpoint

FIRST_PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 5.0
SECOND_READ_PAUSE_S: Final = 0.02
CALM_S: Final = 1.0

_log = structlog.stdlib.get_logger(__name__)


class Reconciler:
    """Reads symbols on request, one reading of a symbol at a time, until it succeeds."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        procedures: Procedures,
        venue_clock: VenueClock,
        *,
        lane_of: Callable[[str], Lane],
        put: Callable[[Update], None],
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._procedures = procedures
        self._venue_clock = venue_clock
        self._lane_of = lane_of
        self._put = put
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._read_at: dict[str, tuple[float, float]] = {}
        self._numbers = count(1)
        self._run_id = f"{clock.now():%Y%m%d%H%M%S%f}"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being read."""
        return not self._tasks

    def request(self, symbol: str) -> None:
        """Read one symbol soon; a request while a reading runs joins the next one."""
        if symbol not in self._tasks:
            self._start(symbol, self._read(symbol))

    def request_account(self) -> None:
        """Read the account's balances soon."""
        if AccountActor.SYMBOL not in self._tasks:
            self._start(AccountActor.SYMBOL, self._read_balances())

    async def measure_clock(self) -> None:
        """Measure how far the venue's clock is ahead of ours, assuming a symmetric round trip."""
        try:
            before = self._clock.now()
            venue_now = await within_timeout(self._exchange.fetch_time())
            after = self._clock.now()
        except ExchangeError as error:
            _log.warning("clock_not_measured", error=str(error))
            return
        self._venue_clock.offset = venue_now - (before + (after - before) / 2)

    async def close(self) -> None:
        """Stop reading."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, symbol: str, reading: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(reading, name=f"reconcile {symbol}")
        self._tasks[symbol] = task
        task.add_done_callback(partial(self._forget, symbol))

    def _forget(self, symbol: str, task: asyncio.Task[None]) -> None:
        del self._tasks[symbol]
        if not task.cancelled() and (error := task.exception()) is not None:
            end_process(error, where="reconcile")

    async def _read(self, symbol: str) -> None:
        pause = FIRST_PAUSE_S
        failpoint("reconcile.begin")
        await self._pace(symbol)
        while True:
            lane, state = self._lane_of(symbol), self._procedures.states[symbol]
            try:
                snapshot = await read_snapshot(
                    self._exchange,
                    self._clock,
                    symbol=symbol,
                    orders=tuple(state.orders.values()),
                    since_at=lane.now,
                    after_trade_id=state.status.last_trade_id,
                    update_id=f"{symbol}:snapshot:{self._run_id}.{next(self._numbers)}",
                )
            except ExchangeError as error:
                _log.warning("reconcile_failed", symbol=symbol, error=str(error), again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_S_MAX)
            else:
                failpoint("reconcile.read")
                self._put(snapshot)
                return

    async def _pace(self, symbol: str) -> None:
        """A symbol that was read a moment ago does not agree yet: read it ever more slowly."""
        read_at, pause = self._read_at.get(symbol, (0.0, 0.0))
        is_calm = self._clock.boottime() - read_at > CALM_S + pause
        pause = 0.0 if is_calm else min(max(pause * 2, SECOND_READ_PAUSE_S), PAUSE_S_MAX)
        await asyncio.sleep(pause)
        self._read_at[symbol] = (self._clock.boottime(), pause)

    async def _read_balances(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                balances = await asked(self._exchange.fetch_balances)
                positions: tuple[VenuePosition, ...] = ()
                if self._exchange.is_derivative:
                    positions = await asked(self._exchange.fetch_positions)
            except ExchangeError as error:
                _log.warning("balances_not_read", error=str(error), again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_S_MAX)
            else:
                self._put(
                    BalancesTaken(
                        id=f"{AccountActor.SYMBOL}:{self._run_id}.{next(self._numbers)}",
                        symbol=AccountActor.SYMBOL,
                        exchange_at=None,
                        received_at=self._clock.now(),
                        balances=balances,
                        positions=positions,
                    )
                )
                return
