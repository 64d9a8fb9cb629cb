"""Every strategy by its settings: a new one is added here and nowhere else in the engine."""

from collections.abc import Mapping
from typing import Final

from market_maker.domain.errors import ConfigError
from market_maker.domain.strategies.base import Strategy
from market_maker.domain.strategies.grid import GridSettings, GridStrategy

StrategySettings = GridSettings
"""The union of every strategy's settings; each has its own `kind`."""

SETTINGS_TYPES: Final[Mapping[str, type[StrategySettings]]] = {"grid": GridSettings}


def settings_type_for(kind: str) -> type[StrategySettings]:
    """Return the settings class of a kind; raises `ConfigError` with the kinds there are."""
    try:
        return SETTINGS_TYPES[kind]
    except KeyError:
        kinds = ", ".join(SETTINGS_TYPES)
        raise ConfigError(f"strategy kind was {kind!r}, expected one of: {kinds}") from None


def strategy_for(settings: StrategySettings) -> Strategy:
    """Return the strategy with its settings bound."""
    return GridStrategy(settings)
