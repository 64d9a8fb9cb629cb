"""`record`: one transaction, once, in order, chained."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, timedelta
from decimal import Decimal
from itertools import count, pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from market_maker.adapters.store.engines import parse_url, writer_engine
from market_maker.adapters.store.journal import GENESIS, chain_digest
from market_maker.adapters.store.rows import (
    FILLS,
    INCIDENTS,
    JOURNAL,
    LEDGER,
    ORDERS,
    POSITIONS,
    SLOTS,
    Shape,
)
from market_maker.adapters.store.store import SqlStore
from market_maker.domain.errors import Fenced, StoreError
from market_maker.domain.events import Allowance
from market_maker.domain.fill import Fill
from market_maker.domain.ledger import LedgerEntry
from market_maker.domain.order import Order, OrderState, RejectReason
from market_maker.domain.position import Position
from market_maker.domain.quote import Market
from market_maker.domain.risk.limits import RiskCounters
from market_maker.domain.strategies.base import Slot, SlotState, StrategyMemory, StrategyState
from market_maker.domain.symbol import (
    Incident,
    IncidentSeverity,
    SymbolChanges,
    SymbolMode,
    SymbolState,
    SymbolStatus,
)
from market_maker.ports.store import JournalEntry
from tests.contract.store.conftest import Arm, OpenStore
from tests.store_builders import (
    BOT,
    START,
    SYMBOL,
    FakeClock,
    a_fill,
    a_leg,
    a_recording,
    a_status_change,
    an_entry,
    an_order,
)

FULL_CHANGE = SymbolChanges(
    symbol=SYMBOL,
    status=SymbolStatus(
        mode=SymbolMode.QUOTING, idle_reason="", updates_processed_count=3, last_update_at=START
    ),
    market=Market(bid=Decimal("1.50"), ask=Decimal("1E+2"), updated_at=START),
    memory=StrategyMemory(anchor=Decimal("60000.0"), margin_lock_until=START),
    risk=RiskCounters(minute_at=START, sent_count=2, day_notional_quote=Decimal("12.30")),
    allowance=Allowance(exposure_notional_quote_max=Decimal(1000), order_count_max=7),
    position=Position(symbol=SYMBOL, quantity=Decimal("-0.010"), realized_pnl=Decimal("-0.5")),
    orders=(an_order(), an_order(client_order_id="abc2", state=OrderState.FILLED)),
    slots=(Slot(key="1.50", price=Decimal("1.50"), holding=Decimal("0.1")),),
    incidents=(
        Incident(
            id="i1",
            symbol=SYMBOL,
            kind="position_mismatch",
            severity=IncidentSeverity.OPEN,
            content="the venue holds 1",
            opened_at=START,
        ),
    ),
    fills=(a_fill(),),
    ledger=(a_leg(), a_leg(account="inventory", asset="BTC", amount=Decimal("0.010"))),
)

exact = st.builds(
    lambda digits, sign, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
    st.integers(min_value=0, max_value=10**38 - 1),
    st.integers(min_value=0, max_value=1),
    st.integers(min_value=-30, max_value=4),
)
instants = st.datetimes(min_value=START.replace(tzinfo=None), timezones=st.just(UTC))
maybe_instant = st.none() | instants
words = st.sampled_from(["", "a", "ü → “x”", "it's; --", "%s ? :x"])


def orders_of(key: str) -> st.SearchStrategy[Order]:
    return st.builds(
        an_order,
        client_order_id=st.just(key),
        price=st.none() | exact,
        quantity=exact,
        state=st.sampled_from(OrderState),
        cumulative_quantity=exact,
        filled_quantity=exact,
        reported_state=st.none() | st.sampled_from(OrderState),
        reject_reason=st.none() | st.sampled_from(RejectReason),
        reason=words,
        signed_until=maybe_instant,
        updated_at=instants,
        trade_ids=st.lists(words, max_size=3).map(tuple),
    )


def slots_of(key: str) -> st.SearchStrategy[Slot]:
    return st.builds(
        Slot,
        key=st.just(key),
        price=exact,
        state=st.sampled_from(SlotState),
        holding=st.just(Decimal(0)) | exact,
        entry_price=exact,
        client_order_id=words,
        is_unknown=st.booleans(),
        post_only_rejections=st.integers(0, 2),
    )


def incidents_of(key: str) -> st.SearchStrategy[Incident]:
    return st.builds(
        Incident,
        id=st.just(key),
        symbol=st.just(SYMBOL),
        kind=words,
        severity=st.sampled_from(IncidentSeverity),
        content=words,
        opened_at=instants,
        closed_at=maybe_instant,
        resolution=words,
    )


some_changes = st.builds(
    SymbolChanges,
    symbol=st.just(SYMBOL),
    status=st.none()
    | st.builds(
        SymbolStatus,
        mode=st.sampled_from(SymbolMode),
        is_paused=st.booleans(),
        idle_reason=words,
        updates_processed_count=st.integers(0, 2**40),
        last_update_at=maybe_instant,
        wake_at=maybe_instant,
    ),
    market=st.none()
    | st.builds(Market, bid=st.none() | exact, last_price=exact, updated_at=maybe_instant),
    memory=st.none() | st.builds(StrategyMemory, anchor=exact, dust_quantity=exact),
    risk=st.none() | st.builds(RiskCounters, day_notional_quote=exact, minute_at=maybe_instant),
    allowance=st.none()
    | st.builds(Allowance, exposure_notional_quote_max=exact, order_count_max=st.integers(0, 9)),
    position=st.none()
    | st.builds(Position, symbol=st.just(SYMBOL), quantity=exact, average_entry_price=exact),
    orders=st.tuples(orders_of("o1"), orders_of("o2")) | st.just(()),
    slots=st.tuples(slots_of("1"), slots_of("2")) | st.just(()),
    incidents=st.tuples(incidents_of("i1")) | st.just(()),
)


def applied(state: SymbolState, changes: SymbolChanges) -> SymbolState:
    """What the state is after the changes, said independently of the store."""
    orders = {**state.orders, **{order.client_order_id: order for order in changes.orders}}
    slots = {**state.strategy.slots, **{slot.key: slot for slot in changes.slots}}
    incidents = {**state.incidents, **{incident.id: incident for incident in changes.incidents}}
    return SymbolState(
        symbol=state.symbol,
        position=changes.position or state.position,
        status=changes.status or state.status,
        market=changes.market or state.market,
        risk=changes.risk or state.risk,
        allowance=changes.allowance or state.allowance,
        strategy=StrategyState(
            memory=changes.memory or state.strategy.memory,
            slots={
                key: slot
                for key, slot in slots.items()
                if not slot.is_empty or slot.post_only_rejections
            },
        ),
        orders={key: order for key, order in orders.items() if not order.is_terminal},
        incidents={key: it for key, it in incidents.items() if it.closed_at is None},
    )


numbers = count()


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(some_changes, min_size=1, max_size=4))
async def test_loaded_state_with_changes_is_the_next_loaded_state(
    database_url: str, steps: list[SymbolChanges]
) -> None:
    """load(state n) + changes = load(state n+1), to the last digit and the last exponent."""
    store = SqlStore(database_url, f"bot-{next(numbers)}", FakeClock())
    await store.open()
    try:
        lease = await store.acquire_lease(holder="test", ttl=timedelta(minutes=1))
        await store.ensure_lanes(1, token=lease.token)
        state = SymbolState(symbol=SYMBOL, position=Position(symbol=SYMBOL))
        for sequence, changes in enumerate(steps, start=1):
            store.record(a_recording(sequence, changes))
            state = applied(state, changes)

            loaded = await store.load_symbol_state(SYMBOL)

            assert loaded == state
            # Equal decimals may differ in exponent; the text of a replayed state must not.
            assert msgspec.json.encode(loaded, order="sorted") == msgspec.json.encode(
                state, order="sorted"
            )
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        (ORDERS, Order),
        (FILLS, Fill),
        (SLOTS, Slot),
        (POSITIONS, Position),
        (LEDGER, LedgerEntry),
        (INCIDENTS, Incident),
        (JOURNAL, JournalEntry),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_field_has_a_column(shape: Shape[object], model: type) -> None:
    assert set(shape.own) == {field.name for field in fields(model)}
    assert set(shape.columns) == {column.name for column in shape.table.columns}


async def test_everything_recorded_is_read_back(store: SqlStore) -> None:
    store.record(
        a_recording(
            1, FULL_CHANGE, account={"equity": "12.50"}, snapshot={"version": 1, "states": []}
        )
    )

    state = await store.load_symbol_state(SYMBOL)
    assert state is not None
    assert list(state.orders.values()) == [an_order()]
    assert state.market == FULL_CHANGE.market
    assert await store.fetch_symbol_states() == (state,)
    assert set(await store.load_orders(["abc2", an_order().client_order_id, "nobody"])) == set(
        FULL_CHANGE.orders
    )
    assert await store.fetch_orders(only_open=True) == (an_order(),)
    assert len(await store.fetch_orders(symbol=SYMBOL)) == 2
    assert await store.fetch_orders(symbol="ETH/USDT") == ()
    assert await store.fetch_fills() == (
        {
            "trade_id": "1",
            "client_order_id": "abc000000000000001",
            "exchange_order_id": "9",
            "symbol": SYMBOL,
            "side": "BUY",
            "price": "60000.10",
            "quantity": "0.010",
            "fee": "0.00001",
            "fee_asset": "BTC",
            "liquidity": "MAKER",
            "exchange_at": "2026-01-02T03:04:05.678901+00:00",
        },
    )
    assert await store.fetch_incidents() == FULL_CHANGE.incidents
    assert await store.load_account("@account") == {"equity": "12.50"}
    assert await store.has_journal()
    assert dict(await store.counts()) == {
        "orders": 2,
        "fills": 1,
        "ledger": 2,
        "journal": 1,
        "incidents": 1,
        "commands": 0,
    }
    lanes = await store.fetch_lanes()
    assert [(lane.lane, lane.sequence, lane.now) for lane in lanes] == [
        (0, 1, an_entry(1).now),
        (1, 0, None),
    ]


async def test_a_symbol_never_recorded_has_no_state(store: SqlStore) -> None:
    assert await store.load_symbol_state(SYMBOL) is None
    assert not await store.has_journal()
    assert await store.load_account("@account") is None


async def test_newest_comes_first_and_limit_cuts_the_oldest(store: SqlStore) -> None:
    for number in range(1, 4):
        at = START + timedelta(seconds=number)
        store.record(
            a_recording(
                number,
                SymbolChanges(
                    symbol=SYMBOL,
                    orders=(an_order(client_order_id=f"o{number}", created_at=at),),
                    fills=(a_fill(trade_id=f"{number}", exchange_at=at),),
                ),
            )
        )

    assert [order.client_order_id for order in await store.fetch_orders(limit=2)] == ["o3", "o2"]
    assert [fill["trade_id"] for fill in await store.fetch_fills(limit=2)] == ["3", "2"]


async def test_thirty_eight_digits_survive_and_sum_exactly(store: SqlStore) -> None:
    amount = Decimal("12345678901234567890123456789.012345678")
    store.record(
        a_recording(
            1,
            SymbolChanges(
                symbol=SYMBOL,
                position=Position(symbol=SYMBOL, quantity=amount.copy_negate()),
                ledger=(a_leg(amount=amount), a_leg(amount=Decimal("1E-30")), a_leg(amount=amount)),
            ),
        )
    )

    state = await store.load_symbol_state(SYMBOL)
    assert state is not None
    assert str(state.position.quantity) == "-12345678901234567890123456789.012345678"
    sums = await store.sum_ledger(SYMBOL)
    assert str(sums["cash", "USDT"]) == (
        "24691357802469135780246913578.024691356000000000000000000001"
    )


async def test_repeating_a_recording_returns_its_digest_and_writes_nothing(store: SqlStore) -> None:
    first = store.record(a_recording(1, FULL_CHANGE))
    store.record(a_recording(2, a_status_change(9)))

    assert store.record(a_recording(1, FULL_CHANGE)) == first
    assert (await store.counts())["fills"] == 1
    state = await store.load_symbol_state(SYMBOL)
    assert state is not None
    assert state.status.updates_processed_count == 9


@pytest.mark.parametrize(
    ("sequence", "token", "workflow_id"),
    [(1, 1, "bot-a/0/other"), (2, 0, ""), (2, 2, ""), (3, 1, ""), (0, 1, "")],
    ids=["sequence taken", "old token", "future token", "gap", "backwards"],
)
async def test_whoever_does_not_own_the_sequence_is_fenced(
    store: SqlStore, sequence: int, token: int, workflow_id: str
) -> None:
    store.record(a_recording(1, a_status_change(1)))

    with pytest.raises(Fenced, match="lane 0 was at sequence 1 with token 1"):
        store.record(a_recording(sequence, FULL_CHANGE, token=token, workflow_id=workflow_id))

    assert (await store.counts())["journal"] == 1
    assert (await store.counts())["orders"] == 0


async def test_a_lane_that_does_not_exist_is_fenced(store: SqlStore) -> None:
    with pytest.raises(Fenced, match="lane 7 does not exist"):
        store.record(a_recording(1, lane=7))


async def test_each_lane_has_its_own_chain_from_genesis(store: SqlStore) -> None:
    for lane in (0, 1):
        for sequence in (1, 2, 3):
            store.record(a_recording(sequence, a_status_change(sequence), lane=lane))

        rows = await store.fetch_journal(lane)

        assert [entry for entry, _ in rows] == [an_entry(n, lane=lane) for n in (1, 2, 3)]
        chains = [GENESIS, *(chain for _, chain in rows)]
        for (previous, chain), (entry, _) in zip(pairwise(chains), rows, strict=True):
            assert chain == chain_digest(previous, BOT, entry)
    assert len(await store.fetch_journal(0, after_sequence=1, limit=1)) == 1


def test_the_chain_covers_every_field() -> None:
    entry = an_entry(1)
    digests = {
        chain_digest(GENESIS, BOT, changed)
        for changed in (
            entry,
            replace(entry, lane=1),
            replace(entry, sequence=2),
            replace(entry, workflow_id="x"),
            replace(entry, settings_version=2),
            replace(entry, now=START),
            replace(entry, update_count=2),
            replace(entry, input_digest="0"),
            replace(entry, decision_digest="0"),
            replace(entry, outcomes_digest="0"),
            replace(entry, state_digest="0"),
        )
    }
    digests.add(chain_digest(GENESIS, "bot-b", entry))
    digests.add(chain_digest("1" * 64, BOT, entry))

    assert len(digests) == len(fields(entry)) + 3


async def test_a_missing_journal_row_stops_the_lane(store: SqlStore, database_url: str) -> None:
    store.record(a_recording(1))
    engine = writer_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM journal"))
    engine.dispose()

    with pytest.raises(StoreError, match="journal row 1 of lane 0 is missing"):
        store.record(a_recording(2))


@pytest.mark.parametrize("name", ["record.begin", "record.inside"])
async def test_an_error_before_the_commit_writes_nothing(
    store: SqlStore, arm: Arm, name: str
) -> None:
    arm(f"{name}:error")

    with pytest.raises(StoreError, match="disk or file system failed"):
        store.record(a_recording(1, FULL_CHANGE))

    counts = await store.counts()
    assert set(counts.values()) == {0}
    assert store.record(a_recording(1, FULL_CHANGE))
    assert (await store.counts())["orders"] == 2


async def test_an_error_after_the_commit_is_found_by_repeating(store: SqlStore, arm: Arm) -> None:
    arm("record.committed:error")

    with pytest.raises(StoreError):
        store.record(a_recording(1, FULL_CHANGE))

    chain = store.record(a_recording(1, FULL_CHANGE))
    assert [stored for _, stored in await store.fetch_journal(0)] == [chain]
    assert (await store.counts())["fills"] == 1


async def test_a_fill_booked_twice_is_refused_with_its_whole_batch(store: SqlStore) -> None:
    store.record(a_recording(1, FULL_CHANGE))

    with pytest.raises(StoreError, match="contradict"):
        store.record(
            a_recording(2, a_status_change(5), SymbolChanges(symbol=SYMBOL, fills=(a_fill(),)))
        )

    assert (await store.counts())["journal"] == 1


async def test_one_trade_between_two_own_orders_is_two_fills(store: SqlStore) -> None:
    pair = (a_fill(), a_fill(client_order_id="other"))

    store.record(a_recording(1, SymbolChanges(symbol=SYMBOL, fills=pair)))

    assert (await store.counts())["fills"] == 2


async def test_lanes_record_at_the_same_time(store: SqlStore) -> None:
    await store.ensure_lanes(4, token=1)

    def run(lane: int) -> None:
        for sequence in range(1, 26):
            changes = a_status_change(sequence, symbol=f"S{lane}")
            store.record(a_recording(sequence, changes, lane=lane))

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(run, lane) for lane in range(4)]:
            done.result()

    assert [lane.sequence for lane in await store.fetch_lanes()] == [25] * 4
    assert (await store.counts())["journal"] == 100


async def test_of_two_processes_on_one_sequence_one_wins(
    store: SqlStore, open_store: OpenStore
) -> None:
    other = await open_store()

    def attempt(one: SqlStore, name: str, sequence: int) -> bool:
        try:
            one.record(a_recording(sequence, workflow_id=f"{name}/{sequence}"))
        except Fenced:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        for sequence in range(1, 21):
            tries = [
                threads.submit(attempt, one, name, sequence)
                for one, name in ((store, "a"), (other, "b"))
            ]
            assert sorted(done.result() for done in tries) == [False, True]
