"""What commands write: data on stdout as JSON or a table, everything said beside it on stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import typer

PIPE_WIDTH: Final = 200
NOTHING: Final = "–"
# Averages have as many digits as arithmetic gave them; JSON keeps all, a table need not.
_SHOWN_STEP: Final = Decimal("1e-8")


def write_json(data: Any) -> None:
    """Write one JSON document on stdout."""
    import orjson

    sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")


def write_text(text: str) -> None:
    """Write data for people on stdout."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def write_note(text: str) -> None:
    """Say something that is not data, on stderr."""
    typer.echo(text, err=True)


def write_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str = "", empty: str = ""
) -> None:
    """Write rows as a table of these fields; `empty` is said in place of a table without rows."""
    if not rows:
        write_note(empty or "nothing to show")
        return
    write_table(columns, [[to_cell(row.get(name)) for name in columns] for row in rows], title)


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Write a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    # No markup: what a venue calls an order must not be read as formatting.
    Console(file=sys.stdout, width=width, markup=False, highlight=False).print(table)


def to_money_cell(value: str | None) -> str:
    """An exact amount as a table shows it: at most eight decimals."""
    if value is None:
        return NOTHING
    amount = Decimal(value)
    if amount != (shown := amount.quantize(_SHOWN_STEP, ROUND_HALF_EVEN)):
        return f"≈{shown:f}"
    return f"{amount:f}"


def to_cell(value: Any) -> str:
    """Text of one value in a table."""
    return NOTHING if value is None or value == "" else str(value)
