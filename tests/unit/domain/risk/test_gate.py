"""Every rule of the gate, with its limit and its value."""

# A Decimal equals the int that a reader sees beside it; mypy thinks that it cannot.
# mypy: disable-error-code="comparison-overlap"

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from market_maker.domain.fill import Side
from market_maker.domain.intents import PlaceIntent
from market_maker.domain.order import OrderState, OrderType, Purpose
from market_maker.domain.quote import Market
from market_maker.domain.risk.gate import Approved, GateContext, Refused, check
from market_maker.domain.risk.limits import RiskCounters
from market_maker.domain.risk.rules import (
    count_rejected,
    count_sent,
    count_traded,
    counters_at,
    open_breaker,
)
from tests.builders import (
    NOW,
    a_gate_context,
    a_market,
    a_position,
    an_allowance,
    an_instrument,
    an_intent,
    an_order,
    at,
    risk_limits,
)

MARKET_ORDER = {"type": OrderType.MARKET, "price": None, "post_only": False}


def rules(context: GateContext, *intents: PlaceIntent) -> list[str]:
    """The rule that refused each intent, "" for an approved one."""
    return [v.rule if isinstance(v, Refused) else "" for v in check(intents, context)]


def refusal(intent: PlaceIntent, context: GateContext) -> Refused:
    (verdict,) = check([intent], context)
    assert isinstance(verdict, Refused)
    return verdict


def test_an_intent_within_every_limit_is_approved_with_its_worth() -> None:
    intent = an_intent(price=99, quantity=2)

    assert check([intent], a_gate_context()) == (Approved(intent=intent, notional=Decimal(198)),)


def test_nothing_is_checked_for_nothing() -> None:
    assert check([], a_gate_context()) == ()


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ({"symbol": "ETH/USDT"}, "symbol"),
        ({"price": "99.001"}, "tick_size"),
        ({"price": "0"}, "tick_size"),
        ({"price": "NaN"}, "tick_size"),
        ({"price": None}, "price"),
        ({"quantity": "0.0015"}, "lot_size"),
        ({"quantity": "0.0005"}, "quantity_min"),
        ({"quantity": "NaN"}, "quantity_min"),
        ({"quantity": "0.01"}, "min_notional"),
        ({"price": "89"}, "price_collar"),
        ({"price": "111"}, "price_collar"),
        ({"quantity": "101"}, "order_notional"),
    ],
)
def test_an_intent_that_breaks_a_limit_is_refused(overrides: dict[str, object], rule: str) -> None:
    assert rules(a_gate_context(), an_intent(**overrides)) == [rule]


def test_a_refusal_names_rule_limit_and_value() -> None:
    refused = refusal(an_intent(quantity=101), a_gate_context())

    assert (refused.rule, refused.limit, refused.value) == ("order_notional", 10_000, 10_100)


def test_the_symbol_must_be_on_the_whitelist() -> None:
    assert rules(a_gate_context(symbols_allowed=("ETH/USDT",)), an_intent()) == ["symbol"]


def test_order_quantity_has_its_own_limit() -> None:
    limits = risk_limits(order_quantity_base_max=Decimal(1))

    assert rules(a_gate_context(limits=limits), an_intent(quantity=2)) == ["order_quantity"]


def test_without_a_market_price_nothing_is_approved() -> None:
    assert rules(a_gate_context(market=Market()), an_intent()) == ["market_price"]


# --- market orders ---


def test_market_orders_need_the_setting() -> None:
    assert rules(a_gate_context(), an_intent(**MARKET_ORDER)) == ["market_order"]


def test_trap_13_a_market_order_is_worth_the_worst_known_price_never_0() -> None:
    context = a_gate_context(
        limits=risk_limits(is_market_order_allowed=True),
        market=a_market(100, bid=101, ask=103),
        position=a_position(0, 105),
    )

    (small,) = check([an_intent(**MARKET_ORDER)], context)
    large = refusal(an_intent(**MARKET_ORDER, quantity=100), context)

    assert isinstance(small, Approved)
    assert small.notional == 105
    assert (large.rule, large.value) == ("order_notional", 10_500)


