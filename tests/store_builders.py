"""Values for tests of the store: defaults with overrides."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from market_maker.domain.fill import Fill, Liquidity, Side
from market_maker.domain.ledger import LedgerEntry
from market_maker.domain.order import Order, OrderState, OrderType, Purpose, TimeInForce
from market_maker.domain.symbol import SymbolChanges, SymbolStatus
from market_maker.ports.store import CommandRow, JournalEntry, Recording

BOT = "bot-a"
SYMBOL = "BTC/USDT"
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def boottime(self) -> float:
        return self.time.timestamp()

    def advance(self, duration: timedelta) -> None:
        self.time += duration


def an_order(**overrides: Any) -> Order:
    order = Order(
        client_order_id="abc000000000000001",
        symbol=SYMBOL,
        side=Side.BUY,
        type=OrderType.LIMIT,
        price=Decimal("60000.10"),
        quantity=Decimal("0.010"),
        time_in_force=TimeInForce.GTC,
        post_only=True,
        reduce_only=False,
        purpose=Purpose.OPENING,
        slot="60000.10",
        state=OrderState.OPEN,
        workflow_id=f"{BOT}/0/1",
        sequence=1,
        changed_sequence=1,
        correlation_id="round-1",
        causation_id="update-1",
        created_at=START,
        updated_at=START,
    )
    return replace(order, **overrides)


def a_fill(**overrides: Any) -> Fill:
    fill = Fill(
        trade_id="1",
        client_order_id="abc000000000000001",
        exchange_order_id="9",
        symbol=SYMBOL,
        side=Side.BUY,
        price=Decimal("60000.10"),
        quantity=Decimal("0.010"),
        fee=Decimal("0.00001"),
        fee_asset="BTC",
        liquidity=Liquidity.MAKER,
        exchange_at=START,
    )
    return replace(fill, **overrides)


def a_leg(**overrides: Any) -> LedgerEntry:
    leg = LedgerEntry(
        symbol=SYMBOL,
        trade_id="1",
        client_order_id="abc000000000000001",
        account="cash",
        asset="USDT",
        amount=Decimal("-600.00100"),
    )
    return replace(leg, **overrides)


def an_entry(sequence: int, *, lane: int = 0, workflow_id: str = "") -> JournalEntry:
    return JournalEntry(
        lane=lane,
        sequence=sequence,
        workflow_id=workflow_id or f"{BOT}/{lane}/{sequence}",
        settings_version=1,
        now=START + timedelta(seconds=sequence),
        update_count=1,
        input_digest="a" * 64,
        decision_digest="b" * 64,
        outcomes_digest="c" * 64,
        state_digest="d" * 64,
    )


def a_recording(
    sequence: int, *changes: SymbolChanges, token: int = 1, lane: int = 0, **overrides: Any
) -> Recording:
    entry = an_entry(sequence, lane=lane, workflow_id=overrides.pop("workflow_id", ""))
    return Recording(entry=entry, token=token, changes=changes, **overrides)


def a_status_change(count: int, *, symbol: str = SYMBOL) -> SymbolChanges:
    return SymbolChanges(
        symbol=symbol, status=SymbolStatus(updates_processed_count=count, last_update_at=START)
    )


def a_command(command_id: str, *, seconds: int = 0) -> CommandRow:
    return CommandRow(
        command_id=command_id,
        name="pause",
        symbol="",
        argument="",
        state="new",
        created_at=START + timedelta(seconds=seconds),
    )
