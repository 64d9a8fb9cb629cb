"""`pause`, `resume`, `cancel-all`, `kill`: what an operator tells a bot, also one that is dead."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from market_maker.cli.carrying import Outcome, carry_out
from market_maker.cli.options import (
    ConfigOption,
    JsonOption,
    SymbolOption,
    YesOption,
    parse_duration,
)
from market_maker.cli.output import write_json, write_note, write_text
from market_maker.config.settings import Settings
from market_maker.engine.deciding import commands
from market_maker.ports.store import CommandRow

WaitOption = Annotated[
    str, typer.Option("--wait", help="How long to wait for a running bot.", metavar="DURATION")
]
CommandIdOption = Annotated[
    str, typer.Option("--command-id", help="Repeating an id carries the command out once only.")
]


def pause(
    config: ConfigOption,
    symbol: SymbolOption = "",
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    Place nothing new; resting orders stay. Undone by `resume`.

    For example:

      market-maker pause --config configs/paper.yaml

      market-maker pause --config configs/paper.yaml --symbol BTC/USDT
    """
    operate(config, commands.PAUSE, symbol=symbol, wait=wait, command_id=command_id, is_json=json)


def resume(
    config: ConfigOption,
    symbol: SymbolOption = "",
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    Quote again after `pause`, `cancel-all`, `kill` or a limit that stopped opening.

    For example:

      market-maker resume --config configs/paper.yaml

      market-maker resume --config configs/paper.yaml --symbol BTC/USDT --json
    """
    operate(config, commands.RESUME, symbol=symbol, wait=wait, command_id=command_id, is_json=json)


def cancel_all(
    config: ConfigOption,
    symbol: SymbolOption = "",
    yes: YesOption = False,
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    Cancel this bot's orders and pause; works while the bot is dead, too.

    For example:

      market-maker cancel-all --config configs/paper.yaml --yes

      market-maker cancel-all --config configs/paper.yaml --symbol BTC/USDT
    """
    confirm(f"Cancel every order of this bot{_on(symbol)} and pause?", yes=yes)
    name = commands.CANCEL_ALL
    operate(config, name, symbol=symbol, wait=wait, command_id=command_id, is_json=json)


def kill(
    config: ConfigOption,
    symbol: SymbolOption = "",
    yes: YesOption = False,
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    Cancel this bot's orders and stay stopped until `resume`, also over restarts.

    For example:

      market-maker kill --config configs/paper.yaml --yes

      market-maker kill --config configs/paper.yaml --yes --json
    """
    confirm(f"Cancel every order of this bot{_on(symbol)} and stop it until resume?", yes=yes)
    operate(config, commands.KILL, symbol=symbol, wait=wait, command_id=command_id, is_json=json)


def operate(
    config: list[Path],
    name: str,
    *,
    symbol: str = "",
    argument: str = "",
    wait: str,
    command_id: str,
    is_json: bool,
) -> None:
    """Have one command carried out, print what became of it, and exit 1 if that is not enough."""
    from market_maker.config.loader import load_settings

    longest = parse_duration(wait)
    settings = load_settings(config)
    _check_symbol(settings, symbol)
    row = CommandRow(
        command_id=command_id or uuid4().hex,
        name=name,
        symbol=symbol,
        argument=argument,
        state="new",
        created_at=datetime.now(UTC),
    )
    outcome = carry_out(settings, row, wait=longest)
    report(outcome, is_json=is_json)
    if not outcome.is_complete:
        raise typer.Exit(1)


def report(outcome: Outcome, *, is_json: bool) -> None:
    """Print the command as it stands."""
    row = outcome.row
    if is_json:
        write_json(
            {
                "command_id": row.command_id,
                "name": row.name,
                "symbol": row.symbol or None,
                "argument": row.argument or None,
                "state": row.state,
                "result": row.result or None,
                "carried_out_by": outcome.carried_out_by or None,
                "open_order_count": outcome.open_order_count,
            }
        )
    elif row.state == "done":
        by = f" by {outcome.carried_out_by}" if outcome.carried_out_by else ""
        result = "" if row.result in ("", "done") else f": {row.result}"
        write_text(
            f"{row.name}{_on(row.symbol)} is done{by}{result}; "
            f"{outcome.open_order_count} own orders are open"
        )
    if row.state != "done":
        write_note(
            f"{row.name} ({row.command_id}) was queued and is {row.state}: the bot that holds the "
            "lease has not finished it. Look at `market-maker status` and its log; repeat the "
            f"command with --command-id {row.command_id} to wait again"
        )
    elif not outcome.is_complete:
        write_note(
            f"{outcome.open_order_count} own orders are still open or unknown; the bot goes on "
            "canceling. Look at `market-maker orders --open`, or repeat the command"
        )


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; `--yes` answers beforehand."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _check_symbol(settings: Settings, symbol: str) -> None:
    known = [entry.symbol for entry in settings.symbols]
    if symbol and symbol not in known:
        raise typer.BadParameter(f"--symbol {symbol} is not traded; known: {', '.join(known)}")


def _on(symbol: str) -> str:
    return f" on {symbol}" if symbol else ""
