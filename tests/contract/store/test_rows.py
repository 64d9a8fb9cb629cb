"""What the store keeps outside `record`: settings, lanes, symbols, commands."""

import pytest
from sqlalchemy import ColumnElement, Table

from market_maker.adapters.store.engines import parse_url, writer_engine
from market_maker.adapters.store.store import SqlStore
from market_maker.adapters.store.tables import (
    IS_LIVE,
    IS_OPEN,
    IS_WAITING,
    commands,
    grid_slots,
    incidents,
    orders,
)
from market_maker.domain.errors import StoreError
from market_maker.ports.store import SymbolRow
from tests.store_builders import SYMBOL, a_command, a_recording, a_status_change


async def test_settings_get_a_new_version_only_when_they_differ(store: SqlStore) -> None:
    assert await store.register_settings({"a": 1, "b": ["x"]}) == 1
    assert await store.register_settings({"b": ["x"], "a": 1}) == 1
    assert await store.register_settings({"a": 2}) == 2
    assert await store.register_settings({"a": 1, "b": ["x"]}) == 3

    assert await store.load_settings(2) == {"a": 2}
    with pytest.raises(StoreError, match="settings version 9 of bot bot-a is missing"):
        await store.load_settings(9)


async def test_symbols_keep_their_lane_and_unnamed_ones_are_unconfigured(store: SqlStore) -> None:
    first = SymbolRow(symbol="A/B", lane=0, strategy="grid", is_configured=True)
    second = SymbolRow(symbol="C/D", lane=1, strategy="grid", is_configured=True)
    await store.place_symbols([second, first])
    assert await store.load_symbol_rows() == (first, second)

    await store.place_symbols([first])

    rows = await store.load_symbol_rows()
    assert [(row.symbol, row.lane, row.is_configured) for row in rows] == [
        ("A/B", 0, True),
        ("C/D", 1, False),
    ]


async def test_placing_a_symbol_again_keeps_its_state_and_recording_its_place(
    store: SqlStore,
) -> None:
    row = SymbolRow(symbol=SYMBOL, lane=1, strategy="grid", is_configured=True)
    await store.place_symbols([row])
    assert await store.load_symbol_state(SYMBOL) is None

    store.record(a_recording(1, a_status_change(5)))
    assert await store.load_symbol_rows() == (row,)
    await store.place_symbols([row])

    state = await store.load_symbol_state(SYMBOL)
    assert state is not None
    assert state.status.updates_processed_count == 5


async def test_commands_wait_oldest_first_until_they_are_done(store: SqlStore) -> None:
    await store.add_command(a_command("second", seconds=2))
    await store.add_command(a_command("first", seconds=1))

    taken = await store.take_commands()

    assert [(row.command_id, row.state) for row in taken] == [
        ("first", "taken"),
        ("second", "taken"),
    ]
    assert await store.take_commands() == taken
    await store.finish_command("first", "paused")
    await store.finish_command("first", "again")
    assert [row.command_id for row in await store.take_commands()] == ["second"]
    done = await store.load_command("first")
    assert done is not None
    assert (done.state, done.result) == ("done", "paused")
    assert await store.load_command("third") is None


async def test_a_command_id_that_exists_is_left_as_it_is(store: SqlStore) -> None:
    await store.add_command(a_command("one"))
    await store.finish_command("one", "paused")

    await store.add_command(a_command("one"))

    assert await store.take_commands() == ()


PARTIAL_INDEXES = pytest.mark.parametrize(
    ("table", "condition", "index"),
    [
        (orders, IS_OPEN, "orders_open"),
        (grid_slots, IS_LIVE, "grid_slots_live"),
        (incidents, IS_OPEN, "incidents_open"),
        (commands, IS_WAITING, "commands_waiting"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)


@PARTIAL_INDEXES
def test_a_start_reads_live_rows_through_their_own_index(
    database_url: str,
    database_kind: str,
    table: Table,
    condition: ColumnElement[bool],
    index: str,
) -> None:
    """Otherwise the cost of a start would grow with history."""
    statement = table.select().where(table.c.bot == "b", condition)
    if table is not commands:
        statement = statement.where(table.c.symbol == "s")
    engine = writer_engine(parse_url(database_url))
    text_ = str(statement.compile(engine, compile_kwargs={"literal_binds": True}))

    with engine.begin() as connection:
        if database_kind == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text_}").all()
        else:
            # On empty tables any index would do; the planner is left with the one that matters.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS {table.name}_symbol_created")
            plan = connection.exec_driver_sql(f"EXPLAIN {text_}").all()
    engine.dispose()

    assert index in str(plan)
