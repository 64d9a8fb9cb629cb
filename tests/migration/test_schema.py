"""Schema steps: up, down and up again, on both databases, around tables that are not ours."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from market_maker.adapters.store import migrate
from market_maker.adapters.store.engines import parse_url
from market_maker.adapters.store.schema import REVISIONS
from market_maker.adapters.store.tables import DBOS_TABLES, metadata
from market_maker.domain.errors import StoreError


def run(url: str, *statements: str) -> None:
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def tables_of(url: str) -> set[str]:
    engine = create_engine(parse_url(url))
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_down_and_up_again(empty_database_url: str) -> None:
    url = empty_database_url

    migrate.upgrade(url)
    assert migrate.current(url) == migrate.head()
    assert tables_of(url) == {*metadata.tables, "alembic_version"}
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None
    assert tables_of(url) == {"alembic_version"}
    migrate.upgrade(url)

    assert tables_of(url) == {*metadata.tables, "alembic_version"}


def test_preparing_fills_an_empty_database_and_then_changes_nothing(
    empty_database_url: str,
) -> None:
    migrate.prepare(empty_database_url)
    run(empty_database_url, "INSERT INTO lanes (bot, lane, sequence, token) VALUES ('b', 0, 1, 1)")

    migrate.prepare(empty_database_url)
    migrate.upgrade(empty_database_url)

    engine = create_engine(parse_url(empty_database_url))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM lanes")).scalar() == 1
    engine.dispose()


def test_two_starts_may_prepare_at_the_same_time(empty_database_url: str) -> None:
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(migrate.prepare, empty_database_url) for _ in range(3)]:
            done.result()

    assert migrate.current(empty_database_url) == migrate.head()


def test_the_tables_of_the_code_are_those_of_the_migrations(database_url: str) -> None:
    engine = create_engine(parse_url(database_url))
    with engine.connect() as connection:
        assert compare_metadata(a_context(connection), metadata) == []
    engine.dispose()


def a_context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"compare_type": False})


def test_a_start_knows_every_revision_without_alembic() -> None:
    script = ScriptDirectory.from_config(Config(Path(__file__).parents[2] / "alembic.ini"))
    revisions = [step.revision for step in script.walk_revisions()]

    assert tuple(reversed(revisions)) == REVISIONS
    assert migrate.head() == REVISIONS[-1]


def test_the_tables_of_dbos_are_neither_taken_nor_touched(empty_database_url: str) -> None:
    assert not DBOS_TABLES & set(metadata.tables)
    run(
        empty_database_url,
        "CREATE TABLE workflow_status (id TEXT PRIMARY KEY)",
        "INSERT INTO workflow_status VALUES ('kept')",
    )

    migrate.prepare(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    migrate.upgrade(empty_database_url)

    assert "workflow_status" in tables_of(empty_database_url)
    run(empty_database_url, "INSERT INTO workflow_status VALUES ('also kept')")


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_new_file_is_durable_and_can_shrink(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)

    engine = create_engine(parse_url(empty_database_url))
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA auto_vacuum")).scalar() == 2  # INCREMENTAL
    engine.dispose()


def test_a_step_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    run(empty_database_url, "CREATE TABLE snapshots (x INTEGER)")

    with pytest.raises(StoreError):
        migrate.upgrade(empty_database_url)

    assert tables_of(empty_database_url) == {"snapshots"}


def test_a_missing_folder_is_named(tmp_path: object) -> None:
    with pytest.raises(StoreError, match="the folder .*nowhere does not exist; create it"):
        migrate.upgrade(f"sqlite:///{tmp_path}/nowhere/bot.db")


def test_nothing_is_asked_of_a_missing_file(tmp_path: object) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        migrate.current(f"sqlite:///{tmp_path}/bot.db")
    with pytest.raises(StoreError, match="does not exist"):
        migrate.downgrade(f"sqlite:///{tmp_path}/bot.db", "base")


def test_migrations_leave_logging_alone(empty_database_url: str) -> None:
    before = (list(logging.root.handlers), logging.root.level, logging.getLogger("dbos").disabled)

    migrate.upgrade(empty_database_url)

    after = (list(logging.root.handlers), logging.root.level, logging.getLogger("dbos").disabled)
    assert after == before
