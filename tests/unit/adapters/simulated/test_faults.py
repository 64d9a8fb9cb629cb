"""What goes wrong on the way to the venue and back, and on its streams."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_maker.adapters.exchange.simulated.faults import Fault, Faults
from market_maker.adapters.exchange.simulated.reading import read_requests
from market_maker.adapters.exchange.simulated.settings import FaultSettings
from market_maker.adapters.exchange.simulated.sources.source import FAULT_KINDS
from market_maker.domain.errors import (
    ExchangeUnavailable,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    UnknownOrder,
)
from market_maker.domain.events import StreamGap
from market_maker.domain.order import OrderState
from tests.paper import BTC, CALM_BOOK, Bench, a_cancel, a_request, scripted

D = Decimal
TRADE = {"trade": {"price": "100", "quantity": "1", "side": "BUY"}}


def faulty(folder: Path, steps: list[Any], **faults: Any) -> Any:
    return scripted(folder, steps, faults=faults)


def test_scenarios_know_every_kind_of_fault() -> None:
    assert set(FAULT_KINDS) == set(Fault)


def test_draws_are_the_same_for_the_same_seed_and_do_not_disturb_each_other() -> None:
    def draws(settings: FaultSettings, session: int = 1) -> list[bool]:
        faults = Faults(settings, session=session)
        both = [
            (faults.hits(Fault.REQUEST_LOST), faults.hits(Fault.ANSWER_LOST)) for _ in range(200)
        ]
        return [lost for lost, _ in both]

    half = FaultSettings(seed=3, request_lost_ratio=D("0.5"))
    noisy = FaultSettings(seed=3, request_lost_ratio=D("0.5"), answer_lost_ratio=D("0.5"))

    assert draws(half) == draws(half) == draws(noisy)
    assert draws(half) != draws(half, session=2)
    assert 60 < sum(draws(half)) < 140


async def test_lost_request_never_arrives(tmp_path: Path) -> None:
    settings = faulty(tmp_path, [CALM_BOOK], request_lost_ratio="1")
    bench = await Bench.begin(settings)

    with pytest.raises(OutcomeUnknown):
        await bench.place(a_request())
    await bench.end()

    assert read_requests(settings.file) == ()


async def test_lost_answer_leaves_the_order_placed(tmp_path: Path) -> None:
    bench = await Bench.begin(faulty(tmp_path, [CALM_BOOK], answer_lost_ratio="1"))

    with pytest.raises(OutcomeUnknown):
        await bench.place(a_request())
    with pytest.raises(OutcomeUnknown):
        await bench.cancel(a_cancel("unknown"))

    assert [update.KIND for update in bench.updates] == ["order"]
    await bench.end()


async def test_rate_limit_refuses_before_processing(tmp_path: Path) -> None:
    settings = faulty(tmp_path, [CALM_BOOK], rate_limit_ratio="1")
    bench = await Bench.begin(settings)

    with pytest.raises(RateLimited) as refused:
        await bench.place(a_request())
    with pytest.raises(RateLimited):
        await bench.venue.fetch_open_orders(BTC)
    await bench.end()

    assert refused.value.retry_after == timedelta(seconds=1)
    assert read_requests(settings.file) == ()


async def test_server_error_places_about_half(tmp_path: Path) -> None:
    settings = faulty(tmp_path, [CALM_BOOK], server_error_ratio="1")
    bench = await Bench.begin(settings)
    for number in range(20):
        with pytest.raises(OutcomeUnknown):
            await bench.place(a_request(f"order-{number}"))
    await bench.end()

    verdicts = [request.verdict for request in read_requests(settings.file)]
    assert set(verdicts) == {"accepted", "server_error"}
    assert len(verdicts) == 20


@pytest.mark.parametrize("ratio", ["request_lost_ratio", "answer_lost_ratio", "server_error_ratio"])
async def test_failed_lookup_may_be_asked_again(tmp_path: Path, ratio: str) -> None:
    bench = await Bench.begin(faulty(tmp_path, [CALM_BOOK], **{ratio: "1"}))

    with pytest.raises(ExchangeUnavailable):
        await bench.venue.fetch_order(BTC, "one")
    await bench.end()


async def test_late_request_meets_a_lifetime_that_has_passed(tmp_path: Path) -> None:
    bench = await Bench.begin(
        faulty(tmp_path, [{"wait": "5s"}, CALM_BOOK], late_request_ratio="1", late_request="PT0S")
    )
    permit = await bench.permit()
    permit.signed_until = bench.venue.clock.now()
    await bench.step()

    with pytest.raises(OrderRejected, match="request expired"):
        await bench.venue.place_order(a_request(), permit)
    with pytest.raises(UnknownOrder):
        await bench.venue.fetch_order(BTC, "one")
    await bench.end()


async def test_late_answer_comes_after_the_news(tmp_path: Path) -> None:
    settings = faulty(tmp_path, [CALM_BOOK], late_answer_ratio="1", late_answer="PT0.001S")
    bench = await Bench.begin(settings)

    report = await bench.place(a_request())

    assert report.state is OrderState.OPEN
    await bench.end()


async def test_skewed_clock_is_the_venues_alone(tmp_path: Path) -> None:
    bench = await Bench.begin(faulty(tmp_path, [CALM_BOOK], clock_skew="PT90S"))
    true = bench.venue.clock.now()

    assert await bench.venue.fetch_time() == true + timedelta(seconds=90)
    (update,) = await bench.step()
    assert update.exchange_at == update.received_at + timedelta(seconds=90)
    permit = await bench.permit()
    permit.signed_until = true + timedelta(seconds=30)
    with pytest.raises(OrderRejected, match="request expired"):
        await bench.venue.place_order(a_request(), permit)
    await bench.end()


async def test_duplicated_update_comes_twice_with_one_id(tmp_path: Path) -> None:
    bench = await Bench.begin(faulty(tmp_path, [TRADE] * 3, update_duplicated_ratio="1"), first=3)

    ids = [update.id for update in bench.updates]
    assert ids == [f"{BTC}:t{number}" for number in (0, 0, 1, 1, 2, 2)]
    await bench.end()


async def test_reordered_update_is_overtaken_by_one(tmp_path: Path) -> None:
    bench = await Bench.begin(faulty(tmp_path, [TRADE] * 4, update_reordered_ratio="1"), first=4)

    assert [update.id[-2:] for update in bench.updates] == ["t1", "t0", "t3", "t2"]
    await bench.end()


async def test_dropped_update_is_followed_by_nothing_unless_asked_for(tmp_path: Path) -> None:
    silent = await Bench.begin(faulty(tmp_path, [TRADE], update_dropped_ratio="1"), first=1)
    await silent.place(a_request())
    assert silent.updates == []
    await silent.end()

    noticed = await Bench.begin(
        faulty(tmp_path, [TRADE] * 3, update_dropped_ratio="1", drop_notice=True), first=1
    )
    assert [type(update) for update in noticed.updates] == [StreamGap]
    await noticed.end()


async def test_cut_stream_is_silent_and_then_says_so(tmp_path: Path) -> None:
    steps = [{"fault": {"kind": "stream_cut"}}, *[TRADE] * 30]
    bench = await Bench.begin(faulty(tmp_path, steps), first=31)

    first, *others = bench.updates
    assert isinstance(first, StreamGap)
    # The first trade cuts at 0.1 s; the stream comes back one second later, at the eleventh.
    assert [update.id for update in others][:2] == [f"{BTC}:t11", f"{BTC}:t12"]
    await bench.end()


async def test_scenario_calls_for_a_fault_by_name(tmp_path: Path) -> None:
    steps = [CALM_BOOK, {"fault": {"kind": "request_lost", "on": "cancel", "count": 2}}]
    bench = await Bench.begin(faulty(tmp_path, steps), first=2)
    await bench.place(a_request())

    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await bench.cancel(a_cancel())

    assert (await bench.cancel(a_cancel())).state is OrderState.CANCELED
    await bench.end()
