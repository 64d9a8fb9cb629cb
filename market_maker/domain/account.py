"""
The account actor's state: what belongs to no symbol.

It divides the account's limits into allowances, one per symbol, whose sums never exceed the limits.
A kill or an open breaker reaches the symbols as allowances that forbid opening. Everything here is
durable: equity peaks and breakers survive a restart.

There is one account currency: the quote asset that all limits are written in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from market_maker.domain.events import Allowance, Balance, BalancesTaken

ZERO: Final = Decimal(0)
ONE: Final = Decimal(1)
# Shares are rounded down to this, so that their sum cannot pass the limit by a last digit.
SHARE_STEP: Final = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """
    Limits of the whole account.

    `concentration_ratio_max` is the largest part of the exposure that one symbol may take. Orders
    are usually bounded by the venue's own count per symbol first.
    """

    exposure_notional_quote_max: Decimal
    symbols_allowed: tuple[str, ...]
    order_count_max: int = 100_000
    concentration_ratio_max: Decimal = ONE


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """
    Everything the account actor knows.

    Equity is in the account currency and None until every asset could be valued. `breaker` names
    the rule that stopped opening ("" if none); only an operator clears it. Balances are by asset.
    """

    balances: Mapping[str, Balance] = field(default_factory=dict)
    balances_at: datetime | None = None
    equity: Decimal | None = None
    equity_peak: Decimal | None = None
    day_at: datetime | None = None
    day_start_equity: Decimal | None = None
    is_killed: bool = False
    breaker: str = ""
    breaker_opened_at: datetime | None = None
    allowances: Mapping[str, Allowance] = field(default_factory=dict)


def observe_balances(state: AccountState, update: BalancesTaken, *, now: datetime) -> AccountState:
    """Return the state with what the account owns now; equity is valued by `observe_equity`."""
    balances = {balance.asset: balance for balance in update.balances}
    return replace(state, balances=balances, balances_at=now)


def observe_equity(state: AccountState, equity: Decimal, *, now: datetime) -> AccountState:
    """Return the state with its equity, peak and the equity that this UTC day began with."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    is_new_day = state.day_at != day or state.day_start_equity is None
    return replace(
        state,
        equity=equity,
        equity_peak=equity if state.equity_peak is None else max(equity, state.equity_peak),
        day_at=day,
        day_start_equity=equity if is_new_day else state.day_start_equity,
    )


def equity_of(state: AccountState, prices: Mapping[str, Decimal]) -> Decimal | None:
    """Return what the balances are worth at `prices` (by asset); None if one has no price."""
    total = ZERO
    for asset, balance in state.balances.items():
        owned = balance.free + balance.locked
        if not owned:
            continue
        price = prices.get(asset)
        if price is None:
            return None
        total += owned * price
    return total


def kill(state: AccountState) -> AccountState:
    """Return the state in which nothing opens until an operator resumes."""
    return replace(state, is_killed=True)


def open_breaker(state: AccountState, rule: str, *, now: datetime) -> AccountState:
    """Return the state with the account's breaker open; the first rule stays named."""
    if state.breaker:
        return state
    return replace(state, breaker=rule, breaker_opened_at=now)


def resume(state: AccountState) -> AccountState:
    """Return the state after the operator cleared kill and breaker."""
    return replace(state, is_killed=False, breaker="", breaker_opened_at=None)


def grant(
    limits: AccountLimits, symbols: Sequence[str], state: AccountState
) -> tuple[AccountState, Mapping[str, Allowance]]:
    """
    Return the state with its new allowances, and those that changed.

    Symbols outside the whitelist may not open. The others share exposure and orders evenly, each at
    most `concentration_ratio_max` of the exposure. A symbol that is no longer traded has none.
    """
    granted = {symbol: _allowance(symbol, limits, symbols, state) for symbol in sorted(symbols)}
    changed = {
        symbol: allowance
        for symbol, allowance in granted.items()
        if state.allowances.get(symbol) != allowance
    }
    gone = Allowance(
        exposure_notional_quote_max=ZERO,
        order_count_max=0,
        is_opening_allowed=False,
        reason="the symbol is not traded any more",
    )
    changed |= {
        symbol: gone
        for symbol, allowance in state.allowances.items()
        if symbol not in granted and allowance != gone
    }
    return replace(state, allowances=granted) if changed else state, changed


def _allowance(
    symbol: str, limits: AccountLimits, symbols: Sequence[str], state: AccountState
) -> Allowance:
    sharing = sum(1 for other in set(symbols) if other in limits.symbols_allowed)
    order_count = limits.order_count_max // max(1, len(set(symbols)))
    exposure = ZERO
    if symbol in limits.symbols_allowed:
        exposure = min(
            limits.exposure_notional_quote_max / sharing,
            limits.exposure_notional_quote_max * limits.concentration_ratio_max,
        ).quantize(SHARE_STEP, rounding=ROUND_FLOOR)
    reason = _closed_reason(symbol, limits, state)
    return Allowance(
        exposure_notional_quote_max=exposure,
        order_count_max=order_count,
        is_opening_allowed=not reason,
        reason=reason,
    )


def _closed_reason(symbol: str, limits: AccountLimits, state: AccountState) -> str:
    if symbol not in limits.symbols_allowed:
        return "the symbol is not in the whitelist"
    if state.is_killed:
        return "the account was killed by the operator"
    return f"breaker {state.breaker}" if state.breaker else ""
