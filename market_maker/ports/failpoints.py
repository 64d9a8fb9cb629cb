"""
Named instants at which a test may kill, stop or fail the process.

Crash safety can only be proven at exact instants. `MARKET_MAKER_FAILPOINT=name:action[:nth]` arms
one: `kill` (SIGKILL), `stop` (SIGSTOP) or `error` (raise `FailpointError`) at the nth passage,
once. Unarmed, a passage costs one dictionary look-up.
"""

import os
import signal
import threading
from dataclasses import dataclass

VARIABLE = "MARKET_MAKER_FAILPOINT"


class FailpointError(OSError):
    """The error that an armed failpoint raises, an I/O error to whoever sees it."""


@dataclass(slots=True)
class _Armed:
    action: str
    remaining: int


def failpoint(name: str) -> None:
    """Pass a named instant; does nothing unless a test armed it."""
    armed = _ARMED.get(name)
    if armed is None:
        return
    armed.remaining -= 1
    if armed.remaining:
        return
    del _ARMED[name]
    if armed.action == "error":
        raise FailpointError(f"failpoint {name}")
    # To this very thread: a stop sent to the process lets its sender run on for a moment.
    signal.pthread_kill(
        threading.get_ident(), signal.SIGSTOP if armed.action == "stop" else signal.SIGKILL
    )


def _parse(text: str) -> dict[str, _Armed]:
    armed: dict[str, _Armed] = {}
    for part in filter(None, text.split(",")):
        name, action, *nth = part.split(":")
        if action not in {"kill", "stop", "error"}:
            raise ValueError(f"{VARIABLE}: {action!r} is not kill, stop or error")
        armed[name] = _Armed(action, int(nth[0]) if nth else 1)
    return armed


_ARMED = _parse(os.environ.get(VARIABLE, ""))
