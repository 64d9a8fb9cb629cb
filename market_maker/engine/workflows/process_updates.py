"""
The durable driver: one batch as one DBOS workflow of two or three journaled steps.

Only this package knows DBOS. Names are versioned: a step added, removed or reordered is a new
version, and the old one stays registered until no lane's head carries it.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from dbos import DBOS, DBOSConfig, Queue, Serializer, SetWorkflowID
from dbos import _serialization as dbos_serialization
from dbos._error import DBOSWorkflowIDInUseError
from dbos._queue import queue_worker_thread

from market_maker.domain.errors import StoreError
from market_maker.engine.crash import end_process
from market_maker.engine.procedures import Procedures
from market_maker.ports.driver import DriverDatabase, SequenceTaken
from market_maker.ports.failpoints import failpoint

PROTOCOL: Final = 1
RECOVERY_POLL_S: Final = 0.02
ERROR_KEY: Final = "$error"
LEGAL_HEADS: Final = frozenset({"PENDING", "ENQUEUED", "SUCCESS"})

Record = dict[str, Any]

_procedures: dict[str, Procedures] = {}


def forbid_pickle() -> None:
    """
    Make DBOS refuse pickles, whatever a row's serialization column says.

    A row whose column says py_pickle would be unpickled: code from a tampered file.
    """

    def refuse(_: str) -> Any:
        raise StoreError("a database row is pickled; this program never writes or reads pickles")

    dbos_serialization.DBOSDefaultSerializer.deserialize = refuse  # type: ignore[method-assign, assignment]


class StrictJson(Serializer):
    """JSON of plain values only; a domain object, a float in disguise or a pickle is an error."""

    def serialize(self, data: Any) -> str:
        """Text of str, int, bool, None, list and dict; an exception by name and message."""
        if isinstance(data, BaseException):
            data = {ERROR_KEY: type(data).__name__, "message": str(data)}
        options = (
            orjson.OPT_PASSTHROUGH_DATACLASS
            | orjson.OPT_PASSTHROUGH_DATETIME
            | orjson.OPT_PASSTHROUGH_SUBCLASS
        )
        return orjson.dumps(data, option=options).decode()

    def deserialize(self, serialized_data: str) -> Any:
        """Plain values again; an error comes back as a `StoreError` that names it."""
        value = orjson.loads(serialized_data)
        if isinstance(value, dict) and ERROR_KEY in value:
            return StoreError(f"{value[ERROR_KEY]}: {value['message']}")
        return value

    def name(self) -> str:
        """What the serialization column of a row says."""
        return "mm_json_v1"


@DBOS.workflow(name="process_updates.v1")
async def process_updates(batch: Record) -> Record:
    """Decide, place and record one journaled batch of updates."""
    try:
        return await _process(batch)
    except Exception as error:  # noqa: BLE001  # reason: crash-only, see engine/crash.py
        end_process(error, where="workflow")


async def _process(batch: Record) -> Record:
    failpoint("workflow.input_journaled")
    decided = await DBOS.run_step_async({"name": "decide.v1"}, _decide, batch)
    failpoint("workflow.after_decide")
    answered: list[Record] = []
    if decided["cancels"] or decided["places"]:
        answered = await DBOS.run_step_async({"name": "place.v1"}, _place, batch, decided)
        failpoint("workflow.after_place")
    recorded = await DBOS.run_step_async({"name": "record.v1"}, _record, batch, decided, answered)
    failpoint("workflow.before_outcome")
    return recorded


def _decide(batch: Record) -> Record:
    try:
        return _procedures[batch["bot"]].decide(batch)
    except BaseException as error:  # noqa: BLE001  # reason: crash-only, see engine/crash.py
        end_process(error, where="decide")


async def _place(batch: Record, decided: Record) -> list[Record]:
    try:
        return await _procedures[batch["bot"]].place(batch, decided)
    except BaseException as error:  # noqa: BLE001  # reason: crash-only, see engine/crash.py
        end_process(error, where="place")


def _record(batch: Record, decided: Record, answered: list[Record]) -> Record:
    try:
        recorded = _procedures[batch["bot"]].record(batch, decided, answered)
        failpoint("record.before_checkpoint")
        return recorded
    except BaseException as error:  # noqa: BLE001  # reason: crash-only, see engine/crash.py
        end_process(error, where="record")


@contextmanager
def _worker(dbos: DBOS, queue: Queue) -> Iterator[None]:
    """
    Work on a queue for as long as the block runs.

    DBOS itself would notice a new queue only at its next look, once a second, and then poll it for
    the rest of the process's life.
    """
    stop = threading.Event()
    arguments = (stop, dbos, queue)
    threading.Thread(
        target=queue_worker_thread, args=arguments, name="recovery", daemon=True
    ).start()
    try:
        yield
    finally:
        stop.set()


class DurableDriver:
    """Runs batches as DBOS workflows and finishes what an earlier process left."""

    def __init__(
        self,
        procedures: Procedures,
        *,
        bot: str,
        database: DriverDatabase,
        on_created: Callable[[], None],
    ) -> None:
        self._procedures = procedures
        self._on_created = on_created
        self._bot = bot
        self._database = database
        self._queue = ""

    @property
    def is_durable(self) -> bool:
        """Yes: every batch is journaled before anything comes of it."""
        return True

    async def launch(self, *, token: int) -> None:
        """Start DBOS inside the running loop; nothing starts by itself, the executor id is new."""
        for name in [name for name in os.environ if name.startswith("DBOS_")]:
            del os.environ[name]
        forbid_pickle()
        _procedures[self._bot] = self._procedures
        config: DBOSConfig = {
            "name": f"mm-{self._bot}"[:256],
            "application_version": f"{self._bot}-p{PROTOCOL}",
            "executor_id": f"{self._bot}-{token}-{os.getpid()}",
            "system_database_url": self._database.url,
            "serializer": StrictJson(),
            "enable_otlp": False,
            "log_level": "WARNING",
            "use_listen_notify": False,
            "scheduler_polling_interval_sec": 3600.0,
        }
        if self._database.engine is not None:
            config["system_database_engine"] = self._database.engine
        else:
            config["sys_db_pool_size"] = self._database.pool_size
        self._dbos = DBOS(config=config)
        # Queues are only for recovery: one that a dead process left must not be polled for ever.
        DBOS.listen_queues([])
        self._on_created()
        DBOS.launch()
        self._queue = f"{self._bot}-{token}"

    async def run(self, workflow_id: str, batch: Record) -> None:
        """Run one batch; raises `SequenceTaken` if the id exists already."""
        self._procedures.marks.add(workflow_id)
        try:
            with SetWorkflowID(workflow_id, workflow_id_reuse_policy="reject"):
                await process_updates(batch)
        except DBOSWorkflowIDInUseError as error:
            self._procedures.marks.discard(workflow_id)
            raise SequenceTaken(workflow_id) from error

    async def is_unfinished(self, workflow_id: str) -> bool:
        """Whether a workflow was started and has no outcome yet."""
        status = await DBOS.get_workflow_status_async(workflow_id)
        return status is not None and status.status in {"PENDING", "ENQUEUED"}

    async def find_input(self, workflow_id: str) -> Record | None:
        """The journaled input of one workflow, None if it does not exist."""
        status = await DBOS.get_workflow_status_async(workflow_id)
        if status is None:
            return None
        if status.status not in LEGAL_HEADS:
            raise StoreError(
                f"workflow {workflow_id} is {status.status}, which is never left behind; "
                f"it must not be skipped. Inspect it, then run: "
                f"market-maker db rescue {workflow_id} --config FILE"
            )
        inputs: Any = status.input
        if not isinstance(inputs, dict):
            raise StoreError(
                f"the journaled input of workflow {workflow_id} cannot be read: the database was "
                "changed by something else; restore a backup"
            )
        batch: Record = inputs["args"][0]
        return batch

    async def finish(self, workflow_id: str) -> None:
        """Complete a workflow that another process started, and wait for it."""
        failpoint("recovery.begin")
        queue = await DBOS.register_queue_async(self._queue, polling_interval_sec=RECOVERY_POLL_S)
        with _worker(self._dbos, queue):
            handle = await DBOS.resume_workflow_async(workflow_id, queue_name=self._queue)
            await handle.get_result(polling_interval_sec=RECOVERY_POLL_S)
        await DBOS.delete_queue_async(self._queue)
        failpoint("recovery.end")

    async def close(self) -> None:
        """Stop DBOS's threads."""
        _procedures.pop(self._bot, None)
        DBOS.destroy()
