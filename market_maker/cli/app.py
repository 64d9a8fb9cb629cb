"""
`market-maker`: every command, and what each error becomes when it reaches the command line.

A command's module is imported when that command is used: `status` need not wait for what `run`
needs.
"""

import importlib
import os
import sys
import traceback
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from market_maker.cli.options import program_version
from market_maker.domain.errors import (
    ConfigError,
    Fenced,
    LeaseHeld,
    MarketMakerError,
    PreflightRefused,
)

EXIT_UNEXPECTED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_LEASE: Final = 5

# Name → module and what it defines there: a function is a command, a Typer a group of them.
COMMANDS: Final = MappingProxyType(
    {
        "run": "run:run",
        "status": "reading:status",
        "orders": "reading:orders",
        "fills": "reading:fills",
        "positions": "reading:positions",
        "incidents": "incidents:app",
        "pause": "operating:pause",
        "resume": "operating:resume",
        "cancel-all": "operating:cancel_all",
        "kill": "operating:kill",
        "plan": "plan:plan",
        "config": "settings:app",
        "db": "database:app",
        "exchange": "exchange:app",
    }
)


class CommandLine(TyperGroup):
    """Loads commands on demand and turns errors into a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # reason: typer's signature
        """Every command in the order of help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, None if there is none."""
        if cmd_name not in COMMANDS:
            # All of them, so that the nearest name can be suggested.
            for name in COMMANDS:
                self.get_command(ctx, name)
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands[cmd_name]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see `exit_code` for what its errors become."""
        try:
            return super().invoke(ctx)
        except MarketMakerError as error:
            typer.echo(f"{_title(error)}: {_text(error)}", err=True)
            raise typer.Exit(exit_code(error)) from error


app = typer.Typer(
    cls=CommandLine,
    name="market-maker",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"market-maker {program_version()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[  # the callback has answered it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """
    A market maker that can be killed at any instant and loses nothing.

    Exit codes: 0 done, 1 unexpected, 2 usage or settings, 3 preflight refused,
    4 replay or verify found a difference, 5 another instance holds the lease or took over.

    For example:

      market-maker run --config configs/paper.yaml

      market-maker status --config configs/paper.yaml --json

      market-maker cancel-all --config configs/paper.yaml --yes
    """


def main() -> None:
    """Run the command line; the script entry."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read our output has gone, for instance `| head`: write nothing more to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNEXPECTED)
    except Exception as error:  # noqa: BLE001  # reason: the outermost frame
        sys.stderr.write(_without_secrets("".join(traceback.format_exception(error))))
        sys.exit(EXIT_UNEXPECTED)


def exit_code(error: MarketMakerError) -> int:
    """Return the exit code that tells a caller what kind of error ended the command."""
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if isinstance(error, PreflightRefused):
        return EXIT_REFUSED
    if isinstance(error, (LeaseHeld, Fenced)):
        return EXIT_LEASE
    return EXIT_UNEXPECTED


def _load(name: str) -> Any:
    module_name, _, attribute = COMMANDS[name].partition(":")
    found = getattr(importlib.import_module(f"market_maker.cli.{module_name}"), attribute)
    if isinstance(found, typer.Typer):
        command = typer.main.get_command(found)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(found)
        command = typer.main.get_command(single)
    command.name = name
    return command


def _title(error: MarketMakerError) -> str:
    titles = {2: "Settings", 3: "Refused", 5: "Not alone"}
    return titles.get(exit_code(error), "Error")


def _text(error: MarketMakerError) -> str:
    return _without_secrets(str(error) or type(error).__name__)


def _without_secrets(text: str) -> str:
    """The text without what reads like a secret; a traceback shows no variables anyway."""
    try:
        from market_maker.bootstrap import redact
    except Exception as error:  # noqa: BLE001  # reason: an installation that is broken
        return f"market-maker cannot be loaded: {error!r}\n"
    return redact(text)
