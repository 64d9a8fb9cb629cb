"""The machine's clocks."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The `Clock` of a real process."""

    def now(self) -> datetime:
        """Aware UTC wall time."""
        return datetime.now(UTC)

    def boottime(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
