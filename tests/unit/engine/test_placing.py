"""The place step: what leaves, what is known of it, and what a re-entry may do."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from market_maker.domain.errors import (
    ExchangeError,
    ExchangeUnavailable,
    FilterViolation,
    InsufficientBalance,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    WouldTake,
)
from market_maker.domain.events import OrderLookedUp, Update
from market_maker.domain.intents import Outcome, OutcomeKind
from market_maker.domain.order import (
    CancelRequest,
    OrderReport,
    OrderRequest,
    OrderState,
    RejectReason,
)
from market_maker.engine.records import Decision, PlannedPlace
from market_maker.engine.venue import lease as lease_module
from market_maker.engine.venue.lease import MARGIN, LeaseKeeper
from market_maker.engine.venue.placing import Placer, VenueClock
from market_maker.ports.exchange import SendPermit
from market_maker.ports.store import Lease
from tests.builders import SYMBOL, an_instrument, an_order
from tests.fakes.clock import START, FakeClock
from tests.fakes.exchange import FakeExchange

LIFETIME = timedelta(seconds=2)
TTL = timedelta(seconds=10)
SKEW = timedelta(seconds=7)


class LeaseStore:
    """As much of a store as a lease needs."""

    async def acquire_lease(self, *, holder: str, ttl: timedelta) -> Lease:
        return Lease(bot="bot", holder=holder, token=1, expires_at=START + ttl)


class SlowExchange(FakeExchange):
    """Answers when `gate` is set; signs before or after it."""

    signs_first = True

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, (an_instrument(),))
        self.gate = asyncio.Event()
        self.log: list[str] = []

    async def place_order(self, request: OrderRequest, permit: SendPermit) -> OrderReport:
        if not self.signs_first:
            await self.gate.wait()
        self.log.append(f"place {request.client_order_id}")
        report = await super().place_order(request, permit)
        await self.gate.wait()
        return report

    async def cancel_order(self, request: CancelRequest, permit: SendPermit) -> OrderReport:
        self.log.append(f"cancel {request.client_order_id}")
        return await super().cancel_order(request, permit)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def exchange(clock: FakeClock) -> SlowExchange:
    exchange = SlowExchange(clock)
    exchange.gate.set()
    return exchange


@pytest.fixture
def heard() -> list[Update]:
    return []


@pytest.fixture
async def placer(clock: FakeClock, exchange: SlowExchange, heard: list[Update]) -> Placer:
    store: object = LeaseStore()
    keeper = LeaseKeeper(store, clock, holder="me", ttl=TTL)  # type: ignore[arg-type]
    await keeper.acquire()
    return Placer(
        exchange,
        clock,
        keeper,
        venue_clock=VenueClock(offset=SKEW),
        place_wait=timedelta(milliseconds=20),
        lifetime=LIFETIME,
        on_update=heard.append,
    )


def a_place(client_order_id: str = "o1", **overrides: object) -> PlannedPlace:
    request = an_order(client_order_id=client_order_id).to_request()
    return PlannedPlace(request=request, **overrides)  # type: ignore[arg-type]


def a_cancel(client_order_id: str = "o1") -> CancelRequest:
    return CancelRequest(client_order_id=client_order_id, exchange_order_id="", symbol=SYMBOL)


async def place_one(placer: Placer) -> Outcome:
    (outcome,) = await placer.send(Decision(places=(a_place(),)))
    return outcome


# --- what an answer means ---


async def test_accepted_keeps_the_report_and_the_lifetime_on_the_venues_clock(
    placer: Placer,
) -> None:
    outcome = await place_one(placer)

    assert outcome.kind is OutcomeKind.ACCEPTED
    assert outcome.report is not None
    assert outcome.signed_at == START + SKEW
    assert outcome.signed_until == START + SKEW + LIFETIME


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (WouldTake("it would trade"), OutcomeKind.REJECTED, RejectReason.POST_ONLY),
        (InsufficientBalance("poor"), OutcomeKind.REJECTED, RejectReason.INSUFFICIENT_BALANCE),
        (FilterViolation("lot"), OutcomeKind.REJECTED, RejectReason.FILTER),
        (OrderRejected("no"), OutcomeKind.REJECTED, RejectReason.OTHER),
        (ExchangeUnavailable("refused"), OutcomeKind.NOT_SENT, None),
        (RateLimited("slow down", retry_after=LIFETIME), OutcomeKind.NOT_SENT, None),
        (OutcomeUnknown("cut"), OutcomeKind.UNKNOWN, None),
        (ExchangeError("strange"), OutcomeKind.UNKNOWN, None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_every_error_has_one_meaning(
    placer: Placer,
    exchange: SlowExchange,
    error: ExchangeError,
    kind: OutcomeKind,
    reason: RejectReason | None,
) -> None:
    exchange.fail_next = [(error, True)]

    outcome = await place_one(placer)

    assert (outcome.kind, outcome.reject_reason) == (kind, reason)
    assert len(exchange.placed) == 1, "nothing is ever sent twice"


async def test_unknown_without_a_signature_still_has_a_latest_end(
    placer: Placer, exchange: SlowExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise settling would take "not found" for a conclusion at once."""

    async def break_before_signing(request: OrderRequest, permit: SendPermit) -> OrderReport:
        raise OutcomeUnknown("who knows")

    monkeypatch.setattr(exchange, "place_order", break_before_signing)

    assert (await place_one(placer)).signed_until == START + SKEW + LIFETIME


# --- waiting ---


