"""`exchange`: the paper venue's own view, to be held against the bot's."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from market_maker.cli.options import ConfigOption, JsonOption, SymbolOption
from market_maker.cli.output import write_json, write_rows
from market_maker.cli.reading import FILL_COLUMNS, ORDER_COLUMNS

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""
    Show the paper exchange's own view, also while the bot runs.

    For example:

      market-maker exchange orders --config configs/paper.yaml --json

      market-maker exchange balances --config configs/paper.yaml
    """,
)


@app.command()
def orders(
    config: ConfigOption,
    symbol: SymbolOption = "",
    open_: Annotated[bool, typer.Option("--open", help="Only orders that have not ended.")] = False,
    json: JsonOption = False,
) -> None:
    """
    List the orders that the venue accepted, oldest first, with the fields of `orders`.

    For example:

      market-maker exchange orders --config configs/paper.yaml --open
    """
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    found = bootstrap.venue_orders(load_settings(config), only_open=open_)
    columns = [name for name in ORDER_COLUMNS if name != "workflow_id"]
    _write(found, columns, symbol=symbol, is_json=json)


@app.command()
def fills(config: ConfigOption, symbol: SymbolOption = "", json: JsonOption = False) -> None:
    """
    List the account's executions, oldest first, with the fields of `fills`.

    For example:

      market-maker exchange fills --config configs/paper.yaml --json
    """
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    _write(bootstrap.venue_fills(load_settings(config)), FILL_COLUMNS, symbol=symbol, is_json=json)


@app.command()
def balances(config: ConfigOption, json: JsonOption = False) -> None:
    """
    List what the account holds, free and locked in orders.

    For example:

      market-maker exchange balances --config configs/paper.yaml --json
    """
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    found = bootstrap.venue_balances(load_settings(config))
    _write(found, ("asset", "free", "locked"), symbol="", is_json=json)


def _write(
    found: Sequence[dict[str, Any]], columns: Sequence[str], *, symbol: str, is_json: bool
) -> None:
    rows = [row for row in found if symbol in ("", row.get("symbol"))]
    if is_json:
        write_json(rows)
    else:
        write_rows(rows, columns)
