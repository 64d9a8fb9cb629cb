"""Fixtures that every test may ask for; the modules named here own them."""

from typing import Any

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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what the end-to-end tests counted, also when nothing failed."""
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "counts" and report.when == "teardown"
    ]
    if lines:
        terminalreporter.section("counts of the end-to-end tests")
        for line in lines:
            terminalreporter.write_line(str(line))
