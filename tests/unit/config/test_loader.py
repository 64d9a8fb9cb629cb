"""What a person who writes settings can rely on."""

import json
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from market_maker.config.loader import load_settings, tape_override
from market_maker.config.market import FittedSource, TapeSource
from market_maker.config.settings import Settings, effective_settings, secret_values
from market_maker.domain.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"
PAPER = CONFIGS / "paper.yaml"


def load(
    *paths: Path,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    return load_settings(paths or (PAPER,), overrides, environment=environment or {})


def refusal_of(
    *paths: Path,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*paths, overrides=overrides, environment=environment)
    return str(caught.value)


def a_file(folder: Path, text: str, name: str = "extra.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_example_is_valid_and_holds_no_secret(path: Path) -> None:
    settings = load(path)

    assert settings.bot
    assert secret_values(settings) == frozenset()


def test_paper_example_trades_a_fitted_market_and_starts_at_the_first_price_seen() -> None:
    settings = load(PAPER)

    assert isinstance(settings.venue.instruments[0].market, FittedSource)
    assert settings.symbols[0].strategy.anchor is None
    assert settings.lane_count_max == 2


def test_unquoted_numbers_with_a_fraction_are_exact(tmp_path: Path) -> None:
    text = PAPER.read_text(encoding="utf-8").replace('tick_size: "0.01"', "tick_size: 0.10")
    settings = load(a_file(tmp_path, text))

    assert settings.venue.instruments[0].tick_size == Decimal("0.10")


def test_json_and_toml_say_the_same_as_yaml(tmp_path: Path) -> None:
    values = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    as_json = a_file(tmp_path, json.dumps(values), "bot.json")
    toml = a_file(tmp_path, 'bot = "other"\n[logging]\nlevel = "DEBUG"\n', "more.toml")

    assert load(as_json) == load(PAPER)
    assert load(as_json, toml).logging.level == "DEBUG"


def test_later_file_then_environment_then_flag_wins(tmp_path: Path) -> None:
    later = a_file(tmp_path, "health: {port: 1001}\nbot: later\ntag: lat\n")
    environment = {"MARKET_MAKER__HEALTH__PORT": "1002", "MARKET_MAKER__BOT": "env"}

    settings = load(PAPER, later, environment=environment, overrides={"health.port": 1003})

    assert (settings.tag, settings.bot, settings.health.port) == ("lat", "env", 1003)
    assert settings.health.host == "127.0.0.1"


def test_environment_reaches_into_lists_and_keeps_the_case_of_known_keys() -> None:
    environment = {
        "MARKET_MAKER__SYMBOLS__0__STRATEGY__INTERVAL_BPS": "12.5",
        "MARKET_MAKER__VENUE__BALANCES__USDT": "42",
        "MARKET_MAKER__RISK__SYMBOLS_ALLOWED": "[BTC/USDT, ETH/USDT]",
        "MARKET_MAKER__LANES_MAX": "null",
    }
    settings = load(environment=environment)

    assert settings.symbols[0].strategy.interval_bps == Decimal("12.5")
    assert settings.venue.balances["USDT"] == 42
    assert settings.risk.symbols_allowed == ("BTC/USDT", "ETH/USDT")


def test_group_of_another_kind_replaces_the_whole_group() -> None:
    settings = load(overrides=tape_override("tapes/day.trades.csv.gz"))

    market = settings.venue.instruments[0].market
    assert isinstance(market, TapeSource)
    assert market.trades == Path("tapes/day.trades.csv.gz")


def test_flag_that_was_not_given_changes_nothing() -> None:
    assert load(overrides={"health.port": None}) == load()


def test_book_of_a_tape_is_the_file_beside_it_where_there_is_one(tmp_path: Path) -> None:
    trades = a_file(tmp_path, "", "day.trades.csv.gz")
    market = load(overrides=tape_override(trades)).venue.instruments[0].market
    assert isinstance(market, TapeSource)
    assert market.book_path is None

    book = a_file(tmp_path, "", "day.bbo.csv.gz")

    assert market.book_path == book


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("1.5s", timedelta(milliseconds=1_500)),
        ("1m", timedelta(minutes=1)),
        ("PT1H", timedelta(hours=1)),
    ],
)
def test_durations_are_read_with_a_unit_or_as_iso_8601(text: str, expected: timedelta) -> None:
    assert load(overrides={"reconcile_interval": text}).reconcile_interval == expected


