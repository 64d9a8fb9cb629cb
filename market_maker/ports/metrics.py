"""What the running bot measures, and the port that it tells it through."""

from decimal import Decimal
from enum import StrEnum
from typing import Protocol

Number = int | float | Decimal


class Metric(StrEnum):
    """Every figure that the bot publishes; labels are named beside it."""

    # Counters
    UPDATES = "updates"  # symbol, kind
    UPDATES_SKIPPED = "updates_skipped"  # symbol
    UPDATES_REFUSED = "updates_refused"  # symbol, reason
    WORKFLOWS = "workflows"  # lane
    ORDERS = "orders"  # symbol, side, outcome
    REFUSALS = "refusals"  # symbol, rule
    FILLS = "fills"  # symbol, side, liquidity
    FILLED_NOTIONAL = "filled_notional_quote"  # symbol, side
    # Histograms
    BATCH_SIZE = "batch_size"  # lane
    STEP_LATENCY = "step_latency"  # step; seconds
    UPDATE_LATENCY = "update_latency"  # lane; seconds from received to recorded
    # Gauges
    POSITION = "position_quantity_base"  # symbol
    REALIZED_PNL = "realized_pnl_quote"  # symbol
    UNREALIZED_PNL = "unrealized_pnl_quote"  # symbol
    OPEN_ORDERS = "open_orders"  # symbol
    UNKNOWN_ORDERS = "unknown_orders"  # symbol
    INBOX_DEPTH = "inbox_depth"  # symbol
    INCIDENTS_OPEN = "incidents_open"  # none
    LEASE_AGE = "lease_age"  # none; seconds since the last renewal


class Metrics(Protocol):
    """Figures about the bot. Never blocks, never raises, keeps nothing that money depends on."""

    def count(self, name: Metric, value: Number = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: Metric, value: Number, **labels: str) -> None:
        """Put one observation into a histogram."""

    def gauge(self, name: Metric, value: Number, **labels: str) -> None:
        """Set a gauge to its present value."""
