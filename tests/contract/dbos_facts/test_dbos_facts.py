"""
What we rely on in DBOS, observed: if an upgrade changes one of these, our protocol must be re-read.
"""

import base64
import json
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "facts.sqlite"


def run(database: Path, action: str, argument: Any = "") -> dict[str, Any]:
    text = argument if isinstance(argument, str) else json.dumps(argument)
    command = [sys.executable, str(PROGRAM), f"sqlite:///{database}", action, text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.strip().splitlines()
    answer: dict[str, Any] = json.loads(lines[-1]) if lines else {"stderr": done.stderr}
    return {**answer, "code": done.returncode}


def test_a_dead_process_leaves_its_workflow_pending_for_another_executor(database: Path) -> None:
    assert run(database, "start", {"die": True})["code"] == 9

    later = run(database, "wait", "2.5")

    assert later["status"] == "PENDING"
    assert later["steps"] == []


def test_resume_on_our_queue_completes_it_without_repeating_recorded_steps(database: Path) -> None:
    run(database, "start", {"die": True})
    stored = {"die": False, "kept": [1, "two", None]}
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE workflow_input SET inputs = ?",
            (json.dumps({"args": [stored], "kwargs": {}}),),
        )

    resumed = run(database, "resume")

    assert resumed["steps"] == ["second"]
    assert resumed["result"] == stored


def test_an_id_in_use_is_refused_instead_of_returning_the_old_workflow(database: Path) -> None:
    run(database, "start", {"number": 1})

    again = run(database, "start", {"number": 2})

    assert again["in_use"] is True
    assert again["steps"] == []


def test_an_exception_that_leaves_a_step_is_journaled_for_ever(database: Path) -> None:
    """Hence crash-only steps: this workflow never runs again, resume returns the old error."""
    first = run(database, "start", {"fail": True})
    assert "disk I/O error" in first["error"]

    resumed = run(database, "resume")

    assert "disk I/O error" in str(resumed)
    assert resumed["steps"] == []


def test_rows_name_our_serializer_and_hold_plain_json(database: Path) -> None:
    run(database, "start", {"number": 1})

    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT serialization FROM workflow_status").fetchall()
        inputs = connection.execute("SELECT inputs FROM workflow_input").fetchall()

    assert rows == [("mm_json_v1",)]
    assert json.loads(inputs[0][0])["args"] == [{"number": 1}]


def test_a_pickled_row_is_refused_and_its_code_never_runs(database: Path, tmp_path: Path) -> None:
    run(database, "start", {"die": True})
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (witness,)

    payload = base64.b64encode(pickle.dumps(Evil())).decode()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE workflow_status SET serialization = 'py_pickle'")
        connection.execute("UPDATE workflow_input SET inputs = ?", (payload,))

    answer = run(database, "wait")

    assert answer["is_input_readable"] is False
    assert not witness.exists()
