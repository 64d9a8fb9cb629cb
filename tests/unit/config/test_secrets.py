"""Secrets go where they are needed and nowhere else."""

from pathlib import Path

import pytest

from market_maker.config.examples import example_names, load_example
from market_maker.config.loader import load_settings
from market_maker.config.settings import (
    DatabaseSettings,
    Settings,
    effective_settings,
    secret_values,
)
from market_maker.domain.errors import ConfigError

PAPER = Path(__file__).parents[3] / "configs" / "paper.yaml"
PASSWORD = "correct/horse@battery"  # pragma: allowlist secret
QUOTED = "correct%2Fhorse%40battery"


def with_database(**values: str) -> Settings:
    overrides = {f"database.{name}": value for name, value in values.items()}
    return load_settings([PAPER], overrides, environment={})


def test_password_inside_the_url_is_used_and_never_shown() -> None:
    settings = with_database(url=f"postgresql://ada:{QUOTED}@db:5432/mm?sslmode=require")

    assert settings.database.connection_url == (
        f"postgresql://ada:{QUOTED}@db:5432/mm?sslmode=require"
    )
    shown = f"{effective_settings(settings)} {settings!r} {settings}"
    assert PASSWORD not in shown
    assert QUOTED not in shown
    assert "postgresql://ada:**********@db:5432/mm" in shown
    assert {PASSWORD, QUOTED} <= secret_values(settings)


def test_password_file_is_read_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n", encoding="utf-8")

    settings = with_database(url="postgresql://ada@db/mm", password_file=str(path))

    assert settings.database.connection_url == f"postgresql://ada:{QUOTED}@db/mm"
    assert PASSWORD not in str(effective_settings(settings))
    assert {PASSWORD, QUOTED} <= secret_values(settings)
    assert settings.lane_count_max == 8


def test_password_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="secret file .*absent cannot be read"):
        with_database(url="postgresql://ada@db/mm", password_file=str(tmp_path / "absent"))


def test_error_about_a_database_url_does_not_repeat_it() -> None:
    with pytest.raises(ConfigError) as caught:
        with_database(url=f"mysql://ada:{PASSWORD}@db/mm")

    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


def test_error_about_a_value_from_the_environment_does_not_repeat_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings([PAPER], environment={"MARKET_MAKER__BOT": PASSWORD})

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://db", "redis://db/1", ""]
)
def test_database_that_cannot_remember_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        with_database(url=url)


def test_sqlite_path_is_relative_to_the_current_folder_or_absolute() -> None:
    relative = DatabaseSettings.model_validate({"url": "sqlite:///var/a.sqlite"})
    absolute = DatabaseSettings.model_validate({"url": "sqlite:////srv/a.sqlite"})

    assert relative.sqlite_path == Path("var/a.sqlite")
    assert absolute.sqlite_path == Path("/srv/a.sqlite")
    assert relative.display_url == "sqlite:///var/a.sqlite"


def test_examples_are_offered_by_name() -> None:
    assert {"paper", "tape"} <= set(example_names())
    assert load_example("paper") == PAPER.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="there is no example 'nope'"):
        load_example("nope")
