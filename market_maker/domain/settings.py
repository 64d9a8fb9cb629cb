"""What a decision may know of the settings: versioned rows that every batch names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from market_maker.domain.account import AccountLimits
from market_maker.domain.instrument import Instrument
from market_maker.domain.risk.limits import RiskLimits
from market_maker.domain.strategies.grid import GridSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSettings:
    """One symbol: its instrument as the venue described it, its strategy and its limits."""

    symbol: str
    instrument: Instrument
    strategy: GridSettings
    limits: RiskLimits
    book_age_max: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """
    Everything a decision may know of the settings.

    `epoch` names the database: set once when it is made, it keeps client order ids of a rebuilt
    database apart from those of the lost one. `is_account_dedicated` says that nobody else trades
    on the account. `retired` symbols are no longer configured but still have orders: those are
    canceled and watched to their end, nothing is quoted.
    """

    bot: str
    tag: str
    epoch: str
    symbols: Mapping[str, SymbolSettings]
    account: AccountLimits
    is_account_dedicated: bool = False
    retired: tuple[str, ...] = ()
