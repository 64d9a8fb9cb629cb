"""
What an operator can see and do about a workflow that stands at the head of a lane and cannot go on.

Reads the tables of the workflow engine with plain SQL. `resume` sets a failed workflow back to
pending and forgets the outcome of the steps that failed, and only of those: a repeated decide is
pure, a repeated place asks and never sends, and a repeated record writes nothing twice.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import URL, Connection, inspect, text

from market_maker.adapters.store.engines import (
    is_sqlite,
    parse_url,
    reader_engine,
    writer_engine,
)
from market_maker.adapters.store.errors import describe, translated_errors
from market_maker.adapters.store.schema import require_database
from market_maker.domain.errors import StoreError

FINISHED: Final = ("SUCCESS",)
# They are completed by the next start anyway.
WAITING: Final = ("PENDING", "ENQUEUED")


def find_workflow(url: str, workflow_id: str) -> Mapping[str, Any]:
    """Return what is known about one workflow and its steps; raises `StoreError` if nothing is."""
    parsed = parse_url(url)
    require_database(parsed)
    engine = reader_engine(parsed)
    try:
        with translated_errors(parsed), engine.begin() as connection:
            return _find(connection, parsed, workflow_id)
    finally:
        engine.dispose()


def check_head(workflow_id: str, recorded: Mapping[int, int]) -> None:
    """Raise `StoreError` unless the workflow comes after what its lane has recorded."""
    _, _, place = workflow_id.partition("/")
    lane, _, sequence = place.partition("/")
    if lane.isdecimal() and sequence.isdecimal() and int(sequence) > recorded.get(int(lane), 0):
        return
    raise StoreError(
        f"workflow {workflow_id} does not stand at the head of its lane: what it did is recorded, "
        "or its id is not BOT/LANE/SEQUENCE; there is nothing to rescue"
    )


def resume_workflow(url: str, workflow_id: str) -> Mapping[str, Any]:
    """Set a failed workflow back to pending and return it; one that waits is left as it is."""
    parsed = parse_url(url)
    require_database(parsed)
    engine = writer_engine(parsed)
    try:
        with translated_errors(parsed), engine.begin() as connection:
            found = _find(connection, parsed, workflow_id)
            if found["status"] in FINISHED:
                raise StoreError(f"workflow {workflow_id} is {found['status']}: nothing to resume")
            if found["status"] not in WAITING:
                _reset(connection, _prefix(parsed), workflow_id)
            return _find(connection, parsed, workflow_id)
    finally:
        engine.dispose()


def _find(connection: Connection, url: URL, workflow_id: str) -> Mapping[str, Any]:
    prefix = _prefix(url)
    schema = None if is_sqlite(url) else "dbos"
    if not inspect(connection).has_table("workflow_status", schema=schema):
        raise StoreError(f"database {describe(url)} has no workflows yet")
    row = (
        connection.execute(
            text(f"SELECT * FROM {prefix}workflow_status WHERE workflow_uuid = :id"),  # noqa: S608  # a constant
            {"id": workflow_id},
        )
        .mappings()
        .first()
    )
    if row is None:
        raise StoreError(
            f"database {describe(url)} has no workflow {workflow_id}; ids are BOT/LANE/SEQUENCE, "
            "and `market-maker status` shows each lane's last sequence"
        )
    outcome = (
        connection.execute(
            text(f"SELECT error FROM {prefix}workflow_output WHERE workflow_uuid = :id"),  # noqa: S608  # a constant
            {"id": workflow_id},
        ).scalar()
        if inspect(connection).has_table("workflow_output", schema=schema)
        else None
    )
    steps = connection.execute(
        text(
            "SELECT function_id, function_name, output IS NOT NULL AS has_output, error "  # noqa: S608  # a constant
            f"FROM {prefix}operation_outputs WHERE workflow_uuid = :id ORDER BY function_id"
        ),
        {"id": workflow_id},
    ).mappings()
    return {
        "workflow_id": workflow_id,
        "name": row["name"],
        "status": row["status"],
        "created_at": _instant(row["created_at"]),
        "updated_at": _instant(row["updated_at"]),
        "application_version": row["application_version"],
        "executor_id": row["executor_id"],
        "recovery_attempts": row["recovery_attempts"],
        "error": row["error"] or outcome,
        "steps": [
            {
                "number": step["function_id"],
                "name": step["function_name"],
                "has_output": bool(step["has_output"]),
                "error": step["error"],
            }
            for step in steps
        ],
    }


def _reset(connection: Connection, prefix: str, workflow_id: str) -> None:
    values = {"id": workflow_id, "now": int(datetime.now(UTC).timestamp() * 1000)}
    again = (
        "status = 'PENDING', error = NULL, output = NULL, owner_xid = NULL, queue_name = NULL, "
        "recovery_attempts = 0, completed_at = NULL, updated_at = :now"
    )
    statements = (
        f"UPDATE {prefix}workflow_status SET {again} WHERE workflow_uuid = :id",  # noqa: S608  # constants
        f"DELETE FROM {prefix}workflow_output WHERE workflow_uuid = :id",  # noqa: S608  # a constant
        f"DELETE FROM {prefix}operation_outputs WHERE workflow_uuid = :id AND error IS NOT NULL",  # noqa: S608  # a constant
    )
    for statement in statements:
        connection.execute(text(statement), values)


def _prefix(url: URL) -> str:
    """The workflow engine keeps a schema of its own where there are schemas."""
    return "" if is_sqlite(url) else "dbos."


def _instant(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
