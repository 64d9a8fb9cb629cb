"""Fixtures that every test may ask for; the modules named here own them."""

from tests.databases import (
    database_kind,
    database_url,
    empty_database_url,
    postgresql_server,
    sqlite_template,
)

__all__ = [
    "database_kind",
    "database_url",
    "empty_database_url",
    "postgresql_server",
    "sqlite_template",
]
