"""Time, told to the engine from outside."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for records and a clock that also counts sleep for leases."""

    def now(self) -> datetime:
        """Aware UTC wall time."""
        ...

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME: monotonic, and it runs on while the machine sleeps."""
        ...
