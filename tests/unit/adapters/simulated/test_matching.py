"""Who trades with whom, in numbers that a reader can check by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from market_maker.adapters.exchange.simulated.books.matching import (
    SymbolBook,
    Touch,
    plan_resting,
    plan_taking,
)
from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.sources.source import TopTick, TradeTick
from market_maker.domain.fill import Side
from market_maker.domain.order import OrderState, OrderType, TimeInForce
from tests.builders import an_instrument

D = Decimal
AT = datetime(2026, 1, 1, tzinfo=UTC)


def an_order(sequence: int = 1, **overrides: Any) -> VenueOrder:
    order = VenueOrder(
        sequence=sequence,
        client_order_id=f"c{sequence}",
        exchange_order_id=str(sequence),
        symbol="BTC/USDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        price=D(99),
        quantity=D(1),
        time_in_force=TimeInForce.GTC,
        post_only=False,
        reduce_only=False,
        state=OrderState.OPEN,
        created_at=AT,
        updated_at=AT,
    )
    return replace(order, **overrides)


def a_trade(price: str, quantity: str = "1", side: Side = Side.SELL, **overrides: Any) -> TradeTick:
    return TradeTick(0, 0, D(price), D(quantity), side)._replace(**overrides)


def a_top(bid: str, ask: str, **overrides: Any) -> TopTick:
    return TopTick(0, 0, D(bid), D(5), D(ask), D(5))._replace(**overrides)


def a_book(*orders: VenueOrder, top: TopTick | None = None) -> SymbolBook:
    book = SymbolBook(an_instrument(tick_size=D("0.1")))
    if top is not None:
        book.observe_top(top)
    for order in orders:
        book.add(order)
    return book


def quantities(plan: list[tuple[VenueOrder, Decimal]]) -> list[tuple[int, Decimal]]:
    return [(order.sequence, quantity) for order, quantity in plan]


def test_trade_through_the_price_fills_whatever_was_ahead() -> None:
    orders = [an_order(ahead_quantity=D(100))]

    fills, _ = plan_resting(orders, Side.BUY, a_trade("98.9", "2"))

    assert quantities(fills) == [(1, D(1))]


def test_trade_at_the_price_fills_only_after_what_was_ahead() -> None:
    orders = [an_order(ahead_quantity=D(3))]

    fills, moves = plan_resting(orders, Side.BUY, a_trade("99", "2"))

    assert fills == []
    assert quantities(moves) == [(1, D(1))]


def test_trade_at_the_price_fills_partly_with_what_is_left_of_it() -> None:
    orders = [an_order(ahead_quantity=D(3))]

    fills, moves = plan_resting(orders, Side.BUY, a_trade("99", "3.4"))

    assert quantities(fills) == [(1, D("0.4"))]
    assert quantities(moves) == [(1, D(0))]


def test_what_was_ahead_of_one_order_was_ahead_of_the_next_too() -> None:
    orders = [an_order(1, ahead_quantity=D(2)), an_order(2, ahead_quantity=D(5))]

    fills, moves = plan_resting(orders, Side.BUY, a_trade("99", "7"))

    # 2 of others, 1 of ours, 3 more of others, 1 of ours.
    assert quantities(fills) == [(1, D(1)), (2, D(1))]
    assert quantities(moves) == [(1, D(0)), (2, D(0))]


def test_trade_is_shared_out_by_price_then_time() -> None:
    orders = [an_order(3, price=D("99.5")), an_order(1), an_order(2)]

    fills, _ = plan_resting(orders, Side.BUY, a_trade("98", "2.5"))

    assert quantities(fills) == [(3, D(1)), (1, D(1)), (2, D("0.5"))]


def test_trade_of_our_own_side_at_the_price_does_not_count() -> None:
    fills, moves = plan_resting([an_order()], Side.BUY, a_trade("99", side=Side.BUY))

    assert fills == []
    assert moves == []


def test_price_alone_fills_everything_that_it_reaches() -> None:
    orders = [an_order(1, quantity=D(1000)), an_order(2, price=D(98), ahead_quantity=D(7))]

    fills, _ = plan_resting(orders, Side.BUY, a_trade("98", "0.01", is_price_only=True))

    assert quantities(fills) == [(1, D(1000)), (2, D(1))]


def test_sells_mirror_buys() -> None:
    orders = [an_order(1, side=Side.SELL, price=D(101), ahead_quantity=D(1))]

    through, _ = plan_resting(orders, Side.SELL, a_trade("101.1", "0.2", Side.BUY))
    at_price, _ = plan_resting(orders, Side.SELL, a_trade("101", "1.5", Side.BUY))
    below, _ = plan_resting(orders, Side.SELL, a_trade("100.9", "5", Side.BUY))

    assert quantities(through) == [(1, D("0.2"))]
    assert quantities(at_price) == [(1, D("0.5"))]
    assert below == []


@pytest.mark.parametrize(
    ("price", "ahead"),
    [("99", D(5)), ("99.1", D(0)), ("98", D(5))],
    ids=["at the touch", "better than the touch", "deeper: as much as at the touch"],
)
def test_quantity_ahead_is_what_is_visible(price: str, ahead: Decimal) -> None:
    book = a_book(top=a_top("99", "101"))

    assert book.ahead_of(Side.BUY, D(price)) == ahead


@pytest.mark.parametrize(
    ("price", "ahead"),
    [("98.9", D(8)), ("98.5", D(0)), ("97", D(5))],
    ids=["level", "gap", "deeper"],
)
def test_depth_says_what_is_ahead_behind_the_touch(price: str, ahead: Decimal) -> None:
    bids = ((D(99), D(5)), (D("98.9"), D(8)), (D(98), D(2)))
    book = a_book(top=a_top("99", "101", bids=bids, asks=((D(101), D(5)),)))

    assert book.ahead_of(Side.BUY, D(price)) == ahead


def test_without_a_book_the_last_trade_says_what_is_ahead() -> None:
    book = a_book()
    book.observe_trade(a_trade("99", "0.7"))

    assert book.ahead_of(Side.BUY, D(99)) == D("0.7")
    assert book.ahead_of(Side.BUY, D("99.05")) == D(0)


def test_without_a_book_prints_imply_the_touch() -> None:
    book = a_book()

    book.observe_trade(a_trade("99", side=Side.SELL))
    assert (book.best_against(Side.SELL), book.best_against(Side.BUY)) == (D(99), D("99.1"))

    book.observe_trade(a_trade("99.5", side=Side.BUY))
    assert (book.best_against(Side.SELL), book.best_against(Side.BUY)) == (D(99), D("99.5"))

    book.observe_trade(a_trade("100", is_price_only=True))
    assert (book.best_against(Side.SELL), book.best_against(Side.BUY)) == (D("99.9"), D("100.1"))


def test_taker_walks_the_levels_up_to_its_limit() -> None:
    asks = ((D(101), D(2)), (D(102), D(3)), (D(103), D(9)))
    book = a_book(top=a_top("99", "101", bids=((D(99), D(5)),), asks=asks))

    plan = plan_taking(book, Side.BUY, D(102), D(10))

    assert [(item.price, item.quantity) for item in plan] == [(D(101), D(2)), (D(102), D(3))]


def test_taker_meets_own_resting_orders_after_others_at_the_same_price() -> None:
    own = an_order(9, side=Side.SELL, price=D(101), quantity=D(4))
    book = a_book(own, top=a_top("99", "101"))

    plan = plan_taking(book, Side.BUY, None, D(7))

    assert [(item.quantity, item.against) for item in plan] == [(D(5), None), (D(2), own)]


def test_what_a_taker_took_is_gone_until_the_book_is_shown_again() -> None:
    book = a_book(top=a_top("99", "101"))

    book.consume(Side.BUY, D(101), D(5))
    assert plan_taking(book, Side.BUY, D(101), D(1)) == []

    book.observe_top(a_top("99", "101"))
    assert len(plan_taking(book, Side.BUY, D(101), D(1))) == 1


def test_touch_survives_being_written() -> None:
    book = a_book(top=a_top("99", "101", bid_quantity=None))
    book.observe_trade(a_trade("100", "0.25"))

    assert Touch.from_plain(book.touch.to_plain()) == book.touch
