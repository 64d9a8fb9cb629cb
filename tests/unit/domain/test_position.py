from decimal import Decimal

import pytest

from market_maker.domain.errors import InvalidUpdate
from market_maker.domain.fill import Side
from market_maker.domain.position import Position, apply_fill, unrealized_pnl
from tests.builders import SYMBOL, a_fill, a_position, an_instrument

INSTRUMENT = an_instrument()


def after(*fills: object, start: Position | None = None) -> Position:
    position = start or a_position()
    for fill in fills:
        position = apply_fill(position, fill, INSTRUMENT)  # type: ignore[arg-type]
    return position


def test_buys_average_the_entry_price() -> None:
    position = after(a_fill(price=100, quantity=1), a_fill(price=110, quantity=3))

    assert position == a_position(4, "107.5")


def test_trap_14_average_price_is_not_overwritten_by_the_last_fill() -> None:
    position = after(a_fill(price=100, quantity=2), a_fill(side=Side.SELL, price=120, quantity=1))

    assert position.average_entry_price == 100
    assert position.quantity == 1
    assert position.realized_pnl == 20


def test_trap_14_sells_that_add_to_a_short_average_its_entry() -> None:
    position = after(
        a_fill(side=Side.SELL, price=100, quantity=1), a_fill(side=Side.SELL, price=90, quantity=1)
    )

    assert position == a_position(-2, 95)


def test_trap_07_a_sell_from_flat_is_a_short_and_buying_back_lower_earns() -> None:
    position = after(a_fill(side=Side.SELL, price=100, quantity=2), a_fill(price=90, quantity=1))

    assert position == a_position(-1, 100, realized_pnl=Decimal(10))


def test_crossing_zero_realizes_the_closed_part_and_opens_the_rest_at_the_fill_price() -> None:
    position = after(a_fill(price=100, quantity=1), a_fill(side=Side.SELL, price=110, quantity=3))

    assert position == a_position(-2, 110, realized_pnl=Decimal(10))


def test_a_flat_position_has_no_entry_price() -> None:
    position = after(a_fill(price=100, quantity=1), a_fill(side=Side.SELL, price=101, quantity=1))

    assert position == a_position(0, 0, realized_pnl=Decimal(1))


def test_quote_fee_is_subtracted_from_realized_pnl() -> None:
    position = after(a_fill(price=100, quantity=1, fee="0.1"))

    assert position == a_position(1, 100, realized_pnl=Decimal("-0.1"), fees_quote=Decimal("0.1"))


def test_base_fee_reduces_the_quantity_and_is_valued_at_the_fill_price() -> None:
    position = after(a_fill(price=100, quantity=1, fee="0.001", fee_asset="BTC"))

    assert position == a_position(
        "0.999", 100, realized_pnl=Decimal("-0.1"), fees_quote=Decimal("0.1")
    )


def test_base_fee_of_a_sell_leaves_the_inventory_too() -> None:
    start = a_position(2, 100)

    position = after(
        a_fill(side=Side.SELL, price=110, quantity=1, fee="0.01", fee_asset="BTC"), start=start
    )

    assert position.quantity == Decimal("0.99")
    assert position.realized_pnl == Decimal(9)  # 1.01 × 10 closed, less 0.01 × 110


def test_third_asset_fee_is_not_valued_here() -> None:
    position = after(a_fill(price=100, quantity=1, fee=5, fee_asset="BNB"))

    assert position == a_position(1, 100)


def test_a_rebate_raises_realized_pnl() -> None:
    assert after(a_fill(fee="-0.1")).realized_pnl == Decimal("0.1")


def test_a_fill_of_another_symbol_is_refused() -> None:
    with pytest.raises(InvalidUpdate, match="ETH/USDT is not for BTC/USDT"):
        after(a_fill(symbol="ETH/USDT"))


def test_unrealized_pnl_is_marked_at_the_given_price_for_both_signs() -> None:
    assert unrealized_pnl(a_position(2, 100), Decimal(105)) == 10
    assert unrealized_pnl(a_position(-2, 100), Decimal(105)) == -10
    assert unrealized_pnl(Position(symbol=SYMBOL), Decimal(105)) == 0
