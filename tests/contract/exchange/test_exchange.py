"""The exchange contract; each docstring begins with the id that docs/venues refer to."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from market_maker.domain.errors import (
    ExchangeError,
    ExchangeUnavailable,
    FilterViolation,
    InsufficientBalance,
    OrderRejected,
    UnknownOrder,
    WouldTake,
)
from market_maker.domain.events import FillReported, OrderReported
from market_maker.domain.fill import Liquidity, Side
from market_maker.domain.order import OrderState, TimeInForce
from market_maker.ports.exchange import Lifetime
from tests.contract.exchange.exchange_contract import Subject, total
from tests.paper import BTC, a_cancel, a_market_request, a_request

D = Decimal


class RefusingPermit:
    """A gate that lets nothing through."""

    def sign(self) -> Lifetime:
        raise ExchangeUnavailable("the deadline has passed")


async def test_acknowledged_order_is_open_and_found(subject: Subject) -> None:
    """X-01 An acknowledgement names both ids; the order is then listed and found by our id."""
    report = await subject.place()

    assert (report.client_order_id, report.state) == ("one", OrderState.OPEN)
    assert report.exchange_order_id
    assert (report.symbol, report.side, report.price) == (BTC, Side.BUY, D(99))
    assert (report.quantity, report.cumulative_quantity) == (D(1), D(0))
    assert await subject.exchange.fetch_open_orders(BTC) == (report,)
    assert await subject.exchange.fetch_order(BTC, "one") == report


async def test_permit_is_asked_once(subject: Subject) -> None:
    """X-02 Every request is signed exactly once."""
    placing, canceling = await subject.permit(), await subject.permit()

    await subject.exchange.place_order(a_request(), placing)
    await subject.exchange.cancel_order(a_cancel(), canceling)

    assert (placing.signed_count, canceling.signed_count) == (1, 1)


async def test_request_that_may_not_be_signed_never_leaves(subject: Subject) -> None:
    """X-03 What the permit raises comes through, and nothing was sent."""
    with pytest.raises(ExchangeUnavailable):
        await subject.exchange.place_order(a_request(), RefusingPermit())

    assert await subject.exchange.fetch_open_orders(BTC) == ()


async def test_expired_request_is_never_placed(subject: Subject) -> None:
    """X-04 Where lifetimes are enforced, a request that arrives after its own is refused."""
    if not subject.exchange.is_lifetime_enforced:
        pytest.skip("this venue does not enforce lifetimes")
    permit = await subject.permit(lifetime=timedelta(seconds=-1))

    with pytest.raises(OrderRejected):
        await subject.exchange.place_order(a_request(), permit)

    with pytest.raises(UnknownOrder):
        await subject.exchange.fetch_order(BTC, "one")


async def test_canceled_order_is_gone_and_still_known(subject: Subject) -> None:
    """X-05 A cancel answers CANCELED; the order leaves the list and stays findable."""
    await subject.place()

    report = await subject.cancel()

    assert report.state is OrderState.CANCELED
    assert await subject.exchange.fetch_open_orders(BTC) == ()
    assert (await subject.exchange.fetch_order(BTC, "one")).state is OrderState.CANCELED


async def test_cancel_by_the_venues_id(subject: Subject) -> None:
    """X-06 An order may be canceled by the venue's id alone."""
    placed = await subject.place()

    report = await subject.cancel(a_cancel("", exchange_order_id=placed.exchange_order_id))

    assert report.client_order_id == "one"


async def test_cancel_of_an_unknown_or_ended_order(subject: Subject) -> None:
    """X-07 Canceling what is not open raises UnknownOrder, however often."""
    await subject.place()
    await subject.cancel()

    for request in (a_cancel(), a_cancel(), a_cancel("never")):
        with pytest.raises(UnknownOrder):
            await subject.cancel(request)


async def test_unknown_order_is_not_found(subject: Subject) -> None:
    """X-08 Looking up an id that was never accepted raises UnknownOrder."""
    with pytest.raises(UnknownOrder):
        await subject.exchange.fetch_order(BTC, "never")


