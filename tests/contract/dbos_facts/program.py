"""
A little DBOS application for characterisation tests: `program.py DATABASE ACTION [ARGUMENT]`.

It uses our engine options and serializer; each action is one process, and prints one JSON line.
"""

import asyncio
import json
import os
import sys
from typing import Any

from dbos import DBOS, SetWorkflowID
from dbos._error import DBOSWorkflowIDInUseError

from market_maker.adapters.store.engines import dbos_database
from market_maker.engine.workflows.process_updates import StrictJson, forbid_pickle

STEPS: list[str] = []


@DBOS.workflow(name="two_steps.v1")
async def two_steps(given: dict[str, Any]) -> dict[str, Any]:
    await DBOS.run_step_async({"name": "first.v1"}, step, "first")
    if given.get("die"):
        os._exit(9)
    if given.get("fail"):
        await DBOS.run_step_async({"name": "second.v1"}, fail)
    await DBOS.run_step_async({"name": "second.v1"}, step, "second")
    return given


def step(name: str) -> str:
    STEPS.append(name)
    return name


def fail() -> str:
    raise OSError("disk I/O error")


async def main(database: str, action: str, argument: str) -> dict[str, Any]:
    forbid_pickle()
    executor_id = "same" if action == "launch_same" else f"executor-{os.getpid()}"
    if action == "start_same":
        executor_id = "same"
    DBOS(
        config={
            "name": "facts",
            "application_version": "facts-p1",
            "executor_id": executor_id,
            "serializer": StrictJson(),
            "enable_otlp": False,
            "log_level": "CRITICAL",
            **dbos_database(database, 1),  # type: ignore[typeddict-item]
        }
    )
    DBOS.launch()
    try:
        return await act(action, argument)
    finally:
        DBOS.destroy()


async def act(action: str, argument: str) -> dict[str, Any]:
    if action in {"start", "start_same"}:
        try:
            with SetWorkflowID("w1", workflow_id_reuse_policy="reject"):
                result = await two_steps(json.loads(argument))
        except DBOSWorkflowIDInUseError:
            return {"in_use": True, "steps": STEPS}
        except OSError as error:
            return {"error": str(error), "steps": STEPS}
        return {"result": result, "steps": STEPS}
    if action == "resume":
        await DBOS.register_queue_async("mine", polling_interval_sec=0.02)
        handle = await DBOS.resume_workflow_async("w1", queue_name="mine")
        try:
            result = await handle.get_result(polling_interval_sec=0.02)
        except Exception as error:  # noqa: BLE001  # the test wants to see whatever DBOS stored
            return {"error": str(error), "steps": STEPS}
        return {"result": result, "steps": STEPS}
    await asyncio.sleep(float(argument or "0"))
    status = await DBOS.get_workflow_status_async("w1")
    is_readable = status is not None and isinstance(status.input, dict)
    state = None if status is None else status.status
    return {"status": state, "is_input_readable": is_readable, "steps": STEPS}


if __name__ == "__main__":
    url, verb, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(main(url, verb, rest[0] if rest else ""))))
