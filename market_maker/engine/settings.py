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