async def test_client_order_id_of_an_open_order_is_taken(subject: Subject) -> None:
    """X-09 A second order with the id of an open one is refused and changes nothing."""
    placed = await subject.place()

    with pytest.raises(OrderRejected):
        await subject.place(price="98")

    assert await subject.exchange.fetch_open_orders(BTC) == (placed,)


async def test_client_order_id_of_an_ended_order_is_free(subject: Subject) -> None:
    """X-10 After the end the id is free again: only our protocol prevents a duplicate."""
    await subject.place()
    await subject.cancel()

    second = await subject.place(price="98")

    assert await subject.exchange.fetch_order(BTC, "one") == second


@pytest.mark.parametrize(
    "overrides",
    [{"price": "99.05"}, {"quantity": "0.015"}, {"quantity": "0.001"}, {"quantity": "0.04"}],
    ids=["tick", "lot", "least quantity", "least notional"],
)
async def test_filters(subject: Subject, overrides: dict[str, Any]) -> None:
    """X-11 Orders off the venue's grids or too small raise FilterViolation."""
    with pytest.raises(FilterViolation):
        await subject.place(**overrides)

    assert await subject.exchange.fetch_open_orders(BTC) == ()


async def test_one_order_too_many(subject: Subject) -> None:
    """X-12 The bound on open orders raises FilterViolation."""
    for number in range(5):
        await subject.place(f"order-{number}")

    with pytest.raises(FilterViolation):
        await subject.place("order-5")


async def test_order_that_cannot_be_paid(subject: Subject) -> None:
    """X-13 Too little free balance raises InsufficientBalance and locks nothing."""
    with pytest.raises(InsufficientBalance):
        await subject.place(quantity="200")

    assert (await subject.balance("USDT")).locked == D(0)


async def test_post_only_order_that_would_take(subject: Subject) -> None:
    """X-14 A post-only order that crosses the book raises WouldTake."""
    with pytest.raises(WouldTake):
        await subject.place(price="101", post_only=True)

    assert await subject.fills() == ()


async def test_resting_order_locks_and_cancel_frees(subject: Subject) -> None:
    """X-15 Balances: free and locked add up, and a cancel gives back what was locked."""
    await subject.place()
    held = await subject.balance("USDT")
    await subject.cancel()
    freed = await subject.balance("USDT")

    assert (held.free, held.locked) == (D(9901), D(99))
    assert (freed.free, freed.locked) == (D(10_000), D(0))


async def test_partial_fill_then_the_rest(subject: Subject) -> None:
    """X-16 Fills carry both ids, side, price, quantity, fee and MAKER; trade ids rise."""
    placed = await subject.place()
    await subject.step(3)

    fills = await subject.fills()
    # 5 were ahead: 0.4 at the price, 0.1 through it, and the rest at once.
    assert [fill.quantity for fill in fills] == [D("0.4"), D("0.1"), D("0.5")]
    assert {fill.price for fill in fills} == {D(99)}
    assert {fill.liquidity for fill in fills} == {Liquidity.MAKER}
    assert {fill.client_order_id for fill in fills} == {"one"}
    assert {fill.exchange_order_id for fill in fills} == {placed.exchange_order_id}
    assert (fills[0].fee, fills[0].fee_asset) == (D("0.0004"), "BTC")
    numbers = [int(fill.trade_id) for fill in fills]
    assert numbers == sorted(set(numbers))
    report = await subject.exchange.fetch_order(BTC, "one")
    assert (report.state, report.cumulative_quantity) == (OrderState.FILLED, D(1))


async def test_fills_after_a_trade_and_of_an_order(subject: Subject) -> None:
    """X-17 `after_trade_id` gives only later fills, `client_order_id` only that order's."""
    await subject.place("a")
    await subject.place("b", price="98")
    await subject.step(3)

    fills = await subject.fills()
    assert await subject.fills(after_trade_id=fills[1].trade_id) == fills[2:]
    assert await subject.fills(client_order_id="b") == fills[-1:]
    assert await subject.fills(after_trade_id=fills[-1].trade_id) == ()


