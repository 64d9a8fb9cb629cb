"""What follows a recorded batch: questions, readings, and commands that are marked done."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from market_maker.domain.events import AllowanceGranted, CommandIssued, Update
from market_maker.domain.order import OrderState
from market_maker.domain.symbol import SymbolMode, SymbolState, SymbolStatus
from market_maker.engine import feedback as feedback_module
from market_maker.engine import records
from market_maker.engine.feedback import Feedback
from market_maker.engine.procedures import Pending, new_state
from market_maker.engine.records import Batch, Decision, Notice
from market_maker.ports.metrics import Metric
from tests.actor_desk import a_command
from tests.builders import NOW, SYMBOL, an_allowance, an_order
from tests.fakes.metrics import FakeMetrics

ETH = "ETH/USDT"


class Desk:
    """Stands for the settler, the reconciler, the store and the lane."""

    def __init__(self) -> None:
        self.now = NOW
        self.asked: list[str] = []
        self.read: list[str] = []
        self.done: list[str] = []
        self.put: list[Update] = []
        self.error: Exception | None = None
        self.metrics = FakeMetrics()
        anything: Any = self
        self.feedback = Feedback(
            procedures=anything,
            settler=anything,
            reconciler=anything,
            store=anything,
            metrics=self.metrics,
            put=self.put.append,
            symbols=(SYMBOL, ETH),
            on_progress=lambda _: None,
        )

    def settle(self, orders: Any) -> None:
        self.asked += [order.client_order_id for order in orders]

    def request(self, symbol: str) -> None:
        self.read.append(symbol)

    async def finish_command(self, command_id: str, result: str) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(command_id)

    async def after(
        self, *updates: Update, states: tuple[SymbolState, ...] = (), **decision: Any
    ) -> None:
        batch = Batch(bot="bot", lane=0, sequence=1, settings_version=1, now=NOW, updates=updates)
        pending = Pending(batch, Decision(**decision), {state.symbol: state for state in states})
        lane: Any = self
        self.feedback.after_batch(lane, pending)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def quoting(**overrides: Any) -> SymbolState:
    status = SymbolStatus(mode=SymbolMode.QUOTING)
    return replace(new_state(SYMBOL), **({"status": status} | overrides))


async def test_unsettled_orders_are_asked_for_and_others_are_not(desk: Desk) -> None:
    orders = {
        "o1": an_order(),
        "o2": an_order(client_order_id="o2", state=OrderState.UNKNOWN),
        "o3": an_order(client_order_id="o3", state=OrderState.PENDING_CANCEL),
    }

    await desk.after(states=(quoting(orders=orders),))

    assert desk.asked == ["o2", "o3"]
    assert not desk.read


async def test_a_symbol_that_syncs_is_read(desk: Desk) -> None:
    await desk.after(states=(new_state(SYMBOL),))

    assert desk.read == [SYMBOL]


async def test_a_command_to_all_is_done_once_every_symbol_has_recorded_it(desk: Desk) -> None:
    command = a_command("pause", command_id="c1")

    await desk.after(command)
    assert not desk.done

    await desk.after(replace(command, symbol=ETH))
    assert desk.done == ["c1"]


async def test_a_command_to_one_symbol_is_done_at_once_and_our_own_need_no_mark(
    desk: Desk,
) -> None:
    one: CommandIssued = replace(a_command("pause", command_id="c1"), is_for_all=False)

    await desk.after(one, a_command("start", command_id=""))

    assert desk.done == ["c1"]


async def test_a_command_that_cannot_be_marked_ends_the_process(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[BaseException] = []
    monkeypatch.setattr(feedback_module, "end_process", lambda error, where: ended.append(error))
    desk.error = OSError("the disk is full")

    await desk.after(replace(a_command("pause", command_id="c1"), is_for_all=False))

    assert ended == [desk.error]


async def test_grants_become_updates(desk: Desk) -> None:
    allowance = an_allowance()

    await desk.after(grants=((SYMBOL, records.to_record(allowance)),))

    (update,) = desk.put
    assert isinstance(update, AllowanceGranted)
    assert (update.symbol, update.allowance) == (SYMBOL, allowance)


async def test_an_unknown_symbol_is_counted(desk: Desk) -> None:
    await desk.after(notices=(Notice(symbol="DOGE", name="unknown_symbol", content="?"),))

    assert desk.metrics.values[Metric.UPDATES_REFUSED] == 1
