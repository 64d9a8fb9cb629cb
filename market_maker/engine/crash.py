"""
Crash-only ends: what is unexpected ends the process, and the next process completes the work.

An exception that left a step would be journaled as the step's final result and the workflow would
never run again; a dead process leaves it pending, and recovery finishes it.
"""

import os
import sys
from typing import Final, NoReturn

import structlog

from market_maker.domain.errors import Fenced

EXIT_CRASHED: Final = 70
EXIT_FENCED: Final = 5

_log = structlog.stdlib.get_logger(__name__)


def end_process(error: BaseException, *, where: str) -> NoReturn:
    """Log the error and end the process at once: 5 if another process took over, else 70."""
    code = EXIT_FENCED if isinstance(error, Fenced) else EXIT_CRASHED
    _log.error(
        "fenced" if code == EXIT_FENCED else "crashed",
        where=where,
        error=f"{type(error).__name__}: {error}",
        exc_info=error if code == EXIT_CRASHED else None,
        next="start the same command again: it resumes exactly here",
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
