"""A settings file with a database of its own, and that database with a little in it."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from market_maker.adapters.store.store import SqlStore
from market_maker.adapters.system import SystemClock
from market_maker.cli.app import app
from market_maker.config.examples import load_example
from market_maker.domain.order import OrderState
from market_maker.domain.position import Position
from market_maker.domain.quote import Market
from market_maker.domain.symbol import Incident, IncidentSeverity, SymbolChanges
from market_maker.ports.store import SymbolRow
from tests.store_builders import START, SYMBOL, a_fill, a_recording, a_status_change, an_order

BOT = "paper"
TTL = timedelta(seconds=30)


@dataclass(frozen=True)
class Desk:
    """A folder with `bot.yaml`, and the command line to use on it."""

    folder: Path
    values: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.folder / "bot.yaml"

    @property
    def url(self) -> str:
        return str(self.values["database"]["url"])

    def write(self) -> None:
        self.config.write_text(yaml.safe_dump(self.values))

    def store(self) -> SqlStore:
        return SqlStore(self.url, BOT, SystemClock())

    def run(self, *arguments: str, answer: str = "") -> Result:
        """Run a command with --config."""
        return self.run_bare(*arguments, "--config", str(self.config), answer=answer)

    def run_bare(self, *arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(app, list(arguments), input=answer)


@pytest.fixture
def empty_desk(tmp_path: Path) -> Desk:
    """Settings alone; no database yet."""
    values = yaml.safe_load(load_example("paper"))
    values["database"]["url"] = f"sqlite:///{tmp_path / 'bot.sqlite'}"
    values["venue"]["file"] = str(tmp_path / "venue.sqlite")
    values["logging"]["file"] = None
    values["health"]["enabled"] = False
    desk = Desk(tmp_path, values)
    desk.write()
    return desk


@pytest.fixture
def desk(empty_desk: Desk, sqlite_template: Path) -> Desk:
    """Settings and a database with one open order, one filled one, an incident and a position."""
    shutil.copy(sqlite_template, empty_desk.folder / "bot.sqlite")
    asyncio.run(_fill(empty_desk))
    return empty_desk


@pytest.fixture
def live_desk(desk: Desk) -> Iterator[Desk]:
    """The same, and somebody alive holds the lease."""
    store = desk.store()

    async def hold() -> None:
        await store.open()
        await store.acquire_lease(holder="host:1", ttl=TTL)

    asyncio.run(hold())
    yield desk
    asyncio.run(store.close())


@pytest.fixture
def in_store(desk: Desk) -> Callable[[Callable[[SqlStore], Any]], Any]:
    """Do something with the desk's database."""

    def use(work: Callable[[SqlStore], Any]) -> Any:
        async def using() -> Any:
            store = desk.store()
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(using())

    return use


async def _fill(desk: Desk) -> None:
    store = desk.store()
    await store.open()
    lease = await store.acquire_lease(holder="host:1", ttl=TTL)
    await store.ensure_lanes(1, token=lease.token)
    await store.place_symbols(
        [SymbolRow(symbol=SYMBOL, lane=0, strategy="grid", is_configured=True)]
    )
    filled = an_order(
        client_order_id="pap000000000000002",
        state=OrderState.FILLED,
        filled_quantity=Decimal("0.010"),
        trade_ids=("1",),
    )
    changes = SymbolChanges(
        symbol=SYMBOL,
        status=a_status_change(7).status,
        market=Market(last_price=Decimal(60000), exchange_at=START, updated_at=START),
        position=Position(
            symbol=SYMBOL, quantity=Decimal("0.01"), average_entry_price=Decimal(59000)
        ),
        orders=(an_order(client_order_id="pap000000000000001"), filled),
        fills=(a_fill(client_order_id="pap000000000000002"),),
        incidents=(
            Incident(
                id="inc-1",
                symbol=SYMBOL,
                kind="position_mismatch",
                severity=IncidentSeverity.OPEN,
                content="the venue holds 0.02, we hold 0.01",
                opened_at=START,
            ),
        ),
    )
    store.record(a_recording(1, changes, token=lease.token, workflow_id=f"{BOT}/0/1"))
    await store.release_lease(lease)
    await store.close()
