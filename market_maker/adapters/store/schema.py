"""
Which schema this program knows, told without importing Alembic: a start must be quick.

A test holds `REVISIONS` against the migrations.
"""

from typing import Final

from sqlalchemy import URL, Connection, inspect, text

from market_maker.adapters.store.engines import is_sqlite, sqlite_path
from market_maker.adapters.store.errors import describe
from market_maker.domain.errors import StoreError, StoreVersionError

REVISIONS: Final = ("0001",)
"""Every schema this program has known, oldest first; the last is the one it needs."""


def find_revision(connection: Connection) -> str | None:
    """The schema revision in the database, None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar()
    return revision


def check_revision(revision: str | None, where: str) -> None:
    """Raise unless the database has exactly the schema of this program."""
    if revision is None:
        raise StoreError(
            f"database {where} is empty; `market-maker run` or `market-maker db upgrade` fills it"
        )
    check_not_foreign(revision, where)


def check_not_foreign(revision: str | None, where: str) -> None:
    """Raise `StoreVersionError` if the database is older or newer than this program."""
    if revision is None or revision == REVISIONS[-1]:
        return
    if revision in REVISIONS:
        raise StoreVersionError(
            f"database {where} has schema {revision} and this program needs {REVISIONS[-1]}; stop "
            "the bot, make a backup and run `market-maker db upgrade`"
        )
    raise StoreVersionError(
        f"database {where} has schema {revision}, which this program does not know (it knows up "
        f"to {REVISIONS[-1]}); use the newer program that wrote it"
    )


def require_database(url: URL) -> None:
    """Raise `StoreError` if the SQLite file is missing; a server is asked by connecting."""
    if is_sqlite(url) and not sqlite_path(url).exists():
        raise StoreError(
            f"database {describe(url)} does not exist; `market-maker run` or `market-maker db "
            "upgrade` creates it, or check database.url"
        )
