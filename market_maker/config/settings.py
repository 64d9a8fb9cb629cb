"""The settings of one bot, whole: what `--config` files say, checked and frozen."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    field_serializer,
    field_validator,
    model_validator,
)

from market_maker.config.fields import (
    Duration,
    DurationOrZero,
    FrozenSettings,
    PositiveCount,
    UserPath,
)
from market_maker.config.trading import RiskSettings, SymbolSettings
from market_maker.config.venue import VenueSettings

HIDDEN = "**********"

# A lease must outlive the last request that it vouched for, with time to look at the clock.
LEASE_MARGIN = timedelta(seconds=1)

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class DatabaseSettings(FrozenSettings):
    """Where everything is remembered: one SQLite file, or a PostgreSQL database."""

    url: SecretStr = Field(
        description="sqlite:///FILE (relative to the current folder) or postgresql://USER@HOST/NAME."
    )
    password: SecretStr | None = Field(
        None, description="Password of the database, in place of one inside the URL."
    )
    password_file: UserPath | None = Field(
        None, description="A file that holds the password, in place of `password`."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        scheme = text.partition("://")[0]
        if scheme == "sqlite":
            file = text.removeprefix("sqlite:///")
            if file in (text, "", ":memory:") or file.startswith("?"):
                raise ValueError("a SQLite URL names a file: sqlite:///var/bot.sqlite")
        elif scheme in ("postgresql", "postgres", "postgresql+psycopg"):
            if not urlsplit(text).path.strip("/"):
                raise ValueError("a PostgreSQL URL names a database: postgresql://user@host/name")
        else:
            raise ValueError("the URL must start with sqlite:/// or postgresql://")
        return url

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if self.password is not None and self.is_sqlite:
            raise ValueError("a SQLite file has no password")
        if self.password is not None and urlsplit(self.url.get_secret_value()).password:
            raise ValueError("give the password in the URL or in password, not in both")
        return self

    @field_serializer("url", when_used="json")
    def _hide_password(self, _url: SecretStr) -> str:
        return self.display_url

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file rather than a server."""
        return self.url.get_secret_value().startswith("sqlite")

    @property
    def sqlite_path(self) -> Path | None:
        """The SQLite file; `None` on PostgreSQL."""
        if not self.is_sqlite:
            return None
        file = self.url.get_secret_value().removeprefix("sqlite:///")
        return Path(unquote(file.partition("?")[0])).expanduser()

    @property
    def connection_url(self) -> str:
        """
        The URL to connect with, password included: `sqlite:///…` or `postgresql://…`.

        It names no driver; the store chooses one.
        """
        text = self.url.get_secret_value()
        if self.is_sqlite:
            return text
        return f"postgresql://{self._netloc(self._password)}{self._location}"

    @property
    def display_url(self) -> str:
        """The URL as people may see it."""
        text = self.url.get_secret_value()
        if self.is_sqlite:
            return text
        hidden = HIDDEN if self._password else None
        return f"postgresql://{self._netloc(hidden)}{self._location_shown}"

    @property
    def _password(self) -> str | None:
        if self.password is not None:
            return quote(self.password.get_secret_value(), safe="")
        return urlsplit(self.url.get_secret_value()).password

    @property
    def _location(self) -> str:
        parts = urlsplit(self.url.get_secret_value())
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def _location_shown(self) -> str:
        parts = urlsplit(self.url.get_secret_value())
        query = "&".join(
            f"{name}={HIDDEN}" if "password" in name.lower() else f"{name}={value}"
            for name, _, value in (item.partition("=") for item in parts.query.split("&") if item)
        )
        return parts.path + (f"?{query}" if query else "")

    def _netloc(self, password: str | None) -> str:
        parts = urlsplit(self.url.get_secret_value())
        hosts = parts.netloc.rpartition("@")[2]
        if not parts.username:
            return hosts
        return f"{parts.username}:{password}@{hosts}" if password else f"{parts.username}@{hosts}"


