"""Position and ledger: cash, inventory and fees conserve, and profit adds up."""

from decimal import Decimal

import hypothesis.strategies as st
from hypothesis import given, settings

from market_maker.domain.fill import Fill, Side
from market_maker.domain.ledger import LedgerEntry, balances, entries_for
from market_maker.domain.position import apply_fill, unrealized_pnl
from tests.builders import a_fill, a_position, an_instrument

INSTRUMENT = an_instrument()
PRICES = st.decimals(min_value="0.01", max_value=100_000, places=2)
QUANTITIES = st.decimals(min_value="0.001", max_value=100, places=3)


@st.composite
def fills(draw: st.DrawFn, prices: st.SearchStrategy[Decimal] = PRICES) -> Fill:
    price, quantity = draw(prices), draw(QUANTITIES)
    fee_asset = draw(st.sampled_from(["USDT", "BTC", "BNB"]))
    ratio = draw(st.sampled_from([Decimal(0), Decimal("0.001"), Decimal("-0.0001")]))
    fee = quantity * ratio * (1 if fee_asset == "BTC" else price)
    return a_fill(
        side=draw(st.sampled_from(Side)),
        price=price,
        quantity=quantity,
        fee=fee,
        fee_asset=fee_asset,
    )


@settings(derandomize=True, max_examples=200)
@given(st.lists(fills(), max_size=20))
def test_every_fill_balances_in_every_asset_and_inventory_is_the_position(
    history: list[Fill],
) -> None:
    position = a_position()
    entries: list[LedgerEntry] = []
    for fill in history:
        legs = entries_for(fill, INSTRUMENT)
        for asset in ("BTC", "USDT", "BNB"):
            assert sum((leg.amount for leg in legs if leg.asset == asset), Decimal(0)) == 0
        entries += legs
        position = apply_fill(position, fill, INSTRUMENT)

    sums = balances(entries)
    assert sums.get(("inventory", "BTC"), Decimal(0)) == position.quantity


def _gap(history: list[Fill], mid: Decimal) -> Decimal:
    """Realized + unrealized, less cash flow + inventory value."""
    position = a_position()
    entries: list[LedgerEntry] = []
    for fill in history:
        position = apply_fill(position, fill, INSTRUMENT)
        entries += entries_for(fill, INSTRUMENT)
    cash = balances(entries).get(("cash", "USDT"), Decimal(0))
    profit = position.realized_pnl + unrealized_pnl(position, mid)
    return profit - (cash + position.quantity * mid)


@settings(derandomize=True, max_examples=200)
@given(st.lists(fills(), max_size=20), PRICES)
def test_profit_is_cash_flow_plus_inventory_value(history: list[Fill], mid: Decimal) -> None:
    assert abs(_gap(history, mid)) < Decimal("1E-15")


@settings(derandomize=True, max_examples=200)
@given(st.lists(fills(prices=st.just(Decimal(100))), max_size=20), PRICES)
def test_profit_is_exact_where_no_division_was_inexact(history: list[Fill], mid: Decimal) -> None:
    assert _gap(history, mid) == 0
