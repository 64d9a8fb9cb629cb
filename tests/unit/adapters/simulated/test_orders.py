"""What the venue accepts, refuses and does with each kind of order."""

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_maker.domain.errors import (
    FilterViolation,
    InsufficientBalance,
    OrderRejected,
    UnknownOrder,
    WouldTake,
)
from market_maker.domain.events import Balance
from market_maker.domain.fill import Liquidity, Side
from market_maker.domain.order import OrderState, OrderType, TimeInForce
from tests.paper import (
    BTC,
    CALM_BOOK,
    Bench,
    a_cancel,
    a_market_request,
    a_request,
    fills_of,
    reports_of,
    scripted,
)

D = Decimal
Open = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a venue whose market shows a calm book and then does what the test wrote."""
    benches: list[Bench] = []

    async def open_venue(*steps: Any, first: int = 1, **overrides: Any) -> Bench:
        settings = scripted(tmp_path, [CALM_BOOK, *steps], **overrides)
        benches.append(await Bench.begin(settings, first=first))
        return benches[-1]

    yield open_venue
    for bench in benches:
        await bench.end()


async def balance(bench: Bench, asset: str) -> Balance:
    return next(item for item in await bench.venue.fetch_balances() if item.asset == asset)


# --- resting ---


async def test_resting_order_locks_what_it_would_pay(venue: Open) -> None:
    bench = await venue()

    await bench.place(a_request("buy", price="98", quantity="2"))
    await bench.place(a_request("sell", side=Side.SELL, price="102", quantity="3"))

    assert await balance(bench, "USDT") == Balance(asset="USDT", free=D(9804), locked=D(196))
    assert await balance(bench, "BTC") == Balance(asset="BTC", free=D(7), locked=D(3))


async def test_cancel_frees_what_was_locked(venue: Open) -> None:
    bench = await venue()
    await bench.place(a_request())

    report = await bench.cancel(a_cancel())

    assert report.state is OrderState.CANCELED
    assert await balance(bench, "USDT") == Balance(asset="USDT", free=D(10_000), locked=D(0))


async def test_canceled_order_keeps_its_partial_fill(venue: Open) -> None:
    bench = await venue({"trade": {"price": "98.9", "quantity": "0.4", "side": "SELL"}})
    await bench.place(a_request())
    await bench.step()

    report = await bench.cancel(a_cancel())

    assert (report.state, report.cumulative_quantity) == (OrderState.CANCELED, D("0.4"))
    assert (await balance(bench, "BTC")).free == D("10.4")
    assert await balance(bench, "USDT") == Balance(asset="USDT", free=D("9960.4"), locked=D(0))


async def test_fills_then_states_are_told_in_order(venue: Open) -> None:
    bench = await venue(
        {"trade": {"price": "98.9", "quantity": "0.4", "side": "SELL"}},
        {"trade": {"price": "98.9", "quantity": "9", "side": "SELL"}},
    )
    await bench.place(a_request())
    await bench.step(2)

    told = [update.KIND for update in bench.updates[1:]]
    assert told == ["order", "trade", "fill", "order", "trade", "fill", "order"]
    assert [report.state for report in reports_of(bench.updates)] == [
        OrderState.OPEN,
        OrderState.PARTIALLY_FILLED,
        OrderState.FILLED,
    ]
    assert [(fill.trade_id, fill.price, fill.quantity) for fill in fills_of(bench.updates)] == [
        ("1", D(99), D("0.4")),
        ("2", D(99), D("0.6")),
    ]
    assert {fill.liquidity for fill in fills_of(bench.updates)} == {Liquidity.MAKER}


# --- taking ---


async def test_limit_order_takes_what_is_there_and_rests_with_the_remainder(venue: Open) -> None:
    bench = await venue()

    report = await bench.place(a_request(price="102", quantity="7"))

    assert (report.state, report.cumulative_quantity) == (OrderState.PARTIALLY_FILLED, D(5))
    (fill,) = fills_of(bench.updates)
    assert (fill.price, fill.liquidity) == (D(101), Liquidity.TAKER)
    # 5 × 101 paid, 2 × 102 locked.
    assert await balance(bench, "USDT") == Balance(asset="USDT", free=D(9291), locked=D(204))


async def test_immediate_or_cancel_expires_with_the_remainder(venue: Open) -> None:
    bench = await venue()

    report = await bench.place(a_request(price="101", quantity="7", time_in_force=TimeInForce.IOC))

    assert (report.state, report.cumulative_quantity) == (OrderState.EXPIRED, D(5))
    assert (await balance(bench, "USDT")).locked == D(0)


async def test_fill_or_kill_takes_all_or_nothing(venue: Open) -> None:
    bench = await venue()

    killed = await bench.place(
        a_request("a", price="101", quantity="5.01", time_in_force=TimeInForce.FOK)
    )
    filled = await bench.place(
        a_request("b", price="101", quantity="5", time_in_force=TimeInForce.FOK)
    )

    assert (killed.state, killed.cumulative_quantity) == (OrderState.EXPIRED, D(0))
    assert (filled.state, filled.cumulative_quantity) == (OrderState.FILLED, D(5))


async def test_market_order_takes_the_book_and_expires_with_the_remainder(venue: Open) -> None:
    bench = await venue()

    report = await bench.place(a_market_request(side=Side.SELL, quantity="6"))

    assert (report.state, report.cumulative_quantity) == (OrderState.EXPIRED, D(5))
    assert (await balance(bench, "USDT")).free == D(10_000 + 5 * 99)


async def test_market_order_without_a_market_trades_nothing(tmp_path: Path) -> None:
    bench = await Bench.begin(scripted(tmp_path, [CALM_BOOK]))

    report = await bench.place(a_market_request())

    assert (report.state, report.cumulative_quantity) == (OrderState.EXPIRED, D(0))
    await bench.end()


async def test_own_orders_trade_with_each_other_in_one_trade(venue: Open) -> None:
    bench = await venue()
    await bench.place(a_request("rests", side=Side.SELL, price="100"))

    await bench.place(a_request("takes", price="100"))

    maker, taker = fills_of(bench.updates)
    assert (maker.trade_id, taker.trade_id) == ("1", "1")
    assert (maker.liquidity, taker.liquidity) == (Liquidity.MAKER, Liquidity.TAKER)
    assert (await balance(bench, "USDT")).free == D(10_000)


async def test_post_only_order_that_would_take_is_refused(venue: Open) -> None:
    bench = await venue()

    with pytest.raises(WouldTake):
        await bench.place(a_request(price="101", post_only=True))
    report = await bench.place(a_request(price="100.9", post_only=True))

    assert report.state is OrderState.OPEN


# --- refusals ---


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"price": "99.05"}, "PRICE_FILTER"),
        ({"price": "-1"}, "PRICE_FILTER"),
        ({"price": "NaN"}, "PRICE_FILTER"),
        ({"price": "1e40"}, "PRICE_FILTER"),
        ({"price": None}, "PRICE_FILTER"),
        ({"quantity": "0.015"}, "LOT_SIZE"),
        ({"quantity": "0"}, "LOT_SIZE"),
        ({"quantity": "Infinity"}, "LOT_SIZE"),
        ({"quantity": "0.05"}, "MIN_NOTIONAL"),
    ],
)
async def test_filters_name_themselves(venue: Open, overrides: dict[str, Any], name: str) -> None:
    bench = await venue()

    with pytest.raises(FilterViolation, match=f"^{name}: "):
        await bench.place(a_request(**overrides))

    assert await bench.venue.fetch_open_orders(BTC) == ()


async def test_one_open_order_too_many_is_refused(venue: Open) -> None:
    bench = await venue(instrument={"order_count_max": 2})
    await bench.place(a_request("a"))
    await bench.place(a_request("b"))

    with pytest.raises(FilterViolation, match=r"^MAX_NUM_ORDERS: "):
        await bench.place(a_request("c"))


@pytest.mark.parametrize(
    "request_overrides",
    [{"quantity": "102"}, {"side": Side.SELL, "price": "101", "quantity": "10.01"}],
    ids=["quote", "base"],
)
async def test_order_that_cannot_be_paid_is_refused(
    venue: Open, request_overrides: dict[str, Any]
) -> None:
    bench = await venue()

    with pytest.raises(InsufficientBalance, match=r"^INSUFFICIENT_BALANCE: "):
        await bench.place(a_request(**request_overrides))

    assert (await balance(bench, "USDT")).locked == D(0)


async def test_market_order_that_cannot_be_paid_is_refused(venue: Open) -> None:
    bench = await venue(balances={"USDT": "504.99", "BTC": "0"})

    with pytest.raises(InsufficientBalance):
        await bench.place(a_market_request(quantity="5"))


@pytest.mark.parametrize(
    "overrides",
    [
        {"type": OrderType.MARKET},
        {"post_only": True, "time_in_force": TimeInForce.IOC},
        {"reduce_only": True},
        {"symbol": "DOGE/USDT"},
    ],
    ids=["market with a price", "post-only that cannot rest", "spot buy reduces", "unlisted"],
)
async def test_contradictory_request_is_refused(venue: Open, overrides: dict[str, Any]) -> None:
    bench = await venue()

    with pytest.raises(OrderRejected):
        await bench.place(a_request(**overrides))


async def test_client_order_id_is_free_again_when_its_order_has_ended(venue: Open) -> None:
    bench = await venue()
    first = await bench.place(a_request())

    with pytest.raises(OrderRejected, match="DUPLICATE_CLIENT_ORDER_ID"):
        await bench.place(a_request())
    await bench.cancel(a_cancel())
    second = await bench.place(a_request(price="98"))

    assert second.exchange_order_id != first.exchange_order_id
    assert await bench.venue.fetch_order(BTC, "one") == second


async def test_cancel_of_what_is_not_open_is_refused(venue: Open) -> None:
    bench = await venue()
    report = await bench.place(a_request())
    await bench.cancel(a_cancel("", exchange_order_id=report.exchange_order_id))

    with pytest.raises(UnknownOrder):
        await bench.cancel(a_cancel())
    with pytest.raises(UnknownOrder):
        await bench.cancel(a_cancel("never"))


# --- fees ---


@pytest.mark.parametrize(
    ("fee_asset", "side", "fee", "asset"),
    [
        ("received", Side.BUY, "0.002", "BTC"),
        ("received", Side.SELL, "0.198", "USDT"),
        ("base", Side.SELL, "0.002", "BTC"),
        ("quote", Side.BUY, "0.202", "USDT"),
        ("BNB", Side.BUY, "0.202", "BNB"),
    ],
)
async def test_taker_fee_is_taken_in_the_fee_asset(
    venue: Open, fee_asset: str, side: Side, fee: str, asset: str
) -> None:
    bench = await venue(
        instrument={"taker_fee_ratio": "0.002", "fee_asset": fee_asset},
        balances={"USDT": "10000", "BTC": "10", "BNB": "1"},
    )

    await bench.place(a_market_request(side=side))

    (fill,) = fills_of(bench.updates)
    assert (fill.fee, fill.fee_asset) == (D(fee), asset)


async def test_fee_falls_back_to_the_received_asset_when_the_third_is_short(venue: Open) -> None:
    bench = await venue(instrument={"taker_fee_ratio": "0.002", "fee_asset": "BNB"})

    await bench.place(a_market_request())

    (fill,) = fills_of(bench.updates)
    assert (fill.fee, fill.fee_asset) == (D("0.002"), "BTC")


async def test_maker_rebate_is_a_negative_fee(venue: Open) -> None:
    bench = await venue(
        {"price": "98"}, instrument={"maker_fee_ratio": "-0.001", "fee_asset": "quote"}
    )
    await bench.place(a_request())
    await bench.step()

    (fill,) = fills_of(bench.updates)
    assert fill.fee == D("-0.099")
    assert (await balance(bench, "USDT")).free == D("9901.099")


async def test_buy_that_pays_its_fee_in_quote_locks_the_fee_too(venue: Open) -> None:
    bench = await venue(instrument={"maker_fee_ratio": "0.01", "fee_asset": "quote"})

    await bench.place(a_request())

    assert (await balance(bench, "USDT")).locked == D("99.99")


# --- linear perpetuals ---

LINEAR = {"symbol": BTC, "kind": "linear"}


async def test_linear_position_keeps_its_average_and_realizes_profit(venue: Open) -> None:
    bench = await venue(CALM_BOOK, CALM_BOOK, instrument=LINEAR)

    await bench.place(a_market_request("a", quantity="2"))
    (position,) = await bench.venue.fetch_positions()
    assert (position.quantity, position.average_entry_price) == (D(2), D(101))

    await bench.step()
    await bench.place(a_market_request("b", side=Side.SELL, quantity="3"))
    (position,) = await bench.venue.fetch_positions()
    assert (position.quantity, position.average_entry_price) == (D(-1), D(99))
    # Two bought at 101 and sold at 99: 4 lost. Margin: a tenth of 1 × 99.
    assert await balance(bench, "USDT") == Balance(asset="USDT", free=D("9986.1"), locked=D("9.9"))


async def test_linear_orders_hold_margin_for_their_worst_side(venue: Open) -> None:
    bench = await venue(instrument=LINEAR)

    await bench.place(a_request("a", price="90", quantity="10"))
    await bench.place(a_request("b", side=Side.SELL, price="110", quantity="10"))

    assert (await balance(bench, "USDT")).locked == D(110)
    with pytest.raises(InsufficientBalance):
        await bench.place(a_request("c", price="90", quantity="1200"))


async def test_reduce_only_never_turns_a_position(venue: Open) -> None:
    bench = await venue({"price": "103"}, instrument=LINEAR)
    with pytest.raises(OrderRejected, match="REDUCE_ONLY"):
        await bench.place(a_request("none", side=Side.SELL, price="102", reduce_only=True))
    await bench.place(a_market_request("open", quantity="2"))

    await bench.place(
        a_request("close", side=Side.SELL, price="102", quantity="5", reduce_only=True)
    )
    await bench.step()

    assert await bench.venue.fetch_positions() == ()
    report = await bench.venue.fetch_order(BTC, "close")
    assert (report.state, report.cumulative_quantity) == (OrderState.EXPIRED, D(2))


async def test_reduce_only_orders_end_when_another_order_closes_the_position(
    venue: Open,
) -> None:
    bench = await venue(CALM_BOOK, instrument=LINEAR)
    await bench.place(a_market_request("open", quantity="2"))
    await bench.place(
        a_request("close", side=Side.SELL, price="105", quantity="2", reduce_only=True)
    )

    await bench.place(a_market_request("flatten", side=Side.SELL, quantity="2"))

    assert (await bench.venue.fetch_order(BTC, "close")).state is OrderState.EXPIRED
    assert (await balance(bench, "USDT")).locked == D(0)


# --- lifetimes and the account of others ---


async def test_request_is_not_placed_after_its_lifetime(venue: Open) -> None:
    bench = await venue({"wait": "5s"}, CALM_BOOK)
    permit = await bench.permit()
    permit.signed_until = bench.venue.clock.now()
    await bench.venue.place_order(a_request("in time"), permit)
    await bench.step()

    with pytest.raises(OrderRejected, match="request expired"):
        await bench.venue.place_order(a_request("late"), permit)

    assert permit.signed_count == 2
    with pytest.raises(UnknownOrder):
        await bench.venue.fetch_order(BTC, "late")


async def test_foreign_orders_are_listed_and_lock_the_same_account(venue: Open) -> None:
    bench = await venue()

    await bench.venue.place_foreign_order(a_request("stranger"))

    (report,) = await bench.venue.fetch_open_orders(BTC)
    assert report.client_order_id == "stranger"
    assert (await balance(bench, "USDT")).locked == D(99)
