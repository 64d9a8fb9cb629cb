"""
The hash chain of the journal.

Each row's `chain` is the BLAKE2b-256 of the previous row's chain and this row's other fields, so
that a row changed, removed or inserted later breaks every chain digest after it. A lane's first row
follows `GENESIS`. The newest row of a lane must never be removed: the next one is chained to it.
"""

import hashlib
from typing import Final

from market_maker.adapters.store.rows import to_json
from market_maker.adapters.store.types import to_instant_text
from market_maker.ports.store import JournalEntry

GENESIS: Final = "0" * 64


def chain_digest(previous: str, bot: str, entry: JournalEntry) -> str:
    """Return the hex digest of `previous` followed by the row as JSON with sorted keys."""
    content = to_json(
        {
            "bot": bot,
            "lane": entry.lane,
            "sequence": entry.sequence,
            "workflow_id": entry.workflow_id,
            "settings_version": entry.settings_version,
            "now": to_instant_text(entry.now),
            "update_count": entry.update_count,
            "input_digest": entry.input_digest,
            "decision_digest": entry.decision_digest,
            "outcomes_digest": entry.outcomes_digest,
            "state_digest": entry.state_digest,
        }
    )
    return hashlib.blake2b((previous + content).encode(), digest_size=32).hexdigest()
