"""What the read commands print: the JSON names are a public contract."""

import json

import pytest

from tests.unit.cli.conftest import Desk

ORDER = {
    "client_order_id",
    "exchange_order_id",
    "symbol",
    "side",
    "price",
    "quantity",
    "filled_quantity",
    "state",
    "workflow_id",
    "created_at",
    "updated_at",
}
FILL = {
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
}


def test_status_has_the_contract_fields(desk: Desk) -> None:
    status = json.loads(desk.run("status", "--json").stdout)

    assert status["bot"] == "paper"
    assert set(status["lease"]) == {"holder", "token", "expires_at"}
    assert status["lanes"] == [{"lane": 0, "sequence": 1}]
    assert status["incidents_open_count"] == 1
    (symbol,) = status["symbols"]
    assert symbol["symbol"] == "BTC/USDT"
    assert symbol["strategy"] == "grid"
    assert symbol["position"]["quantity"] == "0.01"
    assert symbol["position"]["unrealized_pnl"] == "10.00"
    assert (symbol["open_order_count"], symbol["unknown_order_count"]) == (1, 0)
    assert (symbol["updates_processed_count"], symbol["updates_skipped_count"]) == (7, 0)
    assert {"state", "idle_reason", "last_update_at"} <= set(symbol)


def test_orders_have_the_contract_fields(desk: Desk) -> None:
    orders = json.loads(desk.run("orders", "--json").stdout)

    assert [set(order) for order in orders] == [ORDER, ORDER]
    assert orders[0]["price"] == "60000.10"
    assert orders[0]["created_at"].endswith("Z")


def test_orders_can_be_only_the_open_ones(desk: Desk) -> None:
    orders = json.loads(desk.run("orders", "--open", "--json").stdout)

    assert [order["state"] for order in orders] == ["OPEN"]


@pytest.mark.parametrize("command", ["orders", "fills", "positions"])
def test_other_symbol_has_nothing(desk: Desk, command: str) -> None:
    assert json.loads(desk.run(command, "--symbol", "ETH/USDT", "--json").stdout) == []


def test_limit_keeps_the_newest(desk: Desk) -> None:
    assert len(json.loads(desk.run("orders", "--limit", "1", "--json").stdout)) == 1


def test_fills_have_the_contract_fields(desk: Desk) -> None:
    (fill,) = json.loads(desk.run("fills", "--json").stdout)

    assert set(fill) == FILL
    assert fill["fee"] == "0.00001"
    assert fill["exchange_at"] == "2026-01-02T03:04:05.678901Z"


def test_positions_are_money_as_text(desk: Desk) -> None:
    (position,) = json.loads(desk.run("positions", "--json").stdout)

    assert position == {
        "symbol": "BTC/USDT",
        "quantity": "0.01",
        "average_entry_price": "59000",
        "realized_pnl": "0",
        "unrealized_pnl": "10.00",
        "fees_quote": "0",
    }


def test_incidents_list_the_open_ones(desk: Desk) -> None:
    (incident,) = json.loads(desk.run("incidents", "--json").stdout)

    assert incident["id"] == "inc-1"
    assert incident["closed_at"] is None


@pytest.mark.parametrize("command", ["status", "orders", "fills", "positions", "incidents"])
def test_table_for_people_names_the_symbol(desk: Desk, command: str) -> None:
    result = desk.run(command)

    assert result.exit_code == 0
    assert "BTC/USDT" in result.stdout


def test_reading_works_while_a_bot_holds_the_lease(live_desk: Desk) -> None:
    assert live_desk.run("status").exit_code == 0


def test_exchange_without_a_file_says_so(desk: Desk) -> None:
    result = desk.run("exchange", "orders", "--json")

    assert result.exit_code == 1
    assert "run the bot first" in result.stderr
