"""`market-maker run` as a user has it: installed, from any folder, ended in every way there is."""

import gzip
import json
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.harness import (
    BTC,
    KILLED,
    Bot,
    Process,
    an_instrument,
    check,
    some_settings,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

CONFIGS: Final = Path(__file__).parents[2] / "configs"
QUIET: Final = {"MARKET_MAKER__HEALTH__ENABLED": "false"}
AT_ONCE: Final = 130

STATUS_KEYS: Final = {"bot", "lease", "lanes", "symbols", "incidents_open_count"}
SYMBOL_KEYS: Final = {
    "symbol",
    "strategy",
    "state",
    "idle_reason",
    "position",
    "open_order_count",
    "unknown_order_count",
    "updates_processed_count",
    "updates_skipped_count",
    "last_update_at",
}
POSITION_KEYS: Final = {"quantity", "average_entry_price", "realized_pnl", "unrealized_pnl"}


@pytest.fixture
def lone_bot(tmp_path: Path) -> Iterator[Bot]:
    """A bot on an SQLite file: these tests are about the command, not the database."""
    folder = tmp_path / "bot"
    bot = Bot(folder, some_settings(f"sqlite:///{folder / 'bot.db'}", folder))
    yield bot
    bot.close()


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Bot]:
    """The shipped settings, in a folder that is not the repository."""
    settings = some_settings("sqlite:///var/paper.sqlite", tmp_path) | {
        "bot": "paper",
        "tag": "pap",
    }
    settings["venue"]["file"] = str(tmp_path / "var/paper-exchange.sqlite")
    bot = Bot(tmp_path, settings)
    yield bot
    bot.close()


def run_shipped(bot: Bot, *arguments: str, file: str = "paper.yaml") -> Process:
    """Run a shipped settings file as it is, in the bot's folder."""
    shutil.copy(CONFIGS / file, bot.folder / file)
    return bot.start(*arguments, config=bot.folder / file, environment=QUIET)


def a_tape(path: Path, *, count: int = 400, damaged_line: int = 0) -> Path:
    """A recorded hour in a few lines; prices swing over several grid levels."""
    lines = ["exchange_at_ms,trade_id,price,quantity,taker_side"]
    for number in range(count):
        price = 60_000 + 150 * ((number % 40) - 20) // 20 * (1 if number // 40 % 2 else -1)
        side = "BUY" if number % 2 else "SELL"
        lines.append(f"{1_700_000_000_000 + number * 100},{number + 1},{price}.00,0.01,{side}")
    if damaged_line:
        lines[damaged_line - 1] = "1700000000000,oops,not-a-price,0.01,BUY"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")
    return path


# --- what it prints ---


def test_trap_01_the_installed_command_runs_the_shipped_settings_from_another_folder(
    paper: Bot,
) -> None:
    first = run_shipped(paper, "--for", "3s", "--json")
    first.expect(0)
    second = run_shipped(paper, "--for", "1s", "--json")
    second.expect(0)

    before, after = json.loads(first.out()), json.loads(second.out())
    assert before["symbols"][0]["open_order_count"] > 0
    assert before["symbols"][0]["updates_processed_count"] > 0
    assert after["lease"]["token"] == before["lease"]["token"] + 1
    assert after["lanes"][0]["sequence"] >= before["lanes"][0]["sequence"]
    assert (paper.folder / "var" / "paper.sqlite").exists()
    assert (paper.folder / "var" / "paper.log.jsonl").exists()


def test_json_output_is_one_object_with_the_promised_fields_and_money_as_text(
    lone_bot: Bot,
) -> None:
    process = lone_bot.run("--for", "3s", "--json")

    status = json.loads(process.out())
    assert set(status) >= STATUS_KEYS
    assert set(status["lease"]) == {"holder", "token", "expires_at"}
    assert {key for lane in status["lanes"] for key in lane} == {"lane", "sequence"}
    for symbol in status["symbols"]:
        assert set(symbol) >= SYMBOL_KEYS
        assert set(symbol["position"]) >= POSITION_KEYS
        assert all(isinstance(value, str | None) for value in symbol["position"].values())
    assert "starting" in process.err()
    assert json.loads(lone_bot.command("status", "--json"))["symbols"] == status["symbols"]


def test_bot_and_venue_tell_the_same_story_through_the_command_line(lone_bot: Bot) -> None:
    process = lone_bot.start()
    lone_bot.await_fills(4)
    process.kill()
    lone_bot.settle()

    ours = json.loads(lone_bot.command("fills", "--json", "--limit", "0"))
    theirs = json.loads(lone_bot.command("exchange fills", "--json"))
    assert by_trade(ours) == by_trade(theirs)
    check(lone_bot, label="through the command line")


def by_trade(fills: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    names = ("client_order_id", "symbol", "side", "price", "quantity", "fee", "fee_asset")
    return {fill["trade_id"]: tuple(str(fill[name]) for name in names) for fill in fills}


# --- how it ends ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_gracefully(lone_bot: Bot, number: signal.Signals) -> None:
    process = lone_bot.start("--json")
    lone_bot.await_orders()
    process.send(number)
    process.expect(0)

    assert json.loads(process.out())["bot"] == lone_bot.name
    lone_bot.settle()
    check(lone_bot, label=number.name)


def test_a_second_signal_ends_it_at_once_as_safely_as_a_kill(lone_bot: Bot) -> None:
    process = lone_bot.start()
    lone_bot.await_orders()
    # Both wait for it when it wakes up, so the second comes before the first is done.
    process.send(signal.SIGSTOP)
    process.send(signal.SIGINT)
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)
    process.expect(AT_ONCE)

    lone_bot.settle()
    check(lone_bot, label="second signal")


