"""The subjects of the exchange contract."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from market_maker.adapters.exchange.simulated.exchange import SimulatedExchange
from market_maker.ports.exchange import Exchange
from tests.contract.exchange.exchange_contract import STEPS, Subject
from tests.fakes.clock import FakeClock
from tests.paper import BTC, scripted


@pytest.fixture(params=["simulated"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """An open adapter that listens to BTC/USDT; the market shows its book and waits."""
    fees = {"maker_fee_ratio": "0.001", "taker_fee_ratio": "0.001", "order_count_max": 5}
    settings = scripted(tmp_path, STEPS, instrument=fees)
    venue = SimulatedExchange(settings, clock=FakeClock())
    adapters: dict[str, Exchange] = {"simulated": venue}
    subject = Subject(adapters[request.param], venue)
    await subject.exchange.open()
    venue.release(0)
    listening = asyncio.create_task(subject.exchange.stream((BTC,), subject.updates.append))
    await asyncio.sleep(0)
    await subject.step()
    yield subject
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await subject.exchange.close()
