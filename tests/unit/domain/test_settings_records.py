"""Settings and states become records and come back equal: the database remembers them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from market_maker.domain.account import AccountLimits, AccountState, grant, observe_balances
from market_maker.domain.errors import ConfigError
from market_maker.domain.events import Balance, BalancesTaken
from market_maker.domain.strategies.grid import GridSettings
from tests.builders import NOW, grid_settings, risk_limits

LIMITS = AccountLimits(
    exposure_notional_quote_max=Decimal("0.30"), symbols_allowed=("BTC/USDT", "ETH/USDT")
)


def _account_state() -> AccountState:
    balance = Balance(asset="BTC", free=Decimal("0.10"), locked=Decimal(0))
    taken = BalancesTaken(
        id="b1",
        symbol="@account",
        exchange_at=None,
        received_at=NOW,
        balances=(balance,),
        positions=(),
    )
    state, _ = grant(LIMITS, ("BTC/USDT",), observe_balances(AccountState(), taken, now=NOW))
    return state


@pytest.mark.parametrize(
    "value",
    [
        grid_settings(lower=Decimal("90.10"), margin_lock=timedelta(seconds=5), window_levels=9),
        risk_limits(daily_notional_quote_max=Decimal(5)),
        LIMITS,
        _account_state(),
    ],
)
def test_a_record_comes_back_equal(value: Any) -> None:
    record = msgspec.to_builtins(value)

    assert msgspec.convert(record, type(value)) == value


def test_settings_that_are_no_grid_are_refused_in_a_record_too() -> None:
    record = msgspec.to_builtins(grid_settings()) | {"interval_bps": "5"}

    with pytest.raises((ConfigError, msgspec.ValidationError), match="exactly one of"):
        msgspec.convert(record, GridSettings)
