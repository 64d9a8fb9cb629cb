"""Lanes and procedures on a real SQLite store with the plain driver: sequences and recovery."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from market_maker.adapters.store.store import SqlStore
from market_maker.domain.account import AccountLimits, AccountState
from market_maker.domain.events import BalancesTaken, OrderLookedUp, Update
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument
from market_maker.domain.order import OrderState
from market_maker.domain.settings import DecisionSettings
from market_maker.domain.symbol import SymbolMode
from market_maker.engine import actor, records
from market_maker.engine.deciding.account import AccountActor
from market_maker.engine.inbox import Inbox
from market_maker.engine.lane import Lane, LaneSettings
from market_maker.engine.procedures import Pending, Procedures, Turn
from market_maker.engine.venue.lease import LeaseKeeper
from market_maker.engine.venue.placing import Placer, VenueClock
from market_maker.engine.venue.reading import read_snapshot
from market_maker.engine.workflows.simple import SimpleDriver
from market_maker.ports.driver import SequenceTaken
from market_maker.ports.store import Recording
from tests.actor_desk import (
    TAG,
    a_command,
    a_trade,
    an_allowance_update,
    filled,
    reported,
    symbol_settings,
)
from tests.builders import SYMBOL, a_report, an_instrument
from tests.fakes.clock import FakeClock
from tests.fakes.exchange import FakeExchange
from tests.fakes.metrics import FakeMetrics

ETH = "ETH/USDT"
RICH = Decimal(1_000_000)


@dataclass
class House:
    """Everything between an inbox and the tables, for one process; `after` lists the batches."""

    store: SqlStore
    clock: FakeClock
    exchange: FakeExchange
    procedures: Procedures
    driver: SimpleDriver
    after: list[Pending] = field(default_factory=list)

    def lane(self, number: int = 0, *symbols: str, sequence: int = 0, version: int = 1) -> Lane:
        self.procedures.hosted[number] = symbols or (SYMBOL,)
        return Lane(
            number,
            sequence=sequence,
            now=datetime.fromtimestamp(0, UTC),
            symbols=symbols or (SYMBOL,),
            settings=LaneSettings(
                bot="bot", settings_version=version, batch_updates_max=100, batch_bytes_max=2**20
            ),
            inbox=Inbox(price_updates_max=50, order_updates_max=50),
            procedures=self.procedures,
            driver=self.driver,
            clock=self.clock,
            metrics=FakeMetrics(),
            after_batch=lambda _, pending: self.after.append(pending),
        )

    async def process(self, lane: Lane, *updates: Update) -> Pending:
        self.clock.advance(timedelta(seconds=1))
        for update in updates:
            lane.inbox.put(update)
        await lane.process_waiting()
        return self.after[-1]

    async def start(self, lane: Lane, symbol: str = SYMBOL) -> None:
        """A grid that quotes."""
        await self.process(
            lane,
            replace(a_command("start"), symbol=symbol),
            replace(an_allowance_update(), symbol=symbol),
        )
        await self.sync(lane, symbol)
        await self.process(lane, self.trade(100, symbol))

    async def sync(self, lane: Lane, symbol: str = SYMBOL) -> None:
        state = self.procedures.states[symbol]
        snapshot = await read_snapshot(
            self.exchange,
            self.clock,
            symbol=symbol,
            orders=tuple(state.orders.values()),
            since_at=lane.now,
            after_trade_id=state.status.last_trade_id,
            update_id=f"snapshot-{lane.sequence}",
        )
        await self.process(lane, snapshot)

    def trade(self, price: int, symbol: str = SYMBOL) -> Update:
        now = self.clock.now() + timedelta(seconds=1)
        return a_trade(price, symbol=symbol, exchange_at=now, received_at=now)


OpenHouse = Callable[..., Awaitable[House]]


def decision_settings(**overrides: Any) -> DecisionSettings:
    symbols = {
        symbol: symbol_settings(symbol=symbol, instrument=an_instrument(symbol=symbol))
        for symbol in (SYMBOL, ETH)
    }
    values: dict[str, Any] = {
        "bot": "bot",
        "tag": TAG,
        "epoch": "e1",
        "symbols": symbols,
        "account": AccountLimits(exposure_notional_quote_max=RICH, symbols_allowed=(SYMBOL, ETH)),
    }
    return DecisionSettings(**(values | overrides))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def exchange(clock: FakeClock) -> FakeExchange:
    instruments: tuple[Instrument, ...] = (an_instrument(), an_instrument(symbol=ETH))
    return FakeExchange(clock, instruments)


@pytest.fixture
async def open_house(
    sqlite_template: Path, tmp_path: Path, clock: FakeClock, exchange: FakeExchange
) -> AsyncIterator[OpenHouse]:
    """Opens one process after the other on the same database and venue."""
    path = tmp_path / "bot.db"
    path.write_bytes(sqlite_template.read_bytes())
    opened: list[tuple[SqlStore, LeaseKeeper]] = []

    async def close() -> None:
        while opened:
            store, keeper = opened.pop()
            await keeper.release()
            await store.close()

    async def open_(*, settings: DecisionSettings | None = None, lanes: int = 2) -> House:
        await close()
        store = SqlStore(f"sqlite:///{path}", "bot", clock)
        await store.open()
        keeper = LeaseKeeper(store, clock, holder="me", ttl=timedelta(days=1))
        await keeper.acquire()
        opened.append((store, keeper))
        used = settings or decision_settings()
        version = await store.register_settings(records.to_record(used))
        await store.ensure_lanes(lanes, token=keeper.token)
        placer = Placer(
            exchange,
            clock,
            keeper,
            venue_clock=VenueClock(),
            place_wait=timedelta(seconds=1),
            lifetime=timedelta(seconds=2),
            on_update=lambda _: None,
        )
        procedures = Procedures(
            store=store,
            keeper=keeper,
            placer=placer,
            turn=Turn(None),
            metrics=FakeMetrics(),
            settings={version: used},
            states={},
            account=AccountActor(AccountState()),
            snapshot_every=5,
        )
        await procedures.load_states([SYMBOL, ETH])
        return House(store, clock, exchange, procedures, SimpleDriver(procedures))

    yield open_
    await close()


# --- sequences ---


async def test_batches_are_numbered_without_gaps_and_time_only_rises(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()

    await house.start(lane)
    nows = [pending.batch.now for pending in house.after]

    assert [pending.batch.sequence for pending in house.after] == [1, 2, 3]
    assert nows == sorted(set(nows))
    (row, _) = await house.store.fetch_lanes()
    assert (row.sequence, row.now) == (3, lane.now)


async def test_time_rises_even_if_the_clock_goes_back(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.process(lane, a_command("start"))
    before = lane.now
    house.clock.advance(timedelta(hours=-1))

    await house.process(lane, a_command("pause"))

    assert before < lane.now < before + timedelta(seconds=1)


async def test_the_tables_hold_the_very_state_that_memory_holds(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    for quantity in ("0.4", "0.600"):
        order = max(house.procedures.states[SYMBOL].orders.values(), key=lambda o: o.price or 0)
        if order.side is Side.SELL:
            break
        await house.process(
            lane, filled(house.exchange.fill(order.client_order_id, Decimal(quantity)))
        )
    in_memory = house.procedures.states[SYMBOL]

    reopened = await open_house()

    loaded = reopened.procedures.states[SYMBOL]
    assert loaded == in_memory
    assert records.digest(records.to_record(loaded)) == records.digest(
        records.to_record(in_memory)
    ), "to the last digit, or a replay after a restart would differ"


async def test_a_fill_of_an_order_that_ended_long_ago_finds_it_in_the_tables(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    order = next(iter(house.procedures.states[SYMBOL].orders.values()))
    fill = house.exchange.fill(order.client_order_id, order.quantity)
    await house.process(lane, filled(fill))
    house = await open_house()
    lane = house.lane(sequence=lane.sequence)

    await house.process(lane, filled(fill), reported(a_report(order, OrderState.OPEN)))

    state = house.procedures.states[SYMBOL]
    assert state.position.quantity == order.quantity
    assert not state.incidents


# --- a number that is taken ---


class TakenOnce(SimpleDriver):
    """The first number is taken by a workflow of an earlier process."""

    def __init__(self, procedures: Procedures, head: dict[str, Any]) -> None:
        super().__init__(procedures)
        self.head: dict[str, Any] | None = head
        self.finished: list[str] = []

    async def run(self, workflow_id: str, batch: dict[str, Any]) -> None:
        if self.head is not None and batch["sequence"] == self.head["sequence"]:
            raise SequenceTaken(workflow_id)
        await super().run(workflow_id, batch)

    async def find_input(self, workflow_id: str) -> dict[str, Any] | None:
        if self.head is None or not workflow_id.endswith(f"{self.head['sequence']:09d}"):
            return None
        return self.head

    async def finish(self, workflow_id: str) -> None:
        assert self.head is not None
        self.finished.append(workflow_id)
        await finish_as_another_process(self._procedures, self.head)


async def finish_as_another_process(procedures: Procedures, batch: dict[str, Any]) -> None:
    """Decide, forget everything, ask, and record from the journaled facts alone."""
    decided = procedures.decide(batch)
    procedures.pending.clear()
    answered: list[dict[str, Any]] = []
    if decided["cancels"] or decided["places"]:
        answered = await procedures.place(batch, decided)
    procedures.record(batch, decided, answered)


def a_batch(lane: Lane, *updates: Update, now: datetime, version: int = 1) -> dict[str, Any]:
    batch = records.Batch(
        bot="bot",
        lane=lane.number,
        sequence=lane.sequence + 1,
        settings_version=version,
        now=now,
        updates=updates,
    )
    return dict(records.encode_batch(batch))


async def test_a_taken_number_is_finished_and_the_batch_takes_the_next(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    head = a_batch(lane, a_command("pause"), now=house.clock.now() + timedelta(seconds=1))
    house.driver = driver = TakenOnce(house.procedures, head)
    other = house.lane(sequence=lane.sequence)
    other.now = lane.now

    pending = await house.process(other, house.trade(100))

    assert driver.finished == ["bot/0/000000004"]
    assert pending.batch.sequence == other.sequence == 5
    assert house.procedures.states[SYMBOL].status.is_paused
    assert pending.batch.now > records.decode_batch(head).now


async def test_a_batch_after_a_taken_number_knows_the_orders_that_ended_meanwhile(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    order = next(iter(house.procedures.states[SYMBOL].orders.values()))
    fill = house.exchange.fill(order.client_order_id, order.quantity)
    head = a_batch(lane, filled(fill), now=house.clock.now() + timedelta(seconds=1))
    house.driver = TakenOnce(house.procedures, head)
    other = house.lane(sequence=lane.sequence)
    other.now = lane.now

    await house.process(other, filled(fill))

    state = house.procedures.states[SYMBOL]
    assert state.position.quantity == order.quantity
    assert not state.incidents


async def test_finish_head_completes_what_a_dead_process_left(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    orders = set(house.procedures.states[SYMBOL].orders)
    head = a_batch(lane, a_command("kill"), now=house.clock.now() + timedelta(seconds=1))
    house = await open_house()
    house.driver = TakenOnce(house.procedures, head)
    lane = house.lane(sequence=lane.sequence)

    assert await lane.finish_head()
    await house.procedures.load_states([SYMBOL])

    assert lane.sequence == 4
    state = house.procedures.states[SYMBOL]
    assert state.status.is_killed
    assert {request.client_order_id for request in house.exchange.canceled} == orders
    assert not state.orders


# --- the straight path and the recovered one ---


class Recorder:
    """Keeps what `record` would write, and writes nothing."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self.recordings: list[Recording] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def record(self, recording: Recording) -> str:
        self.recordings.append(recording)
        return "chain"


