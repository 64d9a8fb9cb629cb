"""The live summary only looks; whatever goes wrong in it stays in it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import structlog
from rich.console import Console

from market_maker.cli import summary
from market_maker.cli.summary import Summary, line_fields, to_table


def a_status(**overrides: Any) -> dict[str, Any]:
    symbol = {
        "symbol": "BTC/USDT",
        "state": "QUOTING",
        "idle_reason": "",
        "last_price": "60000",
        "open_order_count": 3,
        "unknown_order_count": 0,
        "rounds_completed_count": 2,
        "updates_processed_count": 1234,
        "updates_skipped_count": 0,
        "position": {
            "quantity": "0.0100",
            "average_entry_price": "59000",
            "realized_pnl": "1.23456",
            "unrealized_pnl": "-0.005",
        },
    } | overrides
    return {
        "bot": "paper",
        "lanes": [{"lane": 0, "sequence": 9}],
        "symbols": [symbol],
        "incidents_open_count": 0,
    }


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "LINE_FIRST_AFTER", timedelta(milliseconds=1))
    monkeypatch.setattr(summary, "LINE_EVERY", timedelta(milliseconds=1))


async def test_quiet_summary_logs_a_line_for_each_symbol() -> None:
    async def status() -> dict[str, Any]:
        return a_status()

    with structlog.testing.capture_logs() as logs:
        async with Summary(status, is_quiet=True):
            await asyncio.sleep(0.05)

    assert logs[0]["event"] == "summary"
    assert logs[0]["realized"] == "1.23"


async def test_failing_status_is_one_warning_and_nothing_more() -> None:
    async def status() -> dict[str, Any]:
        raise RuntimeError("gone")

    with structlog.testing.capture_logs() as logs:
        async with Summary(status, is_quiet=True):
            await asyncio.sleep(0.05)

    assert [log["event"] for log in logs] == ["summary_failed"]


def test_line_leaves_out_what_is_zero() -> None:
    status = a_status()

    fields = line_fields(status, status["symbols"][0])

    assert fields["position"] == "0.01"
    assert "unknown" not in fields
    assert "incidents" not in fields


def test_table_shows_why_a_symbol_is_idle() -> None:
    console = Console(width=150)

    with console.capture() as capture:
        console.print(to_table(a_status(state="PAUSED", idle_reason="paused by the operator")))

    text = capture.get()
    assert "PAUSED (paused by the operator)" in text
    assert "1,234" in text
