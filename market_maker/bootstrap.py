"""
The only place where adapters meet ports: settings in, running system out.

A system is built in one pass and nothing in it knows where its parts came from.
"""

import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from market_maker.adapters.exchange.simulated import reading
from market_maker.adapters.exchange.simulated.driver import CatchUp
from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.adapters.exchange.simulated.settings import parse_settings
from market_maker.adapters.exchange.simulated.sources.build import build_source
from market_maker.adapters.exchange.simulated.sources.source import TopTick, TradeTick
from market_maker.adapters.store import migrate, rescue
from market_maker.adapters.store.engines import dbos_database
from market_maker.adapters.store.store import SqlStore
from market_maker.adapters.system import SystemClock
from market_maker.adapters.telemetry.logging import configure_logging, quiet_third_parties
from market_maker.adapters.telemetry.metrics import PrometheusMetrics
from market_maker.adapters.telemetry.redaction import Redactor
from market_maker.config import settings as config
from market_maker.config.trading import SymbolSettings as SymbolConfig
from market_maker.domain.account import AccountLimits
from market_maker.domain.instrument import Instrument
from market_maker.domain.risk.limits import RiskLimits
from market_maker.domain.settings import DecisionSettings, SymbolSettings
from market_maker.domain.strategies.registry import StrategySettings, settings_type_for
from market_maker.engine.orchestrator import Orchestrator
from market_maker.engine.procedures import Procedures
from market_maker.engine.queries import to_text
from market_maker.engine.records import from_record
from market_maker.engine.settings import EngineSettings
from market_maker.engine.workflows.simple import SimpleDriver
from market_maker.ports.driver import Driver, DriverDatabase

ORDER_UPDATES_MAX = 20_000

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class System:
    """A bot ready to start, and what must be closed after it."""

    settings: config.Settings
    store: SqlStore
    exchange: SimulatedExchange
    metrics: PrometheusMetrics
    orchestrator: Orchestrator
    database: DriverDatabase

    async def close(self) -> None:
        """Release what the orchestrator does not own."""
        await self.store.close()
        self.metrics.close()
        if self.database.engine is not None:
            self.database.engine.dispose()


def start_logging(settings: config.Settings, *, console_level: str | None = None) -> None:
    """Send logs to the console and the configured file, with every secret removed."""
    log = settings.logging
    configure_logging(
        level=log.level,
        sections=log.sections,
        file=log.file,
        file_bytes_max=log.file_bytes_max,
        file_count_max=log.file_count_max,
        secrets=config.secret_values(settings),
        console_level=console_level,
    )


def prepare_database(settings: config.Settings) -> None:
    """Give a new database its schema; refuse one that is older or newer than this code."""
    path = settings.database.sqlite_path
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    migrate.prepare(settings.database.connection_url)


async def open_store(settings: config.Settings, *, read_only: bool) -> SqlStore:
    """Open the bot's database; close it after use."""
    store = SqlStore(
        settings.database.connection_url, settings.bot, SystemClock(), read_only=read_only
    )
    await store.open()
    return store


async def build_system(settings: config.Settings, *, version: str) -> System:
    """Build every port and the engine on top of them; nothing is started yet."""
    prepare_database(settings)
    store = await open_store(settings, read_only=False)
    exchange = make_exchange(settings)
    metrics = PrometheusMetrics(bot=settings.bot, version=version)
    options = dbos_database(settings.database.connection_url, settings.lane_count_max)
    database = DriverDatabase(
        url=options["system_database_url"],
        engine=options.get("system_database_engine"),
        pool_size=options.get("sys_db_pool_size", 0),
    )
    lock_step = settings.venue.lock_step
    orchestrator = Orchestrator(
        settings=engine_settings(settings),
        store=store,
        exchange=exchange,
        clock=exchange.clock if lock_step else SystemClock(),
        metrics=metrics,
        holder=f"{socket.gethostname()}:{os.getpid()}",
        make_driver=_driver_maker(settings, database),
        make_decision_settings=lambda instruments, epoch: decision_settings(
            settings, instruments, epoch
        ),
        on_idle=exchange.notify_idle if lock_step else None,
    )
    return System(settings, store, exchange, metrics, orchestrator, database)


def make_exchange(settings: config.Settings) -> SimulatedExchange:
    """The venue's adapter."""
    path = settings.venue.file
    path.parent.mkdir(parents=True, exist_ok=True)
    return SimulatedExchange(
        parse_settings(settings.venue.model_dump()), clock=SystemClock(), progress=_log_catch_up
    )


def _log_catch_up(done: CatchUp) -> None:
    """Say how far the market that passed while nobody was there has been played."""
    _log.info(
        "catching_up",
        played=str(done.played),
        of=str(done.total),
        ticks=done.ticks_count,
    )


def log_banner(settings: config.Settings, *, version: str) -> None:
    """Say what starts: bot, venue, database, symbols, version."""
    _log.info(
        "starting",
        bot=settings.bot,
        tag=settings.tag,
        venue=f"{settings.venue.name} ({settings.venue.adapter})",
        database=settings.database.display_url,
        symbols=", ".join(symbol.symbol for symbol in settings.symbols),
        engine=settings.engine,
        version=version,
        python=platform.python_version(),
    )


def decision_settings(
    settings: config.Settings, instruments: Sequence[Instrument], epoch: str
) -> DecisionSettings:
    """What decisions may know, from the settings and what the venue says of its instruments."""
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    return DecisionSettings(
        bot=settings.bot,
        tag=settings.tag,
        epoch=epoch,
        symbols={
            symbol.symbol: _symbol_settings(settings, symbol, by_symbol[symbol.symbol])
            for symbol in settings.symbols
        },
        account=AccountLimits(**settings.risk.model_dump()),
        is_account_dedicated=settings.venue.account_is_dedicated,
    )


