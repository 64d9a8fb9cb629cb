"""
What goes wrong, decided without a clock: the n-th draw of a kind is a hash of seed, session and n.

Two runs with the same seed meet the same faults whatever their timing, and a fault that is switched
on does not move the others. A new session (opening of the file) draws anew, so that a run that is
killed again and again does not meet the same first fault for ever.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from market_maker.adapters.exchange.simulated.settings import FaultSettings

DRAW_BYTES = 8
DRAW_RANGE: int = 2 ** (8 * DRAW_BYTES)


class Fault(StrEnum):
    """The kinds; requests meet the first group, updates the second."""

    REQUEST_LOST = "request_lost"
    ANSWER_LOST = "answer_lost"
    LATE_ANSWER = "late_answer"
    LATE_REQUEST = "late_request"
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"

    UPDATE_DUPLICATED = "update_duplicated"
    UPDATE_REORDERED = "update_reordered"
    UPDATE_DROPPED = "update_dropped"
    STREAM_CUT = "stream_cut"


UPDATE_FAULTS = (
    Fault.UPDATE_DUPLICATED,
    Fault.UPDATE_REORDERED,
    Fault.UPDATE_DROPPED,
    Fault.STREAM_CUT,
)


class Faults:
    """Draws faults; `force` makes the next ones certain."""

    def __init__(self, settings: FaultSettings, *, session: int) -> None:
        self._seed = f"{settings.seed}/{session}"
        self._ratios: Mapping[Fault, Decimal] = {
            kind: getattr(settings, f"{kind.value}_ratio") for kind in Fault
        }
        self._draws: Counter[str] = Counter()
        self._forced: Counter[tuple[Fault, str]] = Counter()

    @property
    def are_updates_safe(self) -> bool:
        """Whether no update can meet a fault just now, so that nobody needs to draw."""
        return not any(self._ratios[kind] or self._forced[kind, ""] for kind in UPDATE_FAULTS)

    def force(self, kind: Fault, count: int, *, about: str) -> None:
        """Let the next `count` draws of this kind hit; `about`: place, cancel or lookup."""
        self._forced[kind, "" if kind in UPDATE_FAULTS else about] += count

    def hits(self, kind: Fault, about: str = "") -> bool:
        """Draw: whether this kind of fault happens now to what `about` names."""
        if self._forced[kind, about]:
            self._forced[kind, about] -= 1
            return True
        ratio = self._ratios[kind]
        if not ratio:
            return False
        return self._draw(f"{kind}/{about}") < int(ratio * DRAW_RANGE)

    def is_half(self, about: str) -> bool:
        """Draw one of two halves."""
        return self._draw(f"half/{about}") < DRAW_RANGE // 2

    def _draw(self, name: str) -> int:
        number = self._draws[name]
        self._draws[name] += 1
        text = f"{self._seed}/{name}/{number}"
        return int.from_bytes(
            hashlib.blake2b(text.encode(), digest_size=DRAW_BYTES).digest(), "big"
        )
