# A Decimal equals the int that a reader sees beside it; mypy thinks that it cannot.
# mypy: disable-error-code="comparison-overlap"

from decimal import Decimal

from market_maker.domain.account import (
    AccountLimits,
    AccountState,
    equity_of,
    grant,
    kill,
    observe_balances,
    observe_equity,
    open_breaker,
    resume,
)
from market_maker.domain.events import Balance, BalancesTaken
from tests.builders import NOW, at

LIMITS = AccountLimits(
    exposure_notional_quote_max=Decimal(1000),
    symbols_allowed=("BTC/USDT", "ETH/USDT"),
    order_count_max=100,
)
BOTH = ("BTC/USDT", "ETH/USDT")


def balances(**free: int) -> BalancesTaken:
    return BalancesTaken(
        id="b1",
        symbol="@account",
        exchange_at=None,
        received_at=NOW,
        balances=tuple(
            Balance(asset=asset, free=Decimal(amount), locked=Decimal(1))
            for asset, amount in free.items()
        ),
        positions=(),
    )


def test_symbols_share_the_limits() -> None:
    state, changed = grant(LIMITS, BOTH, AccountState())

    assert [a.exposure_notional_quote_max for a in changed.values()] == [500, 500]
    assert [a.order_count_max for a in changed.values()] == [50, 50]
    assert all(a.is_opening_allowed for a in changed.values())
    assert state.allowances == changed


def test_allowances_that_did_not_change_are_not_granted_again() -> None:
    state, _ = grant(LIMITS, BOTH, AccountState())

    again, changed = grant(LIMITS, BOTH, state)

    assert changed == {}
    assert again is state


def test_one_symbol_takes_at_most_its_concentration() -> None:
    limits = AccountLimits(
        exposure_notional_quote_max=Decimal(1000),
        symbols_allowed=BOTH,
        concentration_ratio_max=Decimal("0.3"),
    )

    _, changed = grant(limits, ("BTC/USDT",), AccountState())

    assert changed["BTC/USDT"].exposure_notional_quote_max == 300


def test_a_symbol_outside_the_whitelist_may_not_open() -> None:
    _, changed = grant(LIMITS, ("BTC/USDT", "XRP/USDT"), AccountState())

    assert changed["XRP/USDT"].exposure_notional_quote_max == 0
    assert changed["XRP/USDT"].reason == "the symbol is not in the whitelist"
    assert changed["BTC/USDT"].exposure_notional_quote_max == 1000


def test_a_symbol_no_longer_traded_loses_its_allowance_once() -> None:
    state, _ = grant(LIMITS, BOTH, AccountState())

    state, changed = grant(LIMITS, ("BTC/USDT",), state)

    assert not changed["ETH/USDT"].is_opening_allowed
    assert grant(LIMITS, ("BTC/USDT",), state)[1] == {}


def test_trap_18_kill_and_breaker_reach_the_symbols_as_changed_allowances() -> None:
    state, _ = grant(LIMITS, BOTH, AccountState())

    killed, on_kill = grant(LIMITS, BOTH, kill(state))
    _, on_resume = grant(LIMITS, BOTH, resume(killed))
    _, on_breaker = grant(LIMITS, BOTH, open_breaker(state, "drawdown", now=NOW))

    assert {a.reason for a in on_kill.values()} == {"the account was killed by the operator"}
    assert all(a.is_opening_allowed for a in on_resume.values())
    assert {a.reason for a in on_breaker.values()} == {"breaker drawdown"}
    assert all(a.order_count_max == 50 for a in on_breaker.values())


def test_a_breaker_keeps_its_first_rule() -> None:
    state = open_breaker(AccountState(), "drawdown", now=NOW)

    assert open_breaker(state, "other", now=at(1)) is state


def test_balances_are_remembered_and_valued_only_if_every_price_is_known() -> None:
    state = observe_balances(AccountState(), balances(USDT=99, BTC=1), now=NOW)

    assert state.balances["BTC"].free == 1
    assert equity_of(state, {"USDT": Decimal(1)}) is None
    assert equity_of(state, {"USDT": Decimal(1), "BTC": Decimal(50)}) == 200


def test_an_asset_of_which_nothing_is_owned_needs_no_price() -> None:
    nothing = Balance(asset="X", free=Decimal(0), locked=Decimal(0))

    assert equity_of(AccountState(balances={"X": nothing}), {}) == 0


def test_peak_equity_only_rises_and_the_day_starts_with_its_first_equity() -> None:
    state = observe_equity(AccountState(), Decimal(100), now=NOW)
    state = observe_equity(state, Decimal(120), now=at(1))
    state = observe_equity(state, Decimal(90), now=at(2))
    assert (state.equity, state.equity_peak, state.day_start_equity) == (90, 120, 100)

    state = observe_equity(state, Decimal(95), now=at(86_400))

    assert (state.equity_peak, state.day_start_equity) == (120, 95)
