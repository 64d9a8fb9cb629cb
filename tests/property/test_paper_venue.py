"""Whatever is asked and whatever trades: money is conserved and nothing is oversold."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from market_maker.adapters.exchange.simulated.books.account import Account
from market_maker.adapters.exchange.simulated.books.matching import SymbolBook
from market_maker.adapters.exchange.simulated.books.venue import Counters, Venue
from market_maker.adapters.exchange.simulated.sources.source import TopTick, TradeTick
from market_maker.domain.errors import OrderRejected
from market_maker.domain.fill import Fill, Side
from market_maker.domain.instrument import InstrumentKind
from market_maker.domain.order import OrderRequest, OrderState, OrderType, TimeInForce
from tests.builders import an_instrument
from tests.paper import BTC, a_cancel

D = Decimal
AT = datetime(2026, 1, 1, tzinfo=UTC)
WIDE = Context(prec=200)
TOTALS = {"USDT": D(2_000), "BTC": D(20), "BNB": D("0.5")}
ENDED = {OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED}

prices = st.integers(950, 1_050).map(lambda ticks: D(ticks) / 10)
quantities = st.integers(1, 800).map(lambda lots: D(lots) / 100)
sides = st.sampled_from(Side)

trades = st.builds(
    lambda price, quantity, side, is_price_only: TradeTick(
        0, 0, price, quantity, side, is_price_only
    ),
    prices,
    quantities,
    sides,
    st.booleans(),
)
tops = st.builds(
    lambda bid, spread, held: TopTick(0, 0, bid, held, bid + spread, held),
    prices,
    st.integers(1, 30).map(lambda ticks: D(ticks) / 10),
    st.none() | quantities,
)
requests = st.builds(
    lambda number, side, price, quantity, terms: OrderRequest(
        client_order_id=f"order-{number}",
        symbol=BTC,
        side=side,
        type=OrderType.MARKET if terms == "market" else OrderType.LIMIT,
        price=None if terms == "market" else price,
        quantity=quantity,
        time_in_force={"ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}.get(terms, TimeInForce.GTC),
        post_only=terms == "post_only",
        reduce_only=terms == "reduce_only",
    ),
    st.integers(0, 9),
    sides,
    prices,
    quantities,
    st.sampled_from(["", "", "", "market", "ioc", "fok", "post_only", "reduce_only"]),
)
cancels = st.integers(0, 9).map(lambda number: a_cancel(f"order-{number}"))
histories = st.lists(st.one_of(trades, tops, requests, cancels), max_size=60)
terms_of_fees = st.fixed_dictionaries(
    {
        "maker_fee_ratio": st.sampled_from([D("-0.0003"), D(0), D("0.00077")]),
        "taker_fee_ratio": st.sampled_from([D(0), D("0.0013")]),
        "fee_asset": st.sampled_from(["", "BTC", "USDT", "BNB"]),
        "kind": st.sampled_from(InstrumentKind),
    }
)


def a_venue(**overrides: Any) -> Venue:
    instrument = an_instrument(
        tick_size=D("0.1"), lot_size=D("0.01"), quantity_min=D("0.01"), **overrides
    )
    return Venue(
        {BTC: SymbolBook(instrument)},
        Account(TOTALS, {}),
        counters=Counters(),
        margin_ratios={BTC: D("0.1")},
    )


def play(venue: Venue, history: Sequence[Any]) -> None:
    for event in history:
        try:
            match event:
                case TradeTick():
                    venue.apply_trade(BTC, event, AT)
                case TopTick():
                    venue.apply_top(BTC, event)
                case OrderRequest():
                    venue.place(event, AT)
                case _:
                    venue.cancel(event, AT)
        except OrderRejected:
            pass
        check_orders(venue)


def check_orders(venue: Venue) -> None:
    """Nothing is filled beyond its quantity, own orders never cross, and no lock is lost."""
    orders = venue.open_orders(BTC)
    for order in orders:
        assert order.state not in ENDED
        assert 0 < order.remaining_quantity <= order.quantity
    book = venue.books[BTC]
    if book.buys and book.sells:
        assert book.best_buy < book.best_sell
    if book.instrument.kind is InstrumentKind.SPOT:
        for balance in venue.account.balances():
            assert balance.free >= 0
            assert balance.locked >= 0
    if not orders and not venue.account.position(BTC).quantity:
        assert all(balance.locked == 0 for balance in venue.account.balances())


def moved(fills: Sequence[Fill], kind: InstrumentKind) -> dict[str, Decimal]:
    """What the fills moved, added up from scratch."""
    sums = dict(TOTALS)

    def add(asset: str, amount: Decimal) -> None:
        sums[asset] = WIDE.add(sums.get(asset, D(0)), amount)

    for fill in fills:
        if kind is InstrumentKind.SPOT:
            add("BTC", fill.side.sign * fill.quantity)
        add("USDT", WIDE.multiply(-fill.side.sign * fill.price, fill.quantity))
        add(fill.fee_asset, WIDE.minus(fill.fee))
    return sums


@given(history=histories, terms=terms_of_fees)
def test_cash_inventory_and_fees_are_conserved(history: list[Any], terms: dict[str, Any]) -> None:
    venue = a_venue(**terms)

    play(venue, history)

    sums = moved(venue.drain().fills, terms["kind"])
    if terms["kind"] is InstrumentKind.LINEAR:
        # Cash is what was paid, less what the open position still stands for at cost.
        sums["USDT"] = WIDE.add(sums["USDT"], venue.account.position(BTC).cost)
    assert venue.account.totals == sums


@given(history=histories, terms=terms_of_fees)
def test_position_is_the_sum_of_fills(history: list[Any], terms: dict[str, Any]) -> None:
    venue = a_venue(**terms | {"kind": InstrumentKind.LINEAR})

    play(venue, history)

    expected = sum(fill.side.sign * fill.quantity for fill in venue.drain().fills)
    assert venue.account.position(BTC).quantity == expected


@given(history=histories, terms=terms_of_fees)
def test_orders_and_fills_tell_the_same_story(history: list[Any], terms: dict[str, Any]) -> None:
    venue = a_venue(**terms)

    play(venue, history)

    changes = venue.drain()
    trade_ids = [int(fill.trade_id) for fill in changes.fills]
    assert trade_ids == sorted(trade_ids)
    for order in changes.orders.values():
        own = [
            fill.quantity
            for fill in changes.fills
            if fill.exchange_order_id == order.exchange_order_id
        ]
        assert sum(own) == order.cumulative_quantity


@given(history=histories, tick=trades)
def test_tape_fills_no_more_than_it_traded(history: list[Any], tick: TradeTick) -> None:
    venue = a_venue()
    play(venue, history)
    venue.drain()

    venue.apply_trade(BTC, tick._replace(is_price_only=False), AT)

    assert sum(fill.quantity for fill in venue.drain().fills) <= tick.quantity


@given(history=histories, terms=terms_of_fees)
def test_restored_venue_holds_the_same_locks(history: list[Any], terms: dict[str, Any]) -> None:
    venue = a_venue(**terms)
    play(venue, history)
    again = a_venue(**terms)
    again.account.totals = dict(venue.account.totals)
    again.account.positions = dict(venue.account.positions)

    for order in venue.open_orders(BTC):
        again.restore(order)

    assert again.open_orders(BTC) == venue.open_orders(BTC)
    if venue.open_orders(BTC):
        assert again.account.balances() == venue.account.balances()
