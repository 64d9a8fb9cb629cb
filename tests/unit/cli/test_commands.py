"""Every command explains itself, and every error has its exit code."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from market_maker import bootstrap
from market_maker.cli.app import app, exit_code
from market_maker.domain.errors import (
    ConfigError,
    ExchangeUnavailable,
    Fenced,
    LeaseHeld,
    MarketMakerError,
    PreflightRefused,
    StoreError,
    TapeError,
)
from tests.unit.cli.conftest import Desk

ROOT = Path(__file__).parents[3]
SECRET = "hunter2-hunter2"


def every_command() -> list[tuple[str, ...]]:
    root: Any = typer.main.get_command(app)
    found: list[tuple[str, ...]] = []
    for name in root.list_commands(None):
        found.append((name,))
        found += [(name, below) for below in getattr(root.get_command(None, name), "commands", {})]
    return found


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])

    assert result.exit_code == 0
    assert f"market-maker {' '.join(command)}" in result.stdout
    assert len(result.stdout.splitlines()[2].strip()) > 10


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_command_is_documented(command: tuple[str, ...]) -> None:
    assert f"`{' '.join(command)}" in (ROOT / "docs" / "commands.md").read_text()
    assert command[0] in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (PreflightRefused("x"), 3),
        (LeaseHeld("x"), 5),
        (Fenced("x"), 5),
        (StoreError("x"), 1),
        (TapeError("x"), 1),
        (ExchangeUnavailable("x"), 1),
    ],
)
def test_error_ends_in_its_exit_code_without_a_traceback(
    error: MarketMakerError, code: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "open_store", fail)

    result = desk.run("status")

    assert exit_code(error) == code
    assert result.exit_code == code
    assert result.stderr.endswith(": x\n")
    assert "Traceback" not in result.output


def test_secret_in_an_error_is_hidden(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreError(f"cannot reach postgresql://me:{SECRET}@host/db, password={SECRET}")

    monkeypatch.setattr(bootstrap, "open_store", fail)

    assert SECRET not in desk.run("status").output


def test_unknown_command_names_the_nearest() -> None:
    result = CliRunner().invoke(app, ["statsu"])

    assert result.exit_code == 2
    assert "Did you mean 'status'" in result.stderr


def test_missing_settings_file_is_named() -> None:
    result = CliRunner().invoke(app, ["status", "--config", "nowhere.yaml"])

    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr
    assert "does not exist" in result.stderr


def test_missing_database_says_what_to_do(empty_desk: Desk) -> None:
    result = empty_desk.run("status")

    assert result.exit_code == 1
    assert "db upgrade" in result.stderr


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert result.exit_code == 0
    assert result.stdout.startswith("market-maker ")