def strategy_settings(symbol: SymbolConfig) -> StrategySettings:
    """A symbol's strategy settings as the domain knows them."""
    return from_record(symbol.strategy.model_dump(), settings_type_for(symbol.strategy.kind))


def risk_limits(symbol: SymbolConfig) -> RiskLimits:
    """A symbol's limits as the risk gate knows them."""
    return RiskLimits(
        **symbol.limits.model_dump(), is_market_order_allowed=symbol.allow_market_orders
    )


def _symbol_settings(
    settings: config.Settings, symbol: SymbolConfig, instrument: Instrument
) -> SymbolSettings:
    return SymbolSettings(
        symbol=symbol.symbol,
        instrument=instrument,
        strategy=strategy_settings(symbol),
        limits=risk_limits(symbol),
        book_age_max=settings.book_age_max,
    )


def engine_settings(settings: config.Settings) -> EngineSettings:
    """What the engine needs to know of the settings."""
    return EngineSettings(
        bot=settings.bot,
        tag=settings.tag,
        symbols=tuple(symbol.symbol for symbol in settings.symbols),
        lane_count=settings.lane_count_max,
        has_writer_turn=settings.database.is_sqlite,
        batch_updates_max=settings.batch_updates_max,
        batch_bytes_max=settings.batch_bytes_max,
        price_updates_max=settings.inbox_updates_max,
        order_updates_max=ORDER_UPDATES_MAX,
        place_wait=settings.place_wait,
        request_lifetime=settings.request_lifetime,
        settle_margin=settings.settle_margin,
        reconcile_interval=settings.reconcile_interval,
        snapshot_every=settings.snapshot_every,
        lease_ttl=settings.lease_ttl,
        stop_timeout=settings.stop_timeout,
        is_cancel_on_exit=settings.cancel_on_exit,
    )


def _driver_maker(
    settings: config.Settings, database: DriverDatabase
) -> Callable[[Procedures], Driver]:
    def make(procedures: Procedures) -> Driver:
        if settings.engine == "simple":
            return SimpleDriver(procedures)
        # DBOS takes most of a second to import: only who needs it pays.
        from market_maker.engine.workflows.process_updates import DurableDriver

        return DurableDriver(
            procedures, bot=settings.bot, database=database, on_created=quiet_third_parties
        )

    return make


# --- What the command line asks for beside a running system ---


def redact(text: str) -> str:
    """Return the text without anything that reads like a secret."""
    return Redactor().redact_text(text)


def current_schema(settings: config.Settings) -> tuple[str | None, str]:
    """The schema of the database (None: empty) and the one that this program needs."""
    return migrate.current(settings.database.connection_url), migrate.head()


def upgrade_database(settings: config.Settings) -> str:
    """Bring the schema to what this program needs, and return it."""
    path = settings.database.sqlite_path
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    migrate.upgrade(settings.database.connection_url)
    return migrate.head()


def find_workflow(settings: config.Settings, workflow_id: str) -> Mapping[str, Any]:
    """What is known about one workflow and its steps."""
    return rescue.find_workflow(settings.database.connection_url, workflow_id)


async def resume_workflow(settings: config.Settings, workflow_id: str) -> Mapping[str, Any]:
    """Set a failed workflow back to pending; raises `LeaseHeld` while a bot runs."""
    store = await open_store(settings, read_only=False)
    try:
        holder = f"{socket.gethostname()}:{os.getpid()} (rescue)"
        lease = await store.acquire_lease(holder=holder, ttl=settings.lease_ttl)
        try:
            recorded = {row.lane: row.sequence for row in await store.fetch_lanes()}
            rescue.check_head(workflow_id, recorded)
            return rescue.resume_workflow(settings.database.connection_url, workflow_id)
        finally:
            await store.release_lease(lease)
    finally:
        await store.close()


def venue_orders(settings: config.Settings, *, only_open: bool) -> list[dict[str, Any]]:
    """The venue's own orders with the fields of `orders`; it knows no workflows."""
    return [
        {
            **reading.order_record(order),
            "workflow_id": None,
            "created_at": to_text(order.created_at),
            "updated_at": to_text(order.updated_at),
        }
        for order in reading.read_orders(settings.venue.file, only_open=only_open)
    ]


def venue_fills(settings: config.Settings) -> list[dict[str, Any]]:
    """The venue's own fills with the fields of `fills`."""
    return [
        {**reading.fill_record(fill), "exchange_at": to_text(fill.exchange_at)}
        for fill in reading.read_fills(settings.venue.file)
    ]


def venue_balances(settings: config.Settings) -> list[dict[str, Any]]:
    """What the account holds at the venue."""
    return [
        dict(reading.balance_record(balance))
        for balance in reading.read_balances(settings.venue.file)
    ]


def configured_instruments(settings: config.Settings) -> dict[str, Instrument]:
    """The venue's instruments by symbol, as its settings describe them."""
    listed = parse_settings(settings.venue.model_dump()).instruments
    return {item.symbol: item.to_instrument() for item in listed}


def first_price(settings: config.Settings, symbol: str) -> Decimal | None:
    """The price that the configured market begins with; None if it never says one."""
    venue = parse_settings(settings.venue.model_dump())
    listed = next(item for item in venue.instruments if item.symbol == symbol)
    start = getattr(listed.market, "start_price", None)
    if start is not None:
        return Decimal(start)
    source = build_source(listed, seed=venue.seed, position={})
    while source.peek() is not None:
        match source.take():
            case TradeTick(price=price):
                return price
            case TopTick(bid=bid, ask=ask):
                return (bid + ask) / 2
    return None