async def test_recording_from_journaled_facts_equals_the_straight_path(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    order = next(iter(house.procedures.states[SYMBOL].orders.values()))
    fill = house.exchange.fill(order.client_order_id, order.quantity)
    now = house.clock.now() + timedelta(seconds=1)
    batch = a_batch(
        lane, filled(fill), house.trade(100), replace(a_command("x"), symbol=ETH), now=now
    )
    recorder: Any = Recorder(house.store)
    house.procedures.store = recorder

    decided = house.procedures.decide(batch)
    house.procedures.marks.add(f"bot/0/{batch['sequence']:09d}")
    answered = await house.procedures.place(batch, decided)
    house.procedures.record(batch, decided, answered)
    house.procedures.pending.clear()
    house.procedures.record(batch, decided, answered)

    straight, recovered = recorder.recordings
    assert straight == recovered
    assert house.procedures.decide(batch) == decided, "nothing was swapped in before a commit"


async def test_a_second_execution_of_place_asks_and_sends_nothing(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    order = next(iter(house.procedures.states[SYMBOL].orders.values()))
    fill = house.exchange.fill(order.client_order_id, order.quantity)
    batch = a_batch(lane, filled(fill), house.trade(100), now=house.clock.now())
    decided = house.procedures.decide(batch)
    house.procedures.marks.add(f"bot/0/{batch['sequence']:09d}")

    first = await house.procedures.place(batch, decided)
    sent = len(house.exchange.placed)
    second = await house.procedures.place(batch, decided)

    assert len(house.exchange.placed) == sent
    assert [o["kind"] for o in first] == [o["kind"] for o in second] == ["accepted"] * len(first)


async def test_recording_twice_changes_nothing(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    batch = a_batch(lane, a_command("start"), now=house.clock.now())
    decided = house.procedures.decide(batch)

    first = house.procedures.record(batch, decided, [])
    house.procedures.pending.clear()

    assert house.procedures.record(batch, decided, []) == first
    (row, _) = await house.store.fetch_lanes()
    assert row.sequence == 1


# --- several symbols and lanes ---


async def test_a_failing_actor_is_parked_and_its_neighbor_goes_on(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await open_house()
    lane = house.lane(0, SYMBOL, ETH)
    await house.start(lane)
    await house.start(lane, ETH)
    decide = actor.decide

    def fail_on_one(state: Any, given: Any) -> Any:
        if state.symbol == SYMBOL:
            raise ZeroDivisionError("a bug")
        return decide(state, given)

    monkeypatch.setattr("market_maker.engine.procedures.decide", fail_on_one)
    order = next(iter(house.procedures.states[ETH].orders.values()))
    fill = house.exchange.fill(order.client_order_id, order.quantity)
    await house.process(lane, house.trade(101), replace(filled(fill), symbol=ETH))

    states: Mapping[str, Any] = house.procedures.states
    assert states[SYMBOL].status.mode is SymbolMode.PARKED
    assert [item.kind for item in states[SYMBOL].incidents.values()] == ["actor_error"]
    assert states[ETH].position.quantity == order.quantity

    monkeypatch.undo()
    await house.process(lane, house.trade(101))
    assert not states[SYMBOL].orders, "what rested was canceled"
    assert states[ETH].orders


async def test_an_unknown_symbol_is_noticed_and_the_lane_goes_on(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)

    pending = await house.process(lane, house.trade(7, "DOGE/USDT"), house.trade(101))

    assert [notice.name for notice in pending.decision.notices] == ["unknown_symbol"]
    assert house.procedures.states[SYMBOL].market.last_price == 101


async def test_a_symbol_that_moves_to_another_lane_takes_its_state_along(
    open_house: OpenHouse,
) -> None:
    house = await open_house()
    first = house.lane(0, SYMBOL)
    await house.start(first)
    state = house.procedures.states[SYMBOL]
    house = await open_house()
    second = house.lane(1, SYMBOL)
    second.now = first.now  # the orchestrator starts every lane at the latest time of all
    assert house.procedures.states[SYMBOL] == state

    order = next(iter(state.orders.values()))
    fill = house.exchange.fill(order.client_order_id, order.quantity)
    await house.process(second, filled(fill))

    assert house.procedures.states[SYMBOL].position.quantity == order.quantity
    assert [row.sequence for row in await house.store.fetch_lanes()] == [3, 1]
    ids = [request.client_order_id for request in house.exchange.placed]
    assert len(ids) == len(set(ids))


async def test_a_head_is_decided_with_the_settings_that_it_names(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    head = a_batch(lane, house.trade(100), now=house.clock.now() + timedelta(seconds=1))
    expected = house.procedures.decide(head)
    narrow = decision_settings(
        account=AccountLimits(exposure_notional_quote_max=RICH, symbols_allowed=())
    )

    house = await open_house(settings=narrow)
    house.driver = TakenOnce(house.procedures, head)
    lane = house.lane(sequence=lane.sequence, version=2)

    assert 1 not in house.procedures.settings
    assert await lane.finish_head()
    assert 1 in house.procedures.settings
    assert house.procedures.decide(head) == expected


async def test_balances_become_allowances(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    taken = BalancesTaken(
        id="b1",
        symbol=AccountActor.SYMBOL,
        exchange_at=None,
        received_at=house.clock.now(),
        balances=(),
        positions=(),
    )

    pending = await house.process(lane, taken)

    grants = dict(pending.decision.grants)
    assert sorted(grants) == [SYMBOL, ETH]
    shares = [Decimal(grant["exposure_notional_quote_max"]) for grant in grants.values()]
    assert sum(shares) <= RICH
    reopened = await open_house()
    assert reopened.procedures.account.state == house.procedures.account.state


# --- timers and the loop ---


async def test_the_loop_fires_a_timer_on_a_silent_stream_once(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    before = lane.sequence
    house.clock.advance(timedelta(seconds=4))

    running = asyncio.create_task(lane.run())
    await asyncio.sleep(0.1)
    lane.stop()
    await running

    assert lane.sequence == before + 1, "one timer, and no loop that finds nothing to do"
    assert not house.procedures.states[SYMBOL].orders, "stale quotes were pulled"


async def test_stopping_finishes_what_runs(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    running = asyncio.create_task(lane.run())
    lane.inbox.put(a_command("start"))
    await asyncio.sleep(0)
    lane.stop()
    await running

    assert lane.sequence == 1
    assert lane.is_idle


async def test_an_answer_for_an_order_of_nobody_is_harmless(open_house: OpenHouse) -> None:
    house = await open_house()
    lane = house.lane()
    await house.start(lane)
    lookup = OrderLookedUp(
        id="l1",
        symbol=SYMBOL,
        exchange_at=None,
        received_at=house.clock.now(),
        client_order_id="nobody",
        report=None,
        is_conclusive=True,
    )

    pending = await house.process(lane, lookup)

    assert not pending.decision.notices
    assert len(house.procedures.states[SYMBOL].orders) == 3