async def test_no_answer_within_place_wait_is_unknown_and_the_late_answer_comes_back(
    placer: Placer, exchange: SlowExchange, heard: list[Update]
) -> None:
    exchange.gate.clear()

    outcome = await place_one(placer)
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert outcome.signed_until == START + SKEW + LIFETIME
    assert not heard

    exchange.gate.set()
    await asyncio.sleep(0.005)
    (late,) = heard
    assert isinstance(late, OrderLookedUp)
    assert late.report is not None
    assert late.report.state is OrderState.OPEN
    assert len(exchange.placed) == 1


async def test_what_was_not_signed_within_place_wait_is_never_sent(
    placer: Placer, exchange: SlowExchange
) -> None:
    exchange.gate.clear()
    exchange.signs_first = False

    outcome = await place_one(placer)
    exchange.gate.set()
    await asyncio.sleep(0.005)

    assert outcome.kind is OutcomeKind.NOT_SENT
    assert not exchange.placed


async def test_a_request_past_its_deadline_is_not_signed(
    placer: Placer, exchange: SlowExchange, clock: FakeClock
) -> None:
    exchange.gate.clear()
    exchange.signs_first = False

    async def open_late() -> None:
        clock.advance(timedelta(seconds=1))
        exchange.gate.set()

    outcome, _ = await asyncio.gather(place_one(placer), open_late())

    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "deadline" in outcome.reason
    assert not exchange.placed


async def test_closing_drops_what_is_still_open(placer: Placer, exchange: SlowExchange) -> None:
    exchange.gate.clear()
    await place_one(placer)

    await placer.close()

    assert len(exchange.placed) == 1


# --- order of requests ---


async def test_cancels_go_first(placer: Placer, exchange: SlowExchange) -> None:
    await placer.send(Decision(places=(a_place("o1"), a_place("o2"))))
    exchange.log.clear()

    await placer.send(Decision(cancels=(a_cancel("o1"), a_cancel("o2")), places=(a_place("o3"),)))

    assert exchange.log == ["cancel o1", "cancel o2", "place o3"]


async def test_after_cancel_is_sent_once_the_cancel_ended_as_expected(
    placer: Placer, exchange: SlowExchange
) -> None:
    await place_one(placer)

    _, outcome = await placer.send(
        Decision(cancels=(a_cancel(),), places=(a_place("o2", after_cancel="o1"),))
    )

    assert outcome.kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize("is_traded", [True, False], ids=["it traded", "it was not there"])
async def test_after_cancel_is_not_sent_if_the_order_traded_or_its_cancel_failed(
    placer: Placer, exchange: SlowExchange, *, is_traded: bool
) -> None:
    if is_traded:
        await place_one(placer)
        exchange.fill("o1", Decimal("0.5"))

    _, outcome = await placer.send(
        Decision(cancels=(a_cancel(),), places=(a_place("o2", after_cancel="o1"),))
    )

    assert outcome.kind is OutcomeKind.NOT_SENT
    assert [request.client_order_id for request in exchange.placed] == ["o1"] * is_traded


# --- re-entry ---


async def test_reentry_asks_and_never_sends(placer: Placer, exchange: SlowExchange) -> None:
    await place_one(placer)
    exchange.log.clear()

    known, unknown = await placer.ask(Decision(places=(a_place("o1"), a_place("o2"))))

    assert (known.kind, unknown.kind) == (OutcomeKind.ACCEPTED, OutcomeKind.UNKNOWN)
    assert known.report is not None
    assert unknown.signed_until == START + SKEW + LIFETIME, "the dead process signed before now"
    assert not exchange.log


async def test_reentry_repeats_cancels(placer: Placer, exchange: SlowExchange) -> None:
    await place_one(placer)

    (done,) = await placer.ask(Decision(cancels=(a_cancel(),)))
    (again,) = await placer.ask(Decision(cancels=(a_cancel(),)))

    assert (done.kind, again.kind) == (OutcomeKind.ACCEPTED, OutcomeKind.REJECTED)


async def test_reentry_does_not_hang_on_a_venue_that_does_not_answer(
    placer: Placer, exchange: SlowExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> OrderReport:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("market_maker.engine.venue.placing.ASK_TIMEOUT_S", 0.01)
    monkeypatch.setattr(exchange, "cancel_order", hang)
    monkeypatch.setattr(exchange, "fetch_order", hang)

    outcomes = await placer.ask(Decision(cancels=(a_cancel(),), places=(a_place("o2"),)))

    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.UNKNOWN] * 2


# --- the lease ---


class ProcessEnded(BaseException):
    """Stands for `os._exit`."""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    codes: list[int] = []

    def end(error: BaseException, *, where: str) -> None:
        codes.append(5)
        raise ProcessEnded(where)

    monkeypatch.setattr(lease_module, "end_process", end)
    return lambda: codes


@pytest.mark.parametrize(
    ("left", "is_sent"),
    [(LIFETIME + MARGIN, True), (LIFETIME + MARGIN - timedelta(milliseconds=1), False)],
)
async def test_a_lease_shorter_than_the_request_ends_the_process_before_the_socket(
    placer: Placer,
    exchange: SlowExchange,
    clock: FakeClock,
    ended: Callable[[], list[int]],
    left: timedelta,
    *,
    is_sent: bool,
) -> None:
    clock.advance(TTL - left)
    permit = placer._permit(clock.boottime() + 1)

    if is_sent:
        await exchange.place_order(a_place().request, permit)
    else:
        with pytest.raises(ProcessEnded):
            await exchange.place_order(a_place().request, permit)

    assert len(exchange.placed) == is_sent
    assert bool(ended()) is not is_sent