class HealthSettings(FrozenSettings):
    """The health and metrics server of a running bot."""

    enabled: bool = Field(True, description="Whether to serve /health, /status and /metrics.")
    host: str = Field("127.0.0.1", description="Address to listen on; keep it on loopback.")
    port: int = Field(8710, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")


class LoggingSettings(FrozenSettings):
    """What is logged, and where besides the console."""

    level: LogLevel = Field("INFO", description="Least severe level that is logged.")
    sections: dict[str, LogLevel] = Field(
        default_factory=dict,
        description="Other levels for parts of the program (engine, adapters.exchange, …).",
    )
    file: UserPath | None = Field(None, description="JSON lines; no file if null.")
    file_bytes_max: Annotated[int, Field(ge=10_000)] = Field(
        10_000_000, description="The file is rotated at this size."
    )
    file_count_max: PositiveCount = Field(5, description="Rotated files that are kept.")


class Settings(FrozenSettings):
    """One bot. Everything it does is decided here, and nothing that risks money by default."""

    bot: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = Field(
        description="Name of this bot, a-z, 0-9 and -, unique in its database."
    )
    tag: Annotated[str, Field(pattern=r"^[a-su-z0-9][a-z0-9]{2}$")] = Field(
        description="Three characters a-z, 0-9, the first not t, that mark this bot's orders."
    )
    engine: Literal["dbos", "simple"] = Field(
        "dbos", description="dbos journals durably; simple is for tests and backtests."
    )
    database: DatabaseSettings = Field(description="Where everything is remembered.")
    venue: VenueSettings = Field(description="Where it trades.")
    symbols: tuple[SymbolSettings, ...] = Field(min_length=1, description="What it trades.")
    risk: RiskSettings = Field(description="Limits of the whole account.")
    lanes_max: PositiveCount | None = Field(
        None, description="Sequential lanes; null is 2 on SQLite and 8 on PostgreSQL."
    )
    batch_updates_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        4_000, description="Most updates that one workflow takes."
    )
    batch_bytes_max: Annotated[int, Field(ge=10_000)] = Field(
        1_048_576, description="Most bytes that one workflow takes."
    )
    inbox_updates_max: PositiveCount = Field(
        10_000, description="Waiting updates of a symbol, beyond which prices are conflated."
    )
    place_wait: Duration = Field(
        timedelta(seconds=1), description="A request unanswered this long is unknown."
    )
    request_lifetime: Duration = Field(
        timedelta(seconds=2), description="The venue refuses a request that arrives later."
    )
    settle_margin: Duration = Field(
        timedelta(seconds=1), description="Added to the lifetime before an order counts as expired."
    )
    reconcile_interval: Duration = Field(
        timedelta(seconds=60), description="Time between two comparisons with the venue."
    )
    book_age_max: Duration = Field(
        timedelta(seconds=10), description="Prices older than this pull the quotes."
    )
    snapshot_every: PositiveCount = Field(
        1_000, description="Sequences of a lane between two full snapshots of its state."
    )
    lease_ttl: Duration = Field(
        timedelta(seconds=10), description="A bot silent this long may be taken over."
    )
    cancel_on_exit: bool = Field(False, description="Cancel own orders on a graceful stop.")
    stop_timeout: DurationOrZero = Field(
        timedelta(seconds=10), description="A graceful stop takes at most this long."
    )
    health: HealthSettings = Field(HealthSettings(), description="Health and metrics server.")
    logging: LoggingSettings = Field(LoggingSettings(), description="Logs.")

    @model_validator(mode="after")
    def _check_symbols(self) -> Self:
        known = {instrument.symbol for instrument in self.venue.instruments}
        seen: set[str] = set()
        for entry in self.symbols:
            if entry.symbol in seen:
                raise ValueError(f"symbols: {entry.symbol} is listed more than once")
            if entry.symbol not in known:
                raise ValueError(
                    f"symbols: {entry.symbol} is not an instrument of the venue "
                    f"({', '.join(sorted(known))})"
                )
            if entry.symbol not in self.risk.symbols_allowed:
                raise ValueError(f"symbols: {entry.symbol} is not in risk.symbols_allowed")
            seen.add(entry.symbol)
        return self

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        needed = self.request_lifetime + LEASE_MARGIN
        if self.lease_ttl <= needed:
            raise ValueError(
                f"lease_ttl must be more than request_lifetime + {LEASE_MARGIN.seconds}s, "
                f"which is {needed.total_seconds():g}s"
            )
        return self

    @property
    def lane_count_max(self) -> int:
        """`lanes_max`, or what suits the database."""
        return self.lanes_max or (2 if self.database.is_sqlite else 8)


def effective_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values for people to read, secrets hidden."""
    return settings.model_dump(mode="json")


def secret_values(settings: Settings) -> frozenset[str]:
    """Return every secret in clear, also as it appears inside a URL, so that logs can hide it."""
    found: set[str] = set()
    for secret in _secrets_of(settings):
        text = secret.get_secret_value()
        if text != settings.database.url.get_secret_value():
            found |= {text, quote(text, safe="")}
    url = urlsplit(settings.database.url.get_secret_value())
    for name, _, value in (item.partition("=") for item in url.query.split("&")):
        if "password" in name.lower():
            found |= {value, unquote(value)}
    if url.password:
        found |= {url.password, unquote(url.password)}
    return frozenset(found - {""})


def _secrets_of(value: object) -> Iterator[SecretStr]:
    if isinstance(value, SecretStr):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_of(getattr(value, name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets_of(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _secrets_of(item)
