"""`config`, `db` and `plan`."""

import json

import yaml
from typer.testing import CliRunner

from market_maker.cli.app import app
from tests.unit.cli.conftest import Desk


def test_good_settings_are_ok(empty_desk: Desk) -> None:
    result = empty_desk.run("config", "check")

    assert result.exit_code == 0
    assert result.stdout.startswith("OK")


def test_wrong_settings_name_file_key_and_nearest(empty_desk: Desk) -> None:
    empty_desk.values["lanes_maxx"] = 2
    empty_desk.values["symbols"][0]["strategy"]["lower"] = "-1"
    empty_desk.write()

    result = empty_desk.run("config", "check")

    assert result.exit_code == 2
    assert "bot.yaml" in result.stderr
    assert "lanes_max" in result.stderr
    assert "symbols.0.strategy.lower" in result.stderr
    assert "Traceback" not in result.output


def test_wrong_settings_as_json(empty_desk: Desk) -> None:
    empty_desk.values["lanes_maxx"] = 2
    empty_desk.write()

    result = empty_desk.run("config", "check", "--json")

    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert "lanes_maxx" in answer["problems"][0]


def test_shown_settings_hide_secrets(empty_desk: Desk) -> None:
    empty_desk.values["database"] = {"url": "postgresql://me:hunter2-hunter2@host/db"}
    empty_desk.write()

    shown = empty_desk.run("config", "show")
    as_json = empty_desk.run("config", "show", "--json")

    assert "hunter2" not in shown.output + as_json.output
    assert json.loads(as_json.stdout)["bot"] == "paper"
    assert yaml.safe_load(shown.stdout) == json.loads(as_json.stdout)


def test_example_can_be_used(empty_desk: Desk) -> None:
    text = CliRunner().invoke(app, ["config", "example", "paper"]).stdout
    empty_desk.config.write_text(text)

    assert empty_desk.run("config", "check").exit_code == 0


def test_plan_is_exact(empty_desk: Desk) -> None:
    result = empty_desk.run("plan", "--price", "60000", "--json")

    assert result.exit_code == 0
    (plan,) = json.loads(result.stdout)["plans"]
    assert plan["interval"] == "24"
    assert plan["levels"][0]["price"] == "59976"
    assert len(plan["levels"]) == 8
    assert plan["is_acceptable"] is True
    assert "USDT" in plan["capital_needed"]


def test_plan_that_loses_to_fees_is_refused(empty_desk: Desk) -> None:
    empty_desk.values["symbols"][0]["strategy"]["interval_bps"] = "1"
    empty_desk.write()

    result = empty_desk.run("plan", "--price", "60000", "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout)["plans"][0]["is_acceptable"] is False
    assert "a round would lose money" in result.stderr


def test_plan_starts_from_the_last_price_seen(desk: Desk) -> None:
    (plan,) = json.loads(desk.run("plan", "--json").stdout)["plans"]

    assert plan["price_source"] == "last seen"


def test_price_must_be_a_number(empty_desk: Desk) -> None:
    assert empty_desk.run("plan", "--price", "much").exit_code == 2


def test_upgrade_makes_the_database(empty_desk: Desk) -> None:
    assert empty_desk.run("db", "current").exit_code == 1
    assert empty_desk.run("db", "upgrade").exit_code == 0

    current = json.loads(empty_desk.run("db", "current", "--json").stdout)

    assert current["is_current"] is True


def test_rescue_of_an_unknown_workflow_says_so(desk: Desk) -> None:
    result = desk.run("db", "rescue", "paper/0/000000009")

    assert result.exit_code == 1
    assert "no workflow" in result.stderr
