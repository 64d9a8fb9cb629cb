"""`market-maker run`: the main job, from the command line to the orchestrator and back."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from market_maker import bootstrap
from market_maker.cli.options import ConfigOption, JsonOption, parse_duration, program_version
from market_maker.cli.plan import check_first_start
from market_maker.cli.summary import Summary
from market_maker.config.loader import load_settings, tape_override
from market_maker.config.settings import Settings
from market_maker.engine.settings import Stop
from market_maker.servers.health import serve_health

SWITCH_INTERVAL_S: Final = 0.0005
EXIT_AT_ONCE: Final = 130

FOR_HELP: Final = "Stop by itself after this long (30s, 5m)."
TAPE_HELP: Final = "Trade this recorded tape instead of the configured market."


def run(
    config: ConfigOption,
    for_: Annotated[str | None, typer.Option("--for", help=FOR_HELP, metavar="DURATION")] = None,
    max_updates: Annotated[
        int | None, typer.Option(min=1, help="Stop by itself after this many updates.")
    ] = None,
    tape: Annotated[Path | None, typer.Option(help=TAPE_HELP)] = None,
    rebuild_from_exchange: Annotated[
        bool,
        typer.Option(
            "--rebuild-from-exchange",
            help="The database is lost: rebuild the grid from the venue's position.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before rebuilding.")] = False,
    json: JsonOption = False,
) -> None:
    """
    Trade until stopped; resumes exactly where the last process ended, however it ended.

    Examples:
      market-maker run --config configs/paper.yaml

      market-maker run --config configs/tape.yaml --tape tape.trades.csv.gz --json
    """
    settings = load_settings(config, tape_override(tape) if tape else None)
    stop = Stop(after=parse_duration(for_) if for_ else None, updates_max=max_updates)
    if rebuild_from_exchange and not yes:
        typer.confirm(
            "Rebuild the grid from the venue's position? The cost basis of what is held is lost.",
            abort=True,
        )
    status = run_until_stopped(
        settings, stop, is_rebuild=rebuild_from_exchange, is_quiet=json or not sys.stderr.isatty()
    )
    if json:
        sys.stdout.write(orjson.dumps(status, option=orjson.OPT_INDENT_2).decode() + "\n")


def run_until_stopped(
    settings: Settings, stop: Stop, *, is_rebuild: bool = False, is_quiet: bool = True
) -> dict[str, Any]:
    """Run the bot in this process and return its last status."""
    bootstrap.start_logging(settings)
    bootstrap.log_banner(settings, version=program_version())
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    return _run_loop(_run(settings, stop, is_rebuild=is_rebuild, is_quiet=is_quiet))


async def _run(
    settings: Settings, stop: Stop, *, is_rebuild: bool, is_quiet: bool
) -> dict[str, Any]:
    system = await bootstrap.build_system(settings, version=program_version())
    orchestrator = system.orchestrator
    _stop_on_signals(orchestrator.request_stop)
    try:
        if not stop.command_id:
            check_first_start(settings, await system.store.fetch_symbol_states())
        await orchestrator.start(is_rebuild=is_rebuild)
        async with _health(system, stop), Summary(orchestrator.status, is_quiet=is_quiet):
            await orchestrator.run(stop)
        await orchestrator.stop()
        status = await orchestrator.status()
    finally:
        await system.close()
    return status


@asynccontextmanager
async def _health(system: bootstrap.System, stop: Stop) -> AsyncIterator[None]:
    """Serve health, status and metrics while the bot trades, if the settings say so."""
    health = system.settings.health
    if not health.enabled or stop.command_id:
        yield
        return
    serving = asyncio.create_task(
        serve_health(
            health.host,
            health.port,
            liveness=system.orchestrator.liveness,
            status=system.orchestrator.status,
            metrics=system.metrics.render,
        ),
        name="health",
    )
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _stop_on_signals(request_stop: Any) -> None:
    """The first signal ends gracefully; a second one at once, as safely as kill −9."""
    loop = asyncio.get_running_loop()
    signals: list[int] = []

    def on_signal(number: int) -> None:
        signals.append(number)
        if len(signals) > 1:
            os._exit(EXIT_AT_ONCE)
        request_stop(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)


def _run_loop(main: Any) -> dict[str, Any]:
    try:
        import uvloop  # reason: not available on every platform
    except ImportError:
        return asyncio.run(main)
    result: dict[str, Any] = uvloop.run(main)
    return result
