"""What reaches the console and the log file, and what must not."""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from market_maker.adapters.telemetry.logging import configure_logging, quiet_third_parties

SECRET = 'hunter2"\\/@é'


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, raises = root.level, logging.raiseExceptions
    yield
    for handler in [it for it in root.handlers if getattr(it, "market_maker", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.raiseExceptions = raises
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Logs:
    """Logs of one test: the text on the console and the objects in the file."""

    def __init__(self, folder: Path) -> None:
        self.console = io.StringIO()
        self.file = folder / "logs" / "bot.jsonl"

    def configure(self, *, level: str = "INFO", sections: Mapping[str, str] | None = None) -> None:
        configure_logging(
            level=level,
            sections=sections,
            file=self.file,
            secrets=[SECRET],
            console=self.console,
        )

    def events(self) -> list[dict[str, object]]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def everything(self) -> str:
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        return self.console.getvalue() + text


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_event_keeps_its_name_and_fields(logs: Logs) -> None:
    logs.configure()

    structlog.stdlib.get_logger("market_maker.engine.lane").info("order_refused", limit="5")

    (event,) = logs.events()
    assert event["event"] == "order_refused"
    assert event["limit"] == "5"
    assert event["level"] == "info"
    assert event["section"] == "engine.lane"
    assert "order_refused" in logs.console.getvalue()
    assert "limit=5" in logs.console.getvalue()


def test_section_has_a_level_of_its_own(logs: Logs) -> None:
    logs.configure(sections={"engine": "DEBUG", "adapters.exchange": "ERROR"})

    structlog.stdlib.get_logger("market_maker.engine.lane").debug("seen")
    structlog.stdlib.get_logger("market_maker.adapters.exchange.simulated").warning("unseen")
    structlog.stdlib.get_logger("market_maker.cli").debug("unseen")

    assert [event["event"] for event in logs.events()] == ["seen"]


def test_third_parties_pass_only_when_they_warn(logs: Logs) -> None:
    logs.configure(level="DEBUG")
    chatty = logging.getLogger("dbos")
    chatty.addHandler(logging.StreamHandler(io.StringIO()))
    chatty.propagate = False
    chatty.setLevel(logging.INFO)

    quiet_third_parties()
    chatty.info("Try our hosted product")
    chatty.warning("queue is %s", "full")

    assert [event["event"] for event in logs.events()] == ["queue is full"]


@pytest.mark.parametrize("logger_name", ["market_maker.engine", "dbos", "uvicorn.error"])
def test_secret_in_text_fields_or_exceptions_never_reaches_a_log(
    logs: Logs, logger_name: str
) -> None:
    logs.configure()
    ours = structlog.stdlib.get_logger("market_maker.engine")
    theirs = logging.getLogger(logger_name)

    ours.warning(f"venue said {SECRET}", url=f"postgresql://ada:{SECRET}@db", rows=[{"a": SECRET}])
    ours.warning("login", **{SECRET: "as a key"}, thing=Exception(SECRET))
    theirs.warning("cannot connect with %s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        ours.exception("request_failed")
        theirs.exception("request failed")

    text = logs.everything()
    assert text.count("Traceback") == 4
    assert "**********" in text
    for part in ("hunter2", SECRET):
        assert part not in text


@pytest.mark.parametrize(
    "key", ["password", "api_key", "venue_secret", "Authorization", "access-token", "apiKey"]
)
def test_field_whose_name_looks_secret_is_hidden_whatever_it_holds(logs: Logs, key: str) -> None:
    logs.configure()

    structlog.stdlib.get_logger("market_maker.cli").info("connecting", **{key: "unconfigured"})

    assert "unconfigured" not in logs.everything()


def test_password_in_a_url_is_hidden_though_nobody_configured_it(logs: Logs) -> None:
    logs.configure()

    url = "postgresql://ada:stranger@db/mm"  # pragma: allowlist secret
    logging.getLogger("sqlalchemy").error("no route to %s", url)

    assert "stranger" not in logs.everything()
    assert "postgresql://ada:**********@db/mm" in logs.everything()


def test_fencing_token_is_a_number_and_stays_readable(logs: Logs) -> None:
    logs.configure()

    structlog.stdlib.get_logger("market_maker.engine").info("lease_taken", token=7)

    assert logs.events()[0]["token"] == 7


def test_file_is_rotated_and_bounded(logs: Logs, tmp_path: Path) -> None:
    configure_logging(file=logs.file, file_bytes_max=2_000, file_count_max=2, console=logs.console)

    for number in range(200):
        structlog.stdlib.get_logger("market_maker.engine").info("tick", number=number)

    files = sorted(path.name for path in logs.file.parent.iterdir())
    assert files == ["bot.jsonl", "bot.jsonl.1", "bot.jsonl.2"]
    assert all(path.stat().st_size <= 2_000 for path in logs.file.parent.iterdir())