@pytest.mark.parametrize("value", ["5", 5, "5 parsecs", "", "-1s", "0s"])
def test_duration_without_unit_or_of_no_length_is_refused(value: object) -> None:
    assert "reconcile_interval" in refusal_of(overrides={"reconcile_interval": value})


def test_unknown_key_names_file_line_key_and_the_nearest_known_key(tmp_path: Path) -> None:
    extra = a_file(tmp_path, "health:\n  host: 127.0.0.1\n  prot: 1\n")

    message = refusal_of(PAPER, extra)

    assert message == f"{extra}:3: health.prot: unknown key; the nearest known one is port"


def test_unknown_key_deep_inside_lists_and_unions_is_found() -> None:
    message = refusal_of(overrides={"venue.instruments.0.market.ticks.frequency": "1"})

    assert message == (
        "command line: venue.instruments.0.market.ticks.frequency: "
        "unknown key; the nearest known one is frequency_ms"
    )


def test_unknown_variable_with_our_prefix_is_refused() -> None:
    message = refusal_of(environment={"MARKET_MAKER__HEALHT__PORT": "1"})

    assert "environment MARKET_MAKER__HEALHT__PORT: healht: unknown key" in message
    assert "health" in message


def test_missing_key_says_what_was_expected(tmp_path: Path) -> None:
    lines = PAPER.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if "price_collar_bps" not in line)

    message = refusal_of(a_file(tmp_path, text))

    assert "symbols.0.limits.price_collar_bps: is missing; expected: Farthest" in message


def test_wrong_word_names_the_nearest_right_one() -> None:
    assert "nearest is dbos" in refusal_of(overrides={"engine": "dbso"})
    assert "nearest known one is tape" in refusal_of(
        overrides={"venue.instruments.0.market.kind": "taep"}
    )


def test_all_problems_are_reported_together() -> None:
    message = refusal_of(overrides={"bot": "A B", "tag": "tag", "lanes_max": 0, "engin": "x"})

    assert message.startswith("4 problems in the settings:")
    assert all(f": {key}: " in message for key in ("bot", "tag", "lanes_max", "engin"))


def test_dollar_and_braces_take_a_value_from_the_environment(tmp_path: Path) -> None:
    extra = a_file(tmp_path, "bot: ${WHO}-1\n")

    assert load(PAPER, extra, environment={"WHO": "ada"}).bot == "ada-1"
    message = refusal_of(PAPER, extra)
    assert message.startswith(f"{extra}:1: bot: the environment variable WHO is not set")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bot: [", "cannot be understood"),
        ("bot: a\nbot: b\n", "bot is written more than once"),
        ("- bot\n", "expected keys and values"),
    ],
)
def test_file_that_makes_no_sense_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = a_file(tmp_path, text)

    message = refusal_of(path)

    assert str(path) in message
    assert expected in message


def test_file_that_is_absent_or_of_unknown_kind_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal_of(tmp_path / "absent.yaml")
    assert "expected .yaml" in refusal_of(a_file(tmp_path, "", "bot.ini"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1", "0", "a few", "1e400000000"])
def test_impossible_money_is_refused(number: str) -> None:
    overrides = {"symbols.0.limits.order_notional_quote_max": number}

    assert "order_notional_quote_max" in refusal_of(overrides=overrides)


def test_binary_float_is_refused_because_it_is_not_exact() -> None:
    assert "in quotes" in refusal_of(overrides={"symbols.0.strategy.lower": 0.1})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"symbols.0.strategy.interval_quote": "20"}, "exactly one of interval_quote"),
        ({"symbols.0.strategy.order_quantity_base": "1"}, "exactly one of order_notional_quote"),
        ({"symbols.0.strategy.lower": "200000"}, "must be below upper"),
        ({"symbols.0.strategy.anchor": "1"}, "anchor 1 must be from lower to upper"),
        ({"symbols.0.symbol": "ETH/USDT"}, "ETH/USDT is not an instrument of the venue"),
        ({"risk.symbols_allowed": ["ETH/USDT"]}, "not in risk.symbols_allowed"),
        ({"lease_ttl": "3s"}, "lease_ttl must be more than request_lifetime"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    overrides: Mapping[str, object], expected: str
) -> None:
    assert expected in refusal_of(overrides=overrides)


def test_effective_settings_are_a_valid_settings_file(tmp_path: Path) -> None:
    shown = effective_settings(load())

    assert load(a_file(tmp_path, json.dumps(shown), "shown.json")) == load()
