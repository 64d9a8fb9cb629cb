"""
The place step: send what was decided, once, and say what is known of each request.

The first execution in the process that started the workflow sends; any re-execution only asks. For
a market maker an intent that was not sent is expired, not owed: sending it again could double it,
not sending it costs a quote.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from market_maker.domain.errors import (
    ExchangeError,
    ExchangeUnavailable,
    FilterViolation,
    InsufficientBalance,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    UnknownOrder,
    WouldTake,
)
from market_maker.domain.events import OrderLookedUp, Update
from market_maker.domain.intents import Outcome, OutcomeKind
from market_maker.domain.order import CancelRequest, OrderState, RejectReason
from market_maker.engine.records import Decision, PlannedPlace
from market_maker.engine.venue.lease import LeaseKeeper, Permit
from market_maker.ports.clock import Clock
from market_maker.ports.exchange import Exchange
from market_maker.ports.failpoints import failpoint

ASK_TIMEOUT_S: Final = 5

_log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class VenueClock:
    """How far the venue's clock is ahead of ours; measured at start and again and again."""

    offset: timedelta = timedelta(0)


class Placer:
    """Carries decisions to the venue within `place_wait`."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        keeper: LeaseKeeper,
        *,
        venue_clock: VenueClock,
        place_wait: timedelta,
        lifetime: timedelta,
        on_update: Callable[[Update], None],
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._keeper = keeper
        self._venue_clock = venue_clock
        self._place_wait = place_wait
        self._lifetime = lifetime
        self._on_update = on_update
        self._late: set[asyncio.Task[Outcome]] = set()

    async def send(self, decision: Decision) -> tuple[Outcome, ...]:
        """Send cancels, then orders, concurrently; what is open after `place_wait` is unknown."""
        failpoint("place.begin")
        deadline = self._clock.boottime() + self._place_wait.total_seconds()
        cancels: dict[str, asyncio.Task[Outcome]] = {}
        tasks: list[tuple[str, str, str, Permit, asyncio.Task[Outcome]]] = []
        for cancel in decision.cancels:
            permit = self._permit(deadline)
            task = asyncio.create_task(self._cancel(cancel, permit), name="cancel")
            cancels[cancel.client_order_id] = task
            tasks.append(("cancel", cancel.client_order_id, cancel.symbol, permit, task))
        for place in decision.places:
            permit = self._permit(deadline)
            task = asyncio.create_task(self._place(place, permit, cancels), name="place")
            request = place.request
            tasks.append(("place", request.client_order_id, request.symbol, permit, task))
        await asyncio.wait([task for *_, task in tasks], timeout=self._place_wait.total_seconds())
        failpoint("place.after_sends")
        return tuple(self._collect(*entry) for entry in tasks)

    async def ask(self, decision: Decision) -> tuple[Outcome, ...]:
        """Re-entry: repeat cancels, ask for each order by its id, send nothing new."""
        failpoint("place.reentry")
        deadline = self._clock.boottime() + self._place_wait.total_seconds()
        cancels = [self._repeat_cancel(cancel, deadline) for cancel in decision.cancels]
        outcomes = await asyncio.gather(*cancels)
        outcomes += await asyncio.gather(*[self._ask_one(place) for place in decision.places])
        return tuple(outcomes)

    async def cancel(self, request: CancelRequest) -> Outcome:
        """Cancel one order outside any workflow: a rebuild clears what the lost books placed."""
        deadline = self._clock.boottime() + self._place_wait.total_seconds()
        return await self._cancel(request, self._permit(deadline))

    async def close(self) -> None:
        """Drop requests that are still open; settling asks for them."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    def _permit(self, deadline: float) -> Permit:
        return Permit(
            self._keeper,
            self._clock,
            deadline=deadline,
            lifetime=self._lifetime,
            clock_offset=self._venue_clock.offset,
        )

    async def _cancel(self, request: CancelRequest, permit: Permit) -> Outcome:
        async def send() -> Outcome:
            report = await self._exchange.cancel_order(request, permit)
            return Outcome(
                action="cancel",
                client_order_id=request.client_order_id,
                symbol=request.symbol,
                kind=OutcomeKind.ACCEPTED,
                report=report,
            )

        return await self._outcome("cancel", request.client_order_id, request.symbol, permit, send)

    async def _place(
        self, place: PlannedPlace, permit: Permit, cancels: Mapping[str, asyncio.Task[Outcome]]
    ) -> Outcome:
        request = place.request
        if place.after_cancel:
            refusal = await _cancel_refusal(place, cancels)
            if refusal:
                return Outcome(
                    action="place",
                    client_order_id=request.client_order_id,
                    symbol=request.symbol,
                    kind=OutcomeKind.NOT_SENT,
                    reason=refusal,
                )

        async def send() -> Outcome:
            report = await self._exchange.place_order(request, permit)
            failpoint("place.among_sends")
            return Outcome(
                action="place",
                client_order_id=request.client_order_id,
                symbol=request.symbol,
                kind=OutcomeKind.ACCEPTED,
                report=report,
                signed_at=permit.signed.signed_at if permit.signed else None,
                signed_until=permit.signed.signed_until if permit.signed else None,
            )

        return await self._outcome("place", request.client_order_id, request.symbol, permit, send)

    async def _outcome(
        self,
        action: str,
        client_order_id: str,
        symbol: str,
        permit: Permit,
        send: Callable[[], Awaitable[Outcome]],
    ) -> Outcome:
        """Map what the venue did to accepted, rejected, unknown or not sent."""
        reject_reason: RejectReason | None = None
        retry_after: timedelta | None = None
        try:
            return await send()
        except RateLimited as error:
            kind, reason, retry_after = OutcomeKind.NOT_SENT, str(error), error.retry_after
        except ExchangeUnavailable as error:
            kind, reason = OutcomeKind.NOT_SENT, str(error)
        except OrderRejected as error:
            kind, reason = OutcomeKind.REJECTED, error.reason
            reject_reason = _reject_reason(error)
        except (OutcomeUnknown, ExchangeError) as error:
            kind, reason = OutcomeKind.UNKNOWN, str(error)
        signed = permit.latest() if kind is OutcomeKind.UNKNOWN else permit.signed
        return Outcome(
            action=action,
            client_order_id=client_order_id,
            symbol=symbol,
            kind=kind,
            reason=reason,
            reject_reason=reject_reason,
            signed_at=signed.signed_at if signed else None,
            signed_until=signed.signed_until if signed else None,
            retry_after=retry_after,
        )

    def _collect(
        self,
        action: str,
        client_order_id: str,
        symbol: str,
        permit: Permit,
        task: asyncio.Task[Outcome],
    ) -> Outcome:
        if task.done():
            return task.result()
        if permit.signed is None:
            task.cancel()
            return Outcome(
                action=action,
                client_order_id=client_order_id,
                symbol=symbol,
                kind=OutcomeKind.NOT_SENT,
                reason="not signed within place_wait",
            )
        self._late.add(task)
        task.add_done_callback(self._on_late)
        return Outcome(
            action=action,
            client_order_id=client_order_id,
            symbol=symbol,
            kind=OutcomeKind.UNKNOWN,
            reason="no answer within place_wait",
            signed_at=permit.signed.signed_at,
            signed_until=permit.signed.signed_until,
        )

    def _on_late(self, task: asyncio.Task[Outcome]) -> None:
        """An answer after `place_wait` comes back as an ordinary update."""
        self._late.discard(task)
        if task.cancelled() or task.exception() is not None:
            return
        outcome = task.result()
        if outcome.report is None:
            return
        self._on_update(
            OrderLookedUp(
                id=(
                    f"{outcome.client_order_id}:late:{outcome.action}:"
                    f"{self._clock.now().isoformat()}"
                ),
                symbol=outcome.symbol,
                exchange_at=None,
                received_at=self._clock.now(),
                client_order_id=outcome.client_order_id,
                report=outcome.report,
                is_conclusive=True,
            )
        )

    async def _repeat_cancel(self, request: CancelRequest, deadline: float) -> Outcome:
        permit = self._permit(deadline)
        try:
            return await asyncio.wait_for(self._cancel(request, permit), ASK_TIMEOUT_S)
        except TimeoutError:
            return Outcome(
                action="cancel",
                client_order_id=request.client_order_id,
                symbol=request.symbol,
                kind=OutcomeKind.UNKNOWN,
                reason=f"no answer within {ASK_TIMEOUT_S} s",
            )

    async def _ask_one(self, place: PlannedPlace) -> Outcome:
        request = place.request
        # The dead process may have signed until the instant it died, which is before now.
        signed_until: datetime = self._clock.now() + self._venue_clock.offset + self._lifetime
        kind, report, reason = OutcomeKind.UNKNOWN, None, "the process died before the outcome"
        try:
            report = await asyncio.wait_for(
                self._exchange.fetch_order(request.symbol, request.client_order_id), ASK_TIMEOUT_S
            )
            kind, reason = OutcomeKind.ACCEPTED, ""
        except UnknownOrder:
            reason = "not found after re-entry; settling asks again after its lifetime"
        except (ExchangeError, TimeoutError) as error:
            reason = f"could not ask: {error}"
        _log.info(
            "reentry_asked",
            client_order_id=request.client_order_id,
            outcome=kind.value,
            reason=reason,
        )
        return Outcome(
            action="place",
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            kind=kind,
            report=report,
            reason=reason,
            signed_until=signed_until,
        )


async def _cancel_refusal(place: PlannedPlace, cancels: Mapping[str, asyncio.Task[Outcome]]) -> str:
    """Why an order that waits for a cancel must not go; "" if it may."""
    task = cancels.get(place.after_cancel)
    outcome = await asyncio.shield(task) if task is not None else None
    report = outcome.report if outcome is not None else None
    if report is None or report.state is not OrderState.CANCELED:
        return f"the cancel of {place.after_cancel} did not end in CANCELED"
    if report.cumulative_quantity != place.expected_cumulative:
        return (
            f"order {place.after_cancel} had traded {report.cumulative_quantity}, "
            f"expected {place.expected_cumulative}"
        )
    return ""


def _reject_reason(error: OrderRejected) -> RejectReason:
    match error:
        case WouldTake():
            return RejectReason.POST_ONLY
        case InsufficientBalance():
            return RejectReason.INSUFFICIENT_BALANCE
        case FilterViolation():
            return RejectReason.FILTER
        case _:
            return RejectReason.OTHER
