"""What the engine, not a decision, needs to know; and when a run ends by itself."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine, not a decision, needs to know."""

    bot: str
    tag: str
    symbols: tuple[str, ...]
    lane_count: int
    has_writer_turn: bool
    batch_updates_max: int
    batch_bytes_max: int
    price_updates_max: int
    order_updates_max: int
    place_wait: timedelta
    request_lifetime: timedelta
    settle_margin: timedelta
    reconcile_interval: timedelta
    snapshot_every: int
    lease_ttl: timedelta
    stop_timeout: timedelta
    is_cancel_on_exit: bool

    def to_limits(self) -> dict[str, int | str]:
        """Every bound on what the engine holds, sends and waits for, as `status` shows it."""
        return {
            "lanes_max": self.lane_count,
            "batch_updates_max": self.batch_updates_max,
            "batch_bytes_max": self.batch_bytes_max,
            "inbox_price_updates_max": self.price_updates_max,
            "inbox_order_updates_max": self.order_updates_max,
            "place_wait_s": _seconds(self.place_wait),
            "request_lifetime_s": _seconds(self.request_lifetime),
            "settle_margin_s": _seconds(self.settle_margin),
            "reconcile_interval_s": _seconds(self.reconcile_interval),
            "lease_ttl_s": _seconds(self.lease_ttl),
            "stop_timeout_s": _seconds(self.stop_timeout),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """
    When a run ends by itself; None means never.

    With `command_id` the run only carries out that command: nothing is quoted, and it ends when the
    command is done and, if `when_no_own_orders`, nothing of ours is left on `symbol` ("" is all).
    """

    after: timedelta | None = None
    updates_max: int | None = None
    command_id: str = ""
    symbol: str = ""
    when_no_own_orders: bool = False


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}"