async def test_canceled_after_a_partial_fill(subject: Subject) -> None:
    """X-18 A cancel reports what had traded before it; those fills stay."""
    await subject.place()
    await subject.step(2)

    report = await subject.cancel()

    assert (report.state, report.cumulative_quantity) == (OrderState.CANCELED, D("0.5"))
    assert sum(fill.quantity for fill in await subject.fills()) == D("0.5")


async def test_immediate_or_cancel_and_fill_or_kill(subject: Subject) -> None:
    """X-19 IOC takes what is there, FOK all or nothing; neither ever rests."""
    ioc = await subject.place("ioc", price="101", quantity="2", time_in_force=TimeInForce.IOC)
    fok = await subject.place("fok", price="101", quantity="4", time_in_force=TimeInForce.FOK)

    assert (ioc.state, ioc.cumulative_quantity) == (OrderState.FILLED, D(2))
    assert (fok.state.is_terminal, fok.cumulative_quantity) == (True, D(0))
    assert await subject.exchange.fetch_open_orders(BTC) == ()


async def test_market_order_takes_and_pays(subject: Subject) -> None:
    """X-20 A market order fills as TAKER at the book; cash and inventory add up to the unit."""
    report = await subject.send(a_market_request(side=Side.SELL, quantity="2"))

    (fill,) = await subject.fills()
    assert report.state is OrderState.FILLED
    assert (fill.price, fill.liquidity, fill.fee_asset) == (D(99), Liquidity.TAKER, "USDT")
    assert total(await subject.balance("BTC")) == D(8)
    assert total(await subject.balance("USDT")) == 10_000 + 2 * 99 - fill.fee


async def test_stream_tells_orders_and_fills_in_order(subject: Subject) -> None:
    """X-21 The stream tells every state and fill once, with our id and with ids of their own."""
    await subject.place()
    await subject.step(3)
    updates = await subject.heard(
        lambda told: any(
            isinstance(update, OrderReported) and update.report.state is OrderState.FILLED
            for update in told
        )
    )

    fills = tuple(update.fill for update in updates if isinstance(update, FillReported))
    assert fills == await subject.fills()
    reports = [update.report for update in updates if isinstance(update, OrderReported)]
    cumulative = [report.cumulative_quantity for report in reports]
    assert cumulative == sorted(cumulative)
    assert {report.client_order_id for report in reports} == {"one"}
    ids = [update.id for update in updates]
    assert len(set(ids)) == len(ids)


async def test_stream_tells_the_market(subject: Subject) -> None:
    """X-22 The stream tells trades and book, with the venue's time and ours."""
    await subject.step()
    updates = await subject.heard(lambda told: len(told) >= 2)

    assert {"trade", "book_top"} <= {update.KIND for update in updates}
    assert all(update.symbol == BTC and update.exchange_at for update in updates)


async def test_unlisted_symbol(subject: Subject) -> None:
    """X-23 A symbol that the venue does not list raises OrderRejected everywhere."""
    (instrument,) = await subject.exchange.fetch_instruments((BTC,))
    assert (instrument.tick_size, instrument.lot_size) == (D("0.1"), D("0.01"))

    with pytest.raises(OrderRejected):
        await subject.exchange.fetch_instruments(("DOGE/USDT",))
    with pytest.raises(OrderRejected):
        await subject.send(replace(a_request(), symbol="DOGE/USDT"))


async def test_many_requests_at_once(subject: Subject) -> None:
    """X-24 Independent requests may run at once; each is answered for itself."""
    prices = ["98", "98.1", "0.05", "98.2"]
    answers = await asyncio.gather(
        *(subject.place(f"order-{price}", price=price) for price in prices),
        return_exceptions=True,
    )

    assert [isinstance(answer, ExchangeError) for answer in answers] == [False, False, True, False]
    assert len(await subject.exchange.fetch_open_orders(BTC)) == 3
