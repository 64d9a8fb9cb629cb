"""
Structured logs: people read the console, programs read JSON lines in a rotating file.

Our own events and the records of third parties take the same way out, so that the same
redaction and the same levels apply to both: nothing reaches a handler around them.
"""

import logging
import logging.handlers
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, ProcessorReturnValue, WrappedLogger

from market_maker.adapters.telemetry.redaction import Redactor

PACKAGE = "market_maker"

# Third parties speak up only when something is wrong. DBOS advertises on INFO and repeats there
# what our own events say; uvicorn and alembic narrate.
_THIRD_PARTIES = {
    "dbos": logging.WARNING,
    "uvicorn": logging.WARNING,
    "alembic": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "asyncio": logging.WARNING,
    "opentelemetry": logging.WARNING,
}


def configure_logging(
    *,
    level: str = "INFO",
    sections: Mapping[str, str] | None = None,
    file: Path | None = None,
    file_bytes_max: int = 10_000_000,
    file_count_max: int = 5,
    secrets: Collection[str] = (),
    console: TextIO | None = None,
    console_level: str | None = None,
) -> None:
    """
    Send every log of this process to the console (stderr) and, if named, to a JSON file.

    `sections` are parts of the package (`engine`, `adapters.exchange`) or third parties (`dbos`)
    with levels of their own. `console_level` quiets the console alone, for instance under a live
    summary. May be called again; the last call counts.
    """
    redactor = Redactor(secrets)
    stream = sys.stderr if console is None else console
    terminal = logging.StreamHandler(stream)
    terminal.setFormatter(_console_formatter(redactor, colors=stream.isatty()))
    terminal.setLevel(console_level or logging.NOTSET)
    handlers: list[logging.Handler] = [terminal]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        rotating = logging.handlers.RotatingFileHandler(
            file, maxBytes=file_bytes_max, backupCount=file_count_max, encoding="utf-8", delay=True
        )
        rotating.setFormatter(_json_formatter(redactor))
        handlers.append(rotating)
    _install(handlers, level)
    _set_levels(level, sections or {})
    _configure_structlog()


def quiet_third_parties() -> None:
    """
    Take the records of third parties back after they configured logging themselves.

    Call it once DBOS exists: its constructor adds a handler of its own and stops propagation.
    """
    for name, least in _THIRD_PARTIES.items():
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
        if logger.level < least:
            logger.setLevel(least)


def _install(handlers: list[logging.Handler], level: str) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        # Handlers that a test runner put there are not ours to close.
        if getattr(old, "market_maker", False):
            root.removeHandler(old)
            old.close()
    for handler in handlers:
        handler.market_maker = True  # type: ignore[attr-defined]  # marks it as ours, see above
        root.addHandler(handler)
    root.setLevel(level)
    # A disk that is full must not stop trading with a traceback for each line.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)


def _set_levels(level: str, sections: Mapping[str, str]) -> None:
    package = logging.getLogger(PACKAGE)
    for name, logger in logging.Logger.manager.loggerDict.items():
        if name.startswith(f"{PACKAGE}.") and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)
    package.setLevel(level)
    for name in _THIRD_PARTIES:
        logging.getLogger(name).setLevel(logging.NOTSET)
    quiet_third_parties()
    for section, section_level in sections.items():
        is_foreign = section.partition(".")[0] in _THIRD_PARTIES
        name = section if is_foreign else f"{PACKAGE}.{section.removeprefix(f'{PACKAGE}.')}"
        logging.getLogger(name).setLevel(section_level)


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Cached loggers would keep the configuration of an earlier call.
        cache_logger_on_first_use=False,
    )


def _common_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_section,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]


def _add_section(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = str(record.name if record is not None else getattr(logger, "name", ""))
    event["section"] = name.removeprefix(f"{PACKAGE}.")
    return event


def _console_formatter(redactor: Redactor, *, colors: bool) -> logging.Formatter:
    # The default would print exceptions with the local variables of every frame.
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        timestamp_key="at",
        pad_event_to=28,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return _RedactingFormatter(redactor, render)


def _json_formatter(redactor: Redactor) -> logging.Formatter:
    return _RedactingFormatter(redactor, _to_json)


def _to_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders one event after the secrets were taken out of its keys, values and exception."""

    def __init__(self, redactor: Redactor, renderer: structlog.typing.Processor) -> None:
        self._redactor = redactor
        super().__init__(
            foreign_pre_chain=_common_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Exceptions become text here, so that a secret inside one is seen as well.
                structlog.processors.format_exc_info,
                self._redact_event,
                renderer,
            ],
        )

    def _redact_event(
        self, _logger: WrappedLogger, _method: str, event: EventDict
    ) -> ProcessorReturnValue:
        redacted: dict[str, Any] = {
            self._redactor.redact_known(key): self._redactor.redact_field(key, value)
            for key, value in event.items()
        }
        return redacted
