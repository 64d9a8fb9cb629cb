"""
What is asked until it is known: unknown orders, missing fills, cancels without an answer.

One task per order asks by client order id with backoff. "Not found" becomes a conclusion only when
the request can no longer be accepted (its lifetime has passed on the venue's own clock, plus a
margin) and the venue has said so twice. Answers come back through the inbox like any update.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Final

import structlog

from market_maker.domain.errors import ExchangeError
from market_maker.domain.events import Update
from market_maker.domain.order import Order, OrderState
from market_maker.engine.crash import end_process
from market_maker.engine.venue.reading import look_up, within_timeout
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Exchange
from market_maker.ports.failpoints import failpoint

FIRST_PAUSE_S: Final = 0.05
PAUSE_S_MAX: Final = 2.0
PAUSES_MAX: Final = 2_000
NOT_FOUND_COUNT: Final = 2

_log = structlog.stdlib.get_logger(__name__)


def needs_settling(order: Order) -> bool:
    """Whether the venue must be asked about an order."""
    return (
        order.state in {OrderState.UNKNOWN, OrderState.PENDING_NEW, OrderState.PENDING_CANCEL}
        or order.is_fills_missing
        or order.reported_state is not None
    )


class Settler:
    """Runs one asking task per unsettled order; `find` gives the order as the books have it now."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        *,
        put: Callable[[Update], None],
        find: Callable[[Order], Order | None],
        margin: timedelta,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._put = put
        self._find = find
        self._margin = margin
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pauses: OrderedDict[str, float] = OrderedDict()
        self._numbers = count(1)
        self._run_id = f"{clock.now():%Y%m%d%H%M%S%f}"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being asked."""
        return not self._tasks

    def settle(self, orders: Iterable[Order]) -> None:
        """Start asking for each order that is not being asked for yet."""
        for order in orders:
            key = order.client_order_id
            if key not in self._tasks:
                task = asyncio.create_task(self._ask(order), name=f"settle {key}")
                self._tasks[key] = task
                task.add_done_callback(partial(self._forget, key))

    async def close(self) -> None:
        """Stop asking."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, client_order_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[client_order_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            end_process(error, where="settle")

    def _remember(self, client_order_id: str, pause: float) -> None:
        self._pauses[client_order_id] = pause
        if len(self._pauses) > PAUSES_MAX:
            self._pauses.popitem(last=False)

    async def _ask(self, order: Order) -> None:
        # An answer that settled nothing is asked for again, ever more slowly.
        pause = self._pauses.pop(order.client_order_id, FIRST_PAUSE_S)
        not_found_count = 0
        failpoint("settle.begin")
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S_MAX)
            current = self._find(order)
            if current is None or not needs_settling(current):
                # The stream was faster than the question.
                return
            try:
                venue_now = await within_timeout(self._exchange.fetch_time())
                answer = await look_up(
                    self._exchange,
                    self._clock,
                    symbol=order.symbol,
                    client_order_id=order.client_order_id,
                    update_id=f"{order.client_order_id}:lookup:{self._run_id}.{next(self._numbers)}",
                )
            except ExchangeError as error:
                _log.info("lookup_failed", client_order_id=order.client_order_id, error=str(error))
                continue
            if answer.report is None and self._may_arrive(order, venue_now):
                continue
            not_found_count += answer.report is None
            if answer.report is not None or not_found_count >= NOT_FOUND_COUNT:
                _log.info(
                    "order_settled",
                    client_order_id=order.client_order_id,
                    state=answer.report.state.value if answer.report else "never placed",
                )
                self._remember(order.client_order_id, pause)
                failpoint("settle.answered")
                self._put(replace(answer, is_conclusive=True))
                return

    def _may_arrive(self, order: Order, venue_now: datetime) -> bool:
        """Whether the venue might still accept the request."""
        return order.signed_until is not None and venue_now <= order.signed_until + self._margin
