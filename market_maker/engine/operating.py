"""Operator commands in a running engine: taken up from the database, seen to their end."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from market_maker.domain.errors import ExchangeError
from market_maker.domain.events import CommandIssued, Update
from market_maker.engine.procedures import Procedures
from market_maker.engine.reconciler import Reconciler
from market_maker.engine.settings import Stop
from market_maker.engine.venue.reading import within_timeout
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Exchange
from market_maker.ports.store import CommandRow, Store

COMMAND_POLL_S: Final = 0.2
DONE_POLL_S: Final = 0.05

_log = structlog.stdlib.get_logger(__name__)


class OperatorDesk:
    """Takes commands up as updates, and knows whether anything of ours is left at the venue."""

    def __init__(
        self,
        *,
        store: Store,
        exchange: Exchange,
        clock: Clock,
        procedures: Procedures,
        reconciler: Reconciler,
        tag: str,
        symbols: tuple[str, ...],
        put: Callable[[Update], None],
    ) -> None:
        self.symbols = symbols
        self._store = store
        self._exchange = exchange
        self._clock = clock
        self._procedures = procedures
        self._reconciler = reconciler
        self._tag = tag
        self._put = put
        self._seen: set[str] = set()

    async def poll_forever(self) -> None:
        """Put commands from the database into the inboxes of the symbols that they address."""
        while True:
            for row in await self._store.take_commands():
                if row.command_id not in self._seen:
                    self._seen.add(row.command_id)
                    self._take_up(row)
            await asyncio.sleep(COMMAND_POLL_S)

    async def await_command(self, stop: Stop, is_idle: Callable[[], bool]) -> None:
        """Return once the run's one command is done, and the venue agrees if it must."""
        while True:
            await asyncio.sleep(DONE_POLL_S)
            row = await self._store.load_command(stop.command_id)
            if row is None or row.state != "done" or not is_idle():
                continue
            if not stop.when_no_own_orders or await self._venue_lists_none(stop.symbol):
                return

    def has_no_own_orders(self, symbol: str = "") -> bool:
        """Whether the books know no live order on a symbol; "" is all."""
        states = self._procedures.states
        return all(not states[one].orders for one in self._addressed(symbol))

    async def _venue_lists_none(self, symbol: str) -> bool:
        """Whether neither books nor venue know an own order; has the venue read again if not."""
        if not self.has_no_own_orders(symbol):
            return False
        for one in self._addressed(symbol):
            try:
                listed = await within_timeout(self._exchange.fetch_open_orders(one))
            except ExchangeError as error:
                _log.info("open_orders_not_read", symbol=one, error=str(error))
                return False
            if any(order.client_order_id.startswith(self._tag) for order in listed):
                self._reconciler.request(one)
                return False
        return True

    def _take_up(self, row: CommandRow) -> None:
        for symbol in self._addressed(row.symbol):
            self._put(
                CommandIssued(
                    id=f"{row.command_id}/{symbol}",
                    symbol=symbol,
                    exchange_at=None,
                    received_at=self._clock.now(),
                    command_id=row.command_id,
                    name=row.name,
                    argument=row.argument,
                    is_for_all=not row.symbol,
                )
            )

    def _addressed(self, symbol: str) -> tuple[str, ...]:
        return (symbol,) if symbol else self.symbols
