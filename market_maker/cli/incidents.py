"""`incidents`: what contradicts the books, and how an operator settles it."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from market_maker.cli.operating import CommandIdOption, WaitOption, confirm, operate
from market_maker.cli.options import ConfigOption, GroupConfigOption, JsonOption, YesOption
from market_maker.cli.output import write_json, write_rows, write_text
from market_maker.cli.reading import read
from market_maker.engine import queries
from market_maker.engine.deciding import commands

COLUMNS: Final = (
    "id",
    "symbol",
    "kind",
    "severity",
    "content",
    "opened_at",
    "closed_at",
    "resolution",
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The incident, as listed.")]

app = typer.Typer(invoke_without_command=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def incidents(
    ctx: typer.Context,
    config: GroupConfigOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were settled.")] = False,
    json: JsonOption = False,
) -> None:
    """
    List what contradicts the books; a symbol with an open incident does not quote.

    For example:

      market-maker incidents --config configs/paper.yaml

      market-maker incidents --config configs/paper.yaml --all --json

      market-maker incidents adopt --config configs/paper.yaml ID
    """
    if ctx.invoked_subcommand is not None:
        return
    if not config:
        raise typer.BadParameter("Missing option '--config'.")
    found = _read(config, only_open=not all_)
    if json:
        write_json(found)
    else:
        write_rows(found, COLUMNS, empty="no incidents" if all_ else "no open incidents")


@app.command()
def adopt(
    incident_id: IdArgument,
    config: ConfigOption,
    yes: YesOption = False,
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    The venue is right: take over what it says, and go on.

    For example:

      market-maker incidents adopt --config configs/paper.yaml ID --yes
    """
    confirm(f"Change the books to what the venue says in incident {incident_id}?", yes=yes)
    _settle(config, commands.ADOPT, incident_id, wait=wait, command_id=command_id, is_json=json)


@app.command()
def ignore(
    incident_id: IdArgument,
    config: ConfigOption,
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    The books are right: leave them as they are, and go on.

    For example:

      market-maker incidents ignore --config configs/paper.yaml ID
    """
    _settle(config, commands.IGNORE, incident_id, wait=wait, command_id=command_id, is_json=json)


@app.command()
def flatten(
    incident_id: IdArgument,
    config: ConfigOption,
    yes: YesOption = False,
    wait: WaitOption = "10s",
    command_id: CommandIdOption = "",
    json: JsonOption = False,
) -> None:
    """
    Neither: cancel the symbol's orders and give its position back to the market.

    For example:

      market-maker incidents flatten --config configs/paper.yaml ID --yes
    """
    confirm(
        f"Cancel the orders and close the position of the symbol of incident {incident_id}?",
        yes=yes,
    )
    _settle(config, commands.FLATTEN, incident_id, wait=wait, command_id=command_id, is_json=json)


def _settle(
    config: list[Path],
    name: str,
    incident_id: str,
    *,
    wait: str,
    command_id: str,
    is_json: bool,
) -> None:
    incident = _find(config, incident_id)
    if incident["closed_at"] is not None and not command_id:
        said = incident["resolution"] or "itself"
        if is_json:
            write_json({"incident": incident, "state": "done", "result": "was settled before"})
        else:
            write_text(f"incident {incident_id} was settled before, by {said}; nothing to do")
        return
    operate(
        config,
        name,
        symbol=incident["symbol"],
        argument=incident_id,
        wait=wait,
        command_id=command_id,
        is_json=is_json,
    )


def _find(config: list[Path], incident_id: str) -> dict[str, Any]:
    found = {incident["id"]: incident for incident in _read(config, only_open=False)}
    if incident_id in found:
        return found[incident_id]
    near = difflib.get_close_matches(incident_id, found, n=1)
    known = f"the nearest is {near[0]}" if near else "`market-maker incidents` lists them"
    raise typer.BadParameter(f"there is no incident {incident_id}; {known}")


def _read(config: list[Path], *, only_open: bool) -> list[dict[str, Any]]:
    return read(config, lambda store, _: queries.read_incidents(store, only_open=only_open))
