"""
Alembic's environment: our tables only.

`market-maker db upgrade` hands over an open connection; the `alembic` command line builds one from
`sqlalchemy.url` (`alembic -x url=… upgrade head`). Logging is left alone.
"""

from typing import Any

from alembic import context
from sqlalchemy import Connection

from market_maker.adapters.store.engines import parse_url, writer_engine
from market_maker.adapters.store.tables import DBOS_TABLES, metadata


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether Alembic may look at it: DBOS's tables live beside ours and are not ours to change."""
    return kind != "table" or name not in DBOS_TABLES


def run(connection: Connection) -> None:
    """Run the requested migrations in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        render_as_batch=True,
        # Our SQLite connections begin transactions themselves, so DDL is rolled back with them.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_from_command_line() -> None:
    """Open the database named on the command line or in alembic.ini."""
    url = context.get_x_argument(as_dictionary=True).get("url")
    address = url or context.config.get_main_option("sqlalchemy.url") or ""
    engine = writer_engine(parse_url(address), is_created=True)
    with engine.begin() as connection:
        run(connection)
    engine.dispose()


handed_over: Connection | None = context.config.attributes.get("connection")
if handed_over is None:
    run_from_command_line()
else:
    run(handed_over)