def test_trap_13_an_open_market_order_counts_at_the_worst_known_price() -> None:
    context = a_gate_context(
        orders=[an_order(type=OrderType.MARKET, price=None, quantity=5)],
        limits=risk_limits(exposure_notional_quote_max=Decimal(600)),
    )

    assert refusal(an_intent(price=99, quantity=2), context).value == 698


# --- counts ---


def test_orders_per_side_are_counted_with_those_approved_before() -> None:
    context = a_gate_context(
        orders=[an_order(client_order_id="a", price=98)],
        limits=risk_limits(order_count_per_side_max=2),
    )

    first, second = an_intent(price=97), an_intent(price=96)
    sell = an_intent(side=Side.SELL, price=105)

    assert rules(context, first, second, sell) == ["", "order_count_per_side", ""]


@pytest.mark.parametrize("state", [OrderState.UNKNOWN, OrderState.PENDING_NEW])
def test_unknown_and_pending_orders_count(state: OrderState) -> None:
    orders = [an_order(state=state, price=98)]

    assert rules(
        a_gate_context(orders=orders, allowance=an_allowance(order_count_max=1)), an_intent()
    ) == ["allowance_order_count"]
    assert rules(
        a_gate_context(orders=orders, instrument=an_instrument(order_count_max=1)), an_intent()
    ) == ["venue_order_count"]


# --- self-trade ---


@pytest.mark.parametrize(
    "state",
    [OrderState.OPEN, OrderState.UNKNOWN, OrderState.PENDING_NEW, OrderState.PENDING_CANCEL],
)
def test_an_order_that_could_meet_an_own_one_is_refused(state: OrderState) -> None:
    context = a_gate_context(orders=[an_order(side=Side.SELL, price=101, state=state)])

    assert rules(context, an_intent(price=101), an_intent(price=102), an_intent(price=100)) == [
        "self_trade",
        "self_trade",
        "",
    ]


def test_an_order_approved_before_is_an_own_one() -> None:
    intents = [an_intent(price=100), an_intent(side=Side.SELL, price=100)]

    assert rules(a_gate_context(), *intents) == ["", "self_trade"]
    assert rules(a_gate_context(), *intents[::-1]) == ["", "self_trade"]


def test_a_market_order_meets_any_own_order_of_the_other_side() -> None:
    context = a_gate_context(
        limits=risk_limits(is_market_order_allowed=True),
        orders=[an_order(side=Side.SELL, price=109)],
    )

    assert rules(context, an_intent(**MARKET_ORDER)) == ["self_trade"]


# --- exposure ---


def test_exposure_counts_position_open_unknown_and_earlier_approved_orders() -> None:
    context = a_gate_context(
        position=a_position(2, 100),
        orders=[an_order(price=99, state=OrderState.UNKNOWN)],
        limits=risk_limits(exposure_notional_quote_max=Decimal(500)),
    )

    # 200 held + 99 unknown + 98 = 397; 97 more is 494; 96 more is too much.
    intents = [an_intent(price=98), an_intent(price=97), an_intent(price=96)]
    assert rules(context, *intents) == ["", "", "exposure"]


def test_the_smaller_of_limit_and_allowance_counts() -> None:
    context = a_gate_context(allowance=an_allowance(exposure_notional_quote_max=99))

    assert refusal(an_intent(), context).rule == "allowance_exposure"


def test_a_closing_order_that_reduces_is_allowed_beyond_the_exposure() -> None:
    context = a_gate_context(
        position=a_position(2, 100),
        limits=risk_limits(exposure_notional_quote_max=Decimal(1)),
    )
    closing = an_intent(side=Side.SELL, price=101, quantity=2, purpose=Purpose.CLOSING)

    assert rules(context, closing, closing) == ["", "exposure"]


def test_a_closing_order_larger_than_the_position_counts_as_opening() -> None:
    context = a_gate_context(
        position=a_position(1, 100),
        limits=risk_limits(exposure_notional_quote_max=Decimal(250)),
    )
    closing = an_intent(side=Side.SELL, price=101, quantity=2, purpose=Purpose.CLOSING)

    assert refusal(closing, context).value == 302


