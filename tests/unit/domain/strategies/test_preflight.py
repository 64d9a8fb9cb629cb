# A Decimal equals the int that a reader sees beside it; mypy thinks that it cannot.
# mypy: disable-error-code="comparison-overlap"

import re
from decimal import Decimal

import pytest

from market_maker.domain.fill import Side
from market_maker.domain.instrument import InstrumentKind
from market_maker.domain.strategies.grid import GridMode
from market_maker.domain.strategies.preflight import check_ladder
from tests.builders import an_instrument, grid_settings, risk_limits

INSTRUMENT = an_instrument()
PRICE = Decimal(100)
NEUTRAL = grid_settings(mode=GridMode.NEUTRAL, lower=Decimal(95), upper=Decimal(105))


def test_the_report_is_the_exact_ladder() -> None:
    report = check_ladder(grid_settings(), INSTRUMENT, price=PRICE)

    assert report.is_acceptable
    assert (report.anchor, report.interval) == (100, 1)
    assert [(lv.side, lv.price, lv.quantity, lv.notional) for lv in report.levels] == [
        (Side.BUY, 99, 1, 99),
        (Side.BUY, 98, 1, 98),
        (Side.BUY, 97, 1, 97),
    ]
    assert report.levels[0].closing_price == 100
    assert report.profit_per_round_quote == Decimal("0.801")  # 1 − (99 + 100) × 0.001


def test_capital_is_for_the_whole_ladder_with_fees() -> None:
    long = check_ladder(grid_settings(), INSTRUMENT, price=PRICE)
    neutral = check_ladder(NEUTRAL, INSTRUMENT, price=PRICE)
    linear = check_ladder(NEUTRAL, an_instrument(kind=InstrumentKind.LINEAR), price=PRICE)

    assert long.capital_needed == {"USDT": Decimal("294.294")}
    assert neutral.capital_needed == {"USDT": Decimal("294.294"), "BTC": 3}
    assert linear.capital_needed == {"USDT": Decimal("600.6")}


def test_the_worst_case_is_every_level_down_to_the_bound() -> None:
    (worst,) = check_ladder(grid_settings(lower=Decimal(95)), INSTRUMENT, price=PRICE).worst_cases

    # Bought at 99, 98, 97, 96 and 95; at 95 they have lost 4 + 3 + 2 + 1 + 0.
    assert (worst.price, worst.inventory_base, worst.notional_quote, worst.loss_quote) == (
        95,
        5,
        485,
        10,
    )


def test_the_worst_case_of_a_neutral_grid_has_both_ends() -> None:
    down, up = check_ladder(NEUTRAL, INSTRUMENT, price=PRICE).worst_cases

    assert (down.inventory_base, down.loss_quote) == (5, 10)
    assert (up.inventory_base, up.loss_quote) == (-5, 10)


def test_the_worst_case_stops_at_the_exposure_limit() -> None:
    limits = risk_limits(exposure_notional_quote_max=Decimal(300))

    (worst,) = check_ladder(
        grid_settings(lower=Decimal(95)), INSTRUMENT, price=PRICE, limits=limits
    ).worst_cases

    assert (worst.inventory_base, worst.loss_quote) == (3, 9)


def test_without_a_bound_the_worst_case_is_the_last_level() -> None:
    (worst,) = check_ladder(grid_settings(), INSTRUMENT, price=PRICE).worst_cases

    assert (worst.price, worst.inventory_base, worst.loss_quote) == (97, 3, 3)


@pytest.mark.parametrize(
    ("settings", "instrument", "limits", "message"),
    [
        ({"interval_quote": Decimal("0.2")}, {}, {}, "a round would lose money"),
        ({"order_quantity_base": Decimal("0.0001")}, {}, {}, "below the least quantity"),
        ({"order_quantity_base": Decimal("0.05")}, {}, {}, "below the least notional 5 × 1.05"),
        ({"buy_levels_max": 120}, {}, {}, "the last of 120 buy levels is at -20"),
        ({}, {"order_count_max": 2}, {}, "3 orders are more than the 2 that the venue"),
        ({}, {}, {"order_count_per_side_max": 2}, "more than order_count_per_side_max 2"),
        ({}, {}, {"order_notional_quote_max": Decimal(50)}, "order_notional_quote_max 50"),
        ({}, {}, {"order_quantity_base_max": Decimal("0.5")}, "order_quantity_base_max 0.5"),
        ({}, {}, {"exposure_notional_quote_max": Decimal(200)}, "294.* is above exposure"),
        ({}, {}, {"price_collar_bps": Decimal(100)}, "300.0 bps .* beyond price_collar_bps 100"),
        ({"window_levels": 20}, {}, {}, "2000.0 bps from the market"),
    ],
)
def test_what_the_venue_or_the_gate_would_refuse_is_a_violation(
    settings: dict[str, object],
    instrument: dict[str, object],
    limits: dict[str, object],
    message: str,
) -> None:
    report = check_ladder(
        grid_settings(**settings),
        an_instrument(**instrument),
        price=PRICE,
        limits=risk_limits(**limits),
    )

    assert not report.is_acceptable
    assert re.search(message, " / ".join(report.violations))


def test_a_short_that_would_close_at_nothing_is_a_violation() -> None:
    settings = grid_settings(mode=GridMode.NEUTRAL, anchor=Decimal(1))

    report = check_ladder(settings, INSTRUMENT, price=Decimal("0.5"))

    assert "level 1 would close at 0" in report.violations


def test_capital_that_is_missing_is_a_violation_only_if_balances_are_given() -> None:
    poor = check_ladder(grid_settings(), INSTRUMENT, price=PRICE, balances={"USDT": Decimal(294)})

    assert poor.violations == ("the ladder needs 294.294 USDT, free are 294",)
    assert check_ladder(grid_settings(), INSTRUMENT, price=PRICE).is_acceptable


def test_a_stored_anchor_is_used() -> None:
    report = check_ladder(
        grid_settings(anchor=None), INSTRUMENT, price=PRICE, anchor=Decimal("99.5")
    )

    assert report.levels[0].price == Decimal("99.5")


def test_a_market_outside_the_bounds_has_no_levels() -> None:
    report = check_ladder(grid_settings(upper=Decimal(50)), INSTRUMENT, price=PRICE)

    assert (report.levels, report.profit_per_round_quote) == ((), 0)
