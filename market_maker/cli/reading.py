"""`status`, `orders`, `fills`, `positions`: read the database only, whoever runs or died."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from market_maker.cli.options import ConfigOption, JsonOption, LimitOption, SymbolOption
from market_maker.cli.output import (
    NOTHING,
    to_cell,
    to_money_cell,
    write_json,
    write_rows,
    write_table,
    write_text,
)
from market_maker.config.settings import Settings
from market_maker.engine import queries
from market_maker.ports.store import Store

T = TypeVar("T")

ORDER_COLUMNS: Final = (
    "client_order_id",
    "symbol",
    "side",
    "price",
    "quantity",
    "filled_quantity",
    "state",
    "workflow_id",
    "created_at",
)
FILL_COLUMNS: Final = (
    "trade_id",
    "client_order_id",
    "symbol",
    "side",
    "price",
    "quantity",
    "fee",
    "fee_asset",
    "liquidity",
    "exchange_at",
)
POSITION_COLUMNS: Final = (
    "symbol",
    "quantity",
    "average_entry_price",
    "realized_pnl",
    "unrealized_pnl",
    "fees_quote",
)
STATUS_COLUMNS: Final = (
    "symbol",
    "state",
    "idle_reason",
    "price",
    "open",
    "unknown",
    "position",
    "entry",
    "realized_pnl",
    "unrealized_pnl",
    "updates",
    "skipped",
    "last_update_at",
)


def status(config: ConfigOption, json: JsonOption = False) -> None:
    """
    Show lease, lanes, and every symbol's state, position, orders and counts.

    For example:

      market-maker status --config configs/paper.yaml

      market-maker status --config configs/paper.yaml --json
    """
    found = read(config, _read_status)
    if json:
        write_json(found)
        return
    lease = _lease_text(found["lease"])
    lanes = ", ".join(f"{lane['lane']}:{lane['sequence']}" for lane in found["lanes"])
    write_text(
        f"bot {found['bot']} · lease {lease} · workflows by lane {lanes or NOTHING} · "
        f"open incidents {found['incidents_open_count']}"
    )
    if found["symbols"]:
        write_table(STATUS_COLUMNS, [_status_row(symbol) for symbol in found["symbols"]])


def orders(
    config: ConfigOption,
    symbol: SymbolOption = "",
    open_: Annotated[bool, typer.Option("--open", help="Only orders that have not ended.")] = False,
    limit: LimitOption = 100,
    json: JsonOption = False,
) -> None:
    """
    List orders, newest first, with the workflow that decided each.

    For example:

      market-maker orders --config configs/paper.yaml --open

      market-maker orders --config configs/paper.yaml --limit 0 --json
    """
    found = read(
        config,
        lambda store, _: queries.read_orders(store, symbol=symbol, only_open=open_, limit=limit),
    )
    _write(found, ORDER_COLUMNS, is_json=json, empty="no orders")


def fills(
    config: ConfigOption,
    symbol: SymbolOption = "",
    limit: LimitOption = 100,
    json: JsonOption = False,
) -> None:
    """
    List our executions, newest first.

    For example:

      market-maker fills --config configs/paper.yaml

      market-maker fills --config configs/paper.yaml --limit 0 --json
    """
    found = read(config, lambda store, _: queries.read_fills(store, symbol=symbol, limit=limit))
    _write(found, FILL_COLUMNS, is_json=json, empty="no fills")


def positions(config: ConfigOption, symbol: SymbolOption = "", json: JsonOption = False) -> None:
    """
    List what the bot holds of each symbol, and its profit or loss.

    For example:

      market-maker positions --config configs/paper.yaml

      market-maker positions --config configs/paper.yaml --json
    """
    found = read(config, lambda store, _: queries.read_positions(store, symbol=symbol))
    if not json:
        found = [_position_cells(row) for row in found]
    _write(found, POSITION_COLUMNS, is_json=json, empty="no positions")


def read(config: list[Path], ask: Callable[[Store, Settings], Awaitable[T]]) -> T:
    """Load the settings, ask the database something without ever writing to it, and close it."""
    from market_maker import bootstrap
    from market_maker.config.loader import load_settings

    settings = load_settings(config)

    async def reading() -> T:
        store = await bootstrap.open_store(settings, read_only=True)
        try:
            return await ask(store, settings)
        finally:
            await store.close()

    return asyncio.run(reading())


def _write(
    rows: list[dict[str, Any]], columns: tuple[str, ...], *, is_json: bool, empty: str
) -> None:
    if is_json:
        write_json(rows)
    else:
        write_rows(rows, columns, empty=empty)


def _position_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if name == "symbol" else to_money_cell(value) for name, value in row.items()
    }


async def _read_status(store: Store, settings: Settings) -> dict[str, Any]:
    from market_maker import bootstrap

    limits = bootstrap.engine_settings(settings).to_limits()
    return await queries.read_status(store, settings.bot, limits)


def _lease_text(lease: Mapping[str, Any] | None) -> str:
    if lease is None:
        return NOTHING
    is_over = datetime.fromisoformat(lease["expires_at"]) <= datetime.now(UTC)
    verb = "ended" if is_over else "until"
    return f"{lease['holder']}, token {lease['token']}, {verb} {lease['expires_at']}"


def _status_row(symbol: Mapping[str, Any]) -> list[str]:
    position = symbol["position"]
    values = (
        symbol["symbol"],
        symbol["state"],
        symbol["idle_reason"],
        symbol["last_price"],
        symbol["open_order_count"],
        symbol["unknown_order_count"],
        to_money_cell(position["quantity"]),
        to_money_cell(position["average_entry_price"]),
        to_money_cell(position["realized_pnl"]),
        to_money_cell(position["unrealized_pnl"]),
        symbol["updates_processed_count"],
        symbol["updates_skipped_count"],
        symbol["last_update_at"],
    )
    return [to_cell(value) for value in values]