def test_the_position_has_a_limit_in_base_too() -> None:
    context = a_gate_context(
        position=a_position(2, 100), limits=risk_limits(position_quantity_base_max=Decimal(3))
    )

    sell = an_intent(side=Side.SELL, price=105, quantity=4)
    assert rules(context, an_intent(price=99), an_intent(price=98), sell) == [
        "",
        "position_quantity",
        "",
    ]


# --- the operator's exit ---


def test_a_flatten_passes_limits_that_would_trap_the_position() -> None:
    context = a_gate_context(
        position=a_position(500, 100),
        counters=RiskCounters(breaker="order_churn"),
        allowance=an_allowance(is_opening_allowed=False, order_count_max=0),
        limits=risk_limits(orders_per_minute_max=0, daily_notional_quote_max=Decimal(0)),
    )
    flatten = an_intent(side=Side.SELL, price=99, quantity=500, purpose=Purpose.FLATTEN)

    assert rules(context, flatten) == [""]
    assert rules(context, replace(flatten, type=OrderType.MARKET, price=None)) == [""]


def test_a_flatten_that_would_add_is_refused() -> None:
    flatten = an_intent(side=Side.SELL, price=99, purpose=Purpose.FLATTEN)

    assert rules(a_gate_context(), flatten) == ["flatten"]


# --- breaker, churn, daily volume ---


def test_an_open_breaker_refuses_opening_and_lets_holdings_be_closed() -> None:
    context = a_gate_context(
        position=a_position(1, 100), counters=RiskCounters(breaker="order_churn")
    )
    closing = an_intent(side=Side.SELL, price=101, purpose=Purpose.CLOSING)

    assert rules(context, an_intent(price=99), closing) == ["breaker", ""]


def test_a_withdrawn_allowance_refuses_opening_with_its_reason() -> None:
    allowance = an_allowance(is_opening_allowed=False, reason="killed")

    refused = refusal(an_intent(), a_gate_context(allowance=allowance))

    assert (refused.rule, refused.value) == ("allowance", "killed")


def test_order_churn_counts_the_orders_of_this_minute_and_this_plan() -> None:
    counters = count_sent(RiskCounters(), now=NOW)
    context = a_gate_context(counters=counters, limits=risk_limits(orders_per_minute_max=2))
    intents = [an_intent(price=99), an_intent(price=98)]

    assert rules(context, *intents) == ["", "order_churn"]
    assert rules(replace(context, now=at(60)), *intents) == ["", ""]


def test_order_churn_counts_rejections() -> None:
    counters = RiskCounters()
    for _ in range(3):
        counters = count_rejected(counters, now=NOW)
    context = a_gate_context(counters=counters, limits=risk_limits(rejections_per_minute_max=2))

    assert refusal(an_intent(), context).rule == "order_churn"


def test_daily_volume_counts_what_traded_today_and_would() -> None:
    counters = count_traded(RiskCounters(), Decimal(850), now=NOW)
    context = a_gate_context(
        counters=counters, limits=risk_limits(daily_notional_quote_max=Decimal(1000))
    )
    intents = [an_intent(price=99), an_intent(price=98)]

    assert rules(context, *intents) == ["", "daily_notional"]
    assert rules(replace(context, now=at(86_400)), *intents) == ["", ""]


def test_windows_begin_anew_with_the_minute_and_the_day() -> None:
    counters = count_traded(count_sent(RiskCounters(), now=NOW), Decimal(5), now=NOW)

    same_minute, next_minute, next_day = (
        counters_at(counters, now) for now in (at(29), at(30), at(86_400))
    )

    assert same_minute == counters
    assert (next_minute.sent_count, next_minute.day_notional_quote) == (0, 5)
    assert (next_day.sent_count, next_day.day_notional_quote) == (0, 0)


def test_trap_18_an_open_breaker_keeps_its_first_rule_and_time() -> None:
    counters = open_breaker(RiskCounters(), "order_churn", now=NOW)

    again = open_breaker(counters, "other", now=at(5))

    assert (again.breaker, again.breaker_opened_at) == ("order_churn", NOW)


def test_a_check_changes_nothing() -> None:
    context = a_gate_context()
    intents: Sequence[PlaceIntent] = [an_intent(price=99), an_intent(price=98)]

    assert check(intents, context) == check(intents, context)
