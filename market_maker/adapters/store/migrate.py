"""
Create and change the schema. Synchronous: the command line and the start call it.

Alembic is imported only when a schema changes: a start that finds its schema is the usual one.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, text

from market_maker.adapters.store.engines import (
    is_sqlite,
    parse_url,
    reader_engine,
    sqlite_path,
    writer_engine,
)
from market_maker.adapters.store.errors import describe, translated_errors
from market_maker.adapters.store.schema import (
    check_not_foreign,
    find_revision,
    require_database,
)
from market_maker.domain.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

# One schema change at a time on a server; the number only has to be ours.
_UPGRADE_LOCK = 6_114_730_217


def prepare(url: str) -> None:
    """
    Make the database ready for `run`: an empty or missing one gets the schema.

    Raises `StoreVersionError` for one that is older or newer, untouched.
    """
    parsed = parse_url(url)
    is_missing = is_sqlite(parsed) and not sqlite_path(parsed).exists()
    revision = None if is_missing else current(url)
    check_not_foreign(revision, describe(parsed))
    if revision is None:
        upgrade(url)


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema to `revision` in one transaction, creating a missing SQLite file."""
    parsed = parse_url(url)
    if is_sqlite(parsed) and not sqlite_path(parsed).parent.is_dir():
        raise StoreError(
            f"database {describe(parsed)}: the folder {sqlite_path(parsed).parent} does not exist; "
            "create it, or check database.url"
        )
    from alembic import command

    _run(parsed, command.upgrade, revision, is_created=True)


def downgrade(url: str, revision: str) -> None:
    """Take the schema back to `revision` ("base" drops every table of ours with its rows)."""
    parsed = parse_url(url)
    require_database(parsed)
    from alembic import command

    _run(parsed, command.downgrade, revision, is_created=False)


def current(url: str) -> str | None:
    """The schema revision of the database, None if it is empty; raises `StoreError` if missing."""
    parsed = parse_url(url)
    require_database(parsed)
    engine = reader_engine(parsed)
    try:
        with translated_errors(parsed), engine.connect() as connection:
            return find_revision(connection)
    finally:
        engine.dispose()


def head() -> str:
    """The schema revision that this program needs."""
    revision = _scripts().get_current_head()
    if revision is None:
        raise StoreError("this installation has no migrations; install the program again")
    return revision


def _scripts() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config(connection: Connection | None = None) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    return config


def _run(url: URL, step: Any, revision: str, *, is_created: bool) -> None:
    engine = writer_engine(url, is_created=is_created)
    try:
        with translated_errors(url), engine.begin() as connection:
            if not is_sqlite(url):
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))
            _check_known(connection, url)
            step(_config(connection), revision)
    finally:
        engine.dispose()


def _check_known(connection: Connection, url: URL) -> None:
    """Raise `StoreVersionError` if a newer program wrote the database."""
    revision = find_revision(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        check_not_foreign(revision, describe(url))
