from decimal import Decimal

import hypothesis.strategies as st
from hypothesis import given, settings

from market_maker.domain.account import AccountLimits, AccountState, grant, kill

SYMBOLS = st.lists(st.sampled_from([f"S{n}/USDT" for n in range(12)]), unique=True, max_size=12)


@settings(derandomize=True, max_examples=200)
@given(
    exposure=st.decimals(min_value="0.01", max_value=10**9, places=2),
    order_count=st.integers(0, 500),
    concentration=st.decimals(min_value="0.01", max_value=1, places=2),
    allowed=SYMBOLS,
    first=SYMBOLS,
    second=SYMBOLS,
    is_killed=st.booleans(),
)
def test_allowances_never_sum_to_more_than_the_limits(
    exposure: Decimal,
    order_count: int,
    concentration: Decimal,
    allowed: list[str],
    first: list[str],
    second: list[str],
    is_killed: bool,
) -> None:
    limits = AccountLimits(
        exposure_notional_quote_max=exposure,
        symbols_allowed=tuple(allowed),
        order_count_max=order_count,
        concentration_ratio_max=concentration,
    )
    state = AccountState()
    for symbols in (first, second):
        state, _ = grant(limits, symbols, kill(state) if is_killed else state)
        granted = state.allowances.values()
        assert sum((a.exposure_notional_quote_max for a in granted), Decimal(0)) <= exposure
        assert sum(a.order_count_max for a in granted) <= order_count
        for symbol, allowance in state.allowances.items():
            assert allowance.exposure_notional_quote_max <= exposure * concentration
            assert symbol in allowed or not allowance.is_opening_allowed
            assert not (is_killed and allowance.is_opening_allowed)
