from decimal import Decimal

from market_maker.domain.fill import Side
from market_maker.domain.ledger import balances, entries_for
from tests.builders import a_fill, an_instrument

INSTRUMENT = an_instrument()


def test_a_buy_moves_base_in_and_quote_out() -> None:
    entries = entries_for(a_fill(price=100, quantity=2), INSTRUMENT)

    assert balances(entries) == {
        ("inventory", "BTC"): 2,
        ("venue", "BTC"): -2,
        ("cash", "USDT"): -200,
        ("venue", "USDT"): 200,
    }


def test_a_sell_with_a_quote_fee_pays_it_from_cash() -> None:
    fill = a_fill(side=Side.SELL, price=100, quantity=2, fee="0.2")

    sums = balances(entries_for(fill, INSTRUMENT))

    assert sums["cash", "USDT"] == Decimal("199.8")
    assert sums["fees", "USDT"] == Decimal("0.2")


def test_a_base_fee_leaves_the_inventory() -> None:
    fill = a_fill(price=100, quantity=2, fee="0.002", fee_asset="BTC")

    sums = balances(entries_for(fill, INSTRUMENT))

    assert sums["inventory", "BTC"] == Decimal("1.998")
    assert sums["fees", "BTC"] == Decimal("0.002")


def test_a_third_asset_fee_is_booked_in_its_own_asset() -> None:
    sums = balances(entries_for(a_fill(fee="0.01", fee_asset="BNB"), INSTRUMENT))

    assert sums["cash", "BNB"] == Decimal("-0.01")
    assert sums["fees", "BNB"] == Decimal("0.01")


def test_entries_name_their_fill() -> None:
    entries = entries_for(a_fill(trade_id="t7", client_order_id="o7"), INSTRUMENT)

    assert {(entry.trade_id, entry.client_order_id) for entry in entries} == {("t7", "o7")}
