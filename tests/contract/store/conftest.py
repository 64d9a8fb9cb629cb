"""Stores for the contract tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest

from market_maker.adapters.store.store import SqlStore
from market_maker.ports import failpoints
from tests.store_builders import BOT, FakeClock

OpenStore = Callable[..., Awaitable[SqlStore]]
Arm = Callable[[str], None]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def open_store(database_url: str, clock: FakeClock) -> AsyncIterator[OpenStore]:
    """Opens stores on the test's database and closes them afterwards."""
    async with AsyncExitStack() as stack:

        async def open_(**overrides: Any) -> SqlStore:
            arguments: dict[str, Any] = {
                "url": database_url,
                "bot": BOT,
                "clock": clock,
                "busy_timeout": timedelta(seconds=5),
            }
            store = SqlStore(**{**arguments, **overrides})
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest.fixture
async def store(open_store: OpenStore) -> SqlStore:
    """An open store that holds token 1 on two lanes."""
    store = await open_store()
    lease = await store.acquire_lease(holder="test", ttl=timedelta(minutes=1))
    await store.ensure_lanes(2, token=lease.token)
    return store


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Arms failpoints in this process."""

    def arm_(text: str) -> None:
        monkeypatch.setattr(failpoints, "_ARMED", failpoints._parse(text))

    return arm_