def test_it_stops_by_itself_after_so_many_updates(lone_bot: Bot) -> None:
    process = lone_bot.run("--max-updates", "60", "--json")

    symbols = json.loads(process.out())["symbols"]
    assert sum(symbol["updates_processed_count"] for symbol in symbols) >= 40


def test_own_orders_are_canceled_on_exit_if_so_set(lone_bot: Bot) -> None:
    lone_bot.settings["cancel_on_exit"] = True
    process = lone_bot.start()
    lone_bot.await_orders()
    process.send(signal.SIGTERM)
    process.expect(0)

    assert lone_bot.open_order_count() == 0


# --- tapes ---


def tape_settings(bot: Bot) -> None:
    """One symbol, paused while closed, as fast as possible, so that a tape can end."""
    bot.settings["symbols"] = bot.settings["symbols"][:1]
    bot.settings["venue"] |= {
        "while_closed": "pause",
        "instruments": [an_instrument(BTC, start_price="60000")],
    }


def test_a_recorded_tape_that_ends_by_itself_ends_the_run_with_0(lone_bot: Bot) -> None:
    tape_settings(lone_bot)
    tape = a_tape(lone_bot.folder.parent / "small.trades.csv.gz", count=30)

    process = lone_bot.run("--tape", str(tape), "--json")

    assert json.loads(process.out())["symbols"][0]["updates_processed_count"] > 0


def test_a_tape_goes_on_where_a_killed_run_was(lone_bot: Bot) -> None:
    tape_settings(lone_bot)
    tape = a_tape(lone_bot.folder.parent / "small.trades.csv.gz")
    for _ in range(2):
        orders = lone_bot.request_count()
        process = lone_bot.start("--tape", str(tape))
        lone_bot.until(lambda seen=orders: lone_bot.request_count() > seen, what="orders")  # type: ignore[misc]
        process.kill()
    lone_bot.settle()

    check(lone_bot, label="tape")


def test_a_corrupt_tape_is_an_error_that_names_the_line(lone_bot: Bot) -> None:
    tape_settings(lone_bot)
    tape = a_tape(lone_bot.folder.parent / "bad.trades.csv.gz", count=30, damaged_line=7)

    process = lone_bot.start("--tape", str(tape))

    assert process.wait() not in (0, KILLED)
    assert f"{tape}:7" in process.err()


# --- exit codes of what cannot run ---


def test_settings_that_are_wrong_exit_2_and_name_file_key_and_neighbor(lone_bot: Bot) -> None:
    wrong = lone_bot.settings | {"lanes_maxx": 2}

    process = lone_bot.run(settings=wrong, code=2)

    assert "lanes_maxx" in process.err()
    assert "lanes_max" in process.err().replace("lanes_maxx", "")


def test_a_grid_that_cannot_earn_its_fees_exits_3(lone_bot: Bot) -> None:
    lone_bot.settings["symbols"][0]["strategy"]["interval_bps"] = "0.5"

    lone_bot.run("--for", "2s", code=3)


def test_a_database_that_cannot_be_opened_exits_1_with_a_clear_error(lone_bot: Bot) -> None:
    broken = lone_bot.folder.parent / "broken.db"
    broken.write_text("this is no database, whatever its name says " * 50)
    lone_bot.settings["database"] = {"url": f"sqlite:///{broken}"}

    process = lone_bot.run("--for", "2s", code=1)

    assert "broken.db" in process.err()
    assert "Traceback" not in process.err()


# --- health ---


@contextmanager
def a_taken_port() -> Iterator[int]:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def fetch(port: int, page: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=20) as answer:
        return str(answer.read().decode())


def test_health_status_and_metrics_answer_while_it_runs(lone_bot: Bot) -> None:
    lone_bot.settings["health"] = {"enabled": True, "port": 0}
    process = lone_bot.start()
    lone_bot.await_orders()
    port = lone_bot.until(lambda: health_port(lone_bot), what="the health server")

    assert json.loads(fetch(port, "/health")) == {"status": "ok"}
    assert set(json.loads(fetch(port, "/status"))) >= STATUS_KEYS
    assert "updates" in fetch(port, "/metrics")
    process.send(signal.SIGTERM)
    process.expect(0)


def health_port(bot: Bot) -> int:
    ports = [line["port"] for line in bot.log() if line["event"] == "health_server_listening"]
    return int(ports[-1]) if ports else 0


def test_a_health_port_that_is_taken_is_only_a_warning(lone_bot: Bot) -> None:
    with a_taken_port() as port:
        lone_bot.settings["health"] = {"enabled": True, "port": port}
        process = lone_bot.start()
        lone_bot.await_orders()
        process.send(signal.SIGTERM)
        process.expect(0)

    assert lone_bot.events()["health_server_unavailable"] == 1
