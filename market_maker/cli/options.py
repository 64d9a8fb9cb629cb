"""Options that several commands share, and how their text becomes values."""

from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

import typer

CONFIG_VARIABLE: Final = "MARKET_MAKER_CONFIG"
DISTRIBUTION: Final = "market-maker"
CONFIG_HELP: Final = "Settings file (YAML, TOML or JSON); repeat it, and later files win."

_CONFIG_OPTION: Final = typer.Option(
    "--config",
    envvar=CONFIG_VARIABLE,
    exists=True,
    dir_okay=False,
    help=CONFIG_HELP,
    metavar="FILE",
)

ConfigOption = Annotated[list[Path], _CONFIG_OPTION]
# A group that also lists something: its subcommands bring a --config of their own.
GroupConfigOption = Annotated[list[Path] | None, _CONFIG_OPTION]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
SymbolOption = Annotated[
    str, typer.Option("--symbol", help="Only this symbol, for instance BTC/USDT.", metavar="S")
]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, help="At most this many, newest first; 0 is all.")
]


def parse_duration(text: str) -> timedelta:
    """Read "30s", "5m" or an ISO 8601 duration; anything else is a usage error."""
    from market_maker.config.fields import parse_duration as parse

    try:
        duration = parse(text)
    except ValueError as error:
        reason = "a duration needs a unit: 500ms, 2s, 1m, 1h, 1d or ISO 8601 (PT2S)"
        raise typer.BadParameter(f"was {text!r}; {reason}") from error
    if not isinstance(duration, timedelta) or duration < timedelta(0):
        raise typer.BadParameter(f"was {text!r}; a duration must not be negative")
    return duration


def program_version() -> str:
    """Return the installed version; a folder that was never installed has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed"
