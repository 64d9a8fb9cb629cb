"""
The short live summary of a running bot: a table on a terminal, one log line elsewhere.

It only looks. Whatever goes wrong in here is said once and never reaches trading; writing to the
terminal happens in a thread, because a terminal that was paused (Ctrl-S) blocks whoever writes.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from types import TracebackType
from typing import Any, Final, Self

import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

TABLE_EVERY: Final = timedelta(seconds=1)
LINE_EVERY: Final = timedelta(seconds=10)
LINE_FIRST_AFTER: Final = timedelta(seconds=2)
NOTHING: Final = "–"
_CENT: Final = Decimal("0.01")

_log = structlog.stdlib.get_logger(__name__)

Status = Mapping[str, Any]


class Summary:
    """Shows what `status` returns for as long as the context lasts."""

    def __init__(self, status: Callable[[], Awaitable[Status]], *, is_quiet: bool) -> None:
        self._status = status
        self._is_quiet = is_quiet
        self._task: asyncio.Task[None] | None = None
        self._has_warned = False

    async def __aenter__(self) -> Self:
        """Start showing."""
        show = self._log_lines() if self._is_quiet else self._show_table()
        self._task = asyncio.create_task(show, name="summary")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _log_lines(self) -> None:
        await asyncio.sleep(LINE_FIRST_AFTER.total_seconds())
        while True:
            await self._guarded(self._log_line)
            await asyncio.sleep(LINE_EVERY.total_seconds())

    async def _log_line(self) -> None:
        status = await self._status()
        for symbol in status["symbols"]:
            _log.info("summary", **line_fields(status, symbol))

    async def _show_table(self) -> None:
        live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
        try:
            live.start()
        except Exception:  # noqa: BLE001  # reason: a terminal that cannot show a table
            _log.warning("summary_failed", exc_info=True)
            return
        moved = _move_logs_above()
        try:
            while True:
                await self._guarded(lambda: self._refresh(live))
                await asyncio.sleep(TABLE_EVERY.total_seconds())
        finally:
            with contextlib.suppress(Exception):
                live.stop()
            _move_logs_back(moved)

    async def _refresh(self, live: Live) -> None:
        table = to_table(await self._status())
        await asyncio.to_thread(live.update, table, refresh=True)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:  # noqa: BLE001  # reason: a summary must never disturb trading
            if not self._has_warned:
                self._has_warned = True
                _log.warning("summary_failed", exc_info=True)


def line_fields(status: Status, symbol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of one symbol's log line, most interesting first."""
    position = symbol["position"]
    fields = {
        "symbol": symbol["symbol"],
        "state": symbol["state"],
        "idle": symbol["idle_reason"] or None,
        "price": symbol.get("last_price"),
        "open_orders": symbol["open_order_count"],
        "unknown": symbol["unknown_order_count"] or None,
        "rounds": symbol.get("rounds_completed_count"),
        "position": _plain(position["quantity"]),
        "realized": _cents(position["realized_pnl"]),
        "unrealized": _cents(position["unrealized_pnl"]),
        "updates": symbol["updates_processed_count"],
        "incidents": status["incidents_open_count"] or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def to_table(status: Status) -> Group:
    """Return the live table of a status object."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("symbol")
    table.add_column("state")
    for name in ("price", "orders", "rounds", "position", "realized", "unrealized", "updates"):
        table.add_column(name, justify="right")
    for symbol in status["symbols"]:
        position = symbol["position"]
        table.add_row(
            Text(symbol["symbol"]),
            Text(_state_text(symbol)),
            symbol.get("last_price") or NOTHING,
            str(symbol["open_order_count"]),
            str(symbol.get("rounds_completed_count", NOTHING)),
            _plain(position["quantity"]),
            _profit(position["realized_pnl"]),
            _profit(position["unrealized_pnl"]),
            f"{symbol['updates_processed_count']:,}",
        )
    return Group(table, Text(_footer(status), style="dim"))


def _footer(status: Status) -> str:
    symbols = status["symbols"]
    lanes = ", ".join(f"{lane['lane']}:{lane['sequence']}" for lane in status["lanes"])
    unknown = sum(symbol["unknown_order_count"] for symbol in symbols)
    skipped = sum(symbol["updates_skipped_count"] for symbol in symbols)
    return (
        f"{status['bot']} · workflows by lane {lanes or NOTHING} · unknown orders {unknown} · "
        f"skipped updates {skipped} · open incidents {status['incidents_open_count']} · "
        "Ctrl-C stops"
    )


def _state_text(symbol: Mapping[str, Any]) -> str:
    reason = symbol["idle_reason"]
    return f"{symbol['state']} ({reason})" if reason else str(symbol["state"])


def _profit(value: str | None) -> Text:
    text = _cents(value) or NOTHING
    style = "red" if text.startswith("-") else "green" if text.strip("0.+–") else ""
    return Text(text, style=style)


def _cents(value: str | None) -> str | None:
    """Money as people read it: the status object keeps every digit."""
    if value is None:
        return None
    try:
        return f"{Decimal(value).quantize(_CENT, ROUND_HALF_EVEN):f}"
    except InvalidOperation:
        return value


def _plain(value: str) -> str:
    normal = Decimal(value).normalize()
    return f"{normal:f}" if normal else "0"


def _move_logs_above() -> list[tuple[Any, Any]]:
    """
    Let log lines pass through the live display, which puts them above the table.

    A handler that keeps the original stderr would write across it.
    """
    return [
        (handler, handler.setStream(sys.stderr))
        for handler in logging.getLogger().handlers
        # Exactly this class: the file handler is a kind of stream handler, too.
        if type(handler) is logging.StreamHandler and handler.stream is sys.__stderr__
    ]


def _move_logs_back(moved: list[tuple[Any, Any]]) -> None:
    for handler, stream in moved:
        handler.setStream(stream)
