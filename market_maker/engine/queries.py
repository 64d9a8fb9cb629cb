"""
Read models: what the command line and the health server show; money and time as text.

The field names are a public contract.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from market_maker.domain.order import Order, OrderState
from market_maker.domain.position import Position, unrealized_pnl
from market_maker.domain.symbol import Incident, SymbolState
from market_maker.ports.store import Lease, Record, Store

Json = dict[str, Any]


async def read_status(store: Store, bot: str, limits: Mapping[str, int | str]) -> Json:
    """`status` from the tables alone: of a bot that runs, and of one that died."""
    rows = {row.symbol: row for row in await store.load_symbol_rows()}
    recorded = {state.symbol: state for state in await store.fetch_symbol_states()}
    states = [
        recorded.get(symbol, SymbolState(symbol=symbol, position=Position(symbol=symbol)))
        for symbol, row in rows.items()
        if row.is_configured or _is_left_over(recorded.get(symbol))
    ]
    return status_object(
        bot=bot,
        lease=await store.fetch_lease(),
        lanes=[(row.lane, row.sequence) for row in await store.fetch_lanes()],
        states=states,
        strategies={symbol: row.strategy for symbol, row in rows.items()},
        limits=limits,
    )


async def read_orders(
    store: Store, *, symbol: str = "", only_open: bool = False, limit: int = 0
) -> list[Json]:
    """`orders`, newest first; `limit` 0 is all."""
    found = await store.fetch_orders(symbol=symbol, only_open=only_open, limit=limit)
    return [order_object(order) for order in found]


async def read_fills(store: Store, *, symbol: str = "", limit: int = 0) -> list[Json]:
    """`fills`, newest first; `limit` 0 is all."""
    return [fill_object(fill) for fill in await store.fetch_fills(symbol=symbol, limit=limit)]


async def read_positions(store: Store, *, symbol: str = "") -> list[Json]:
    """`positions`: one row for each symbol ever recorded."""
    states = await store.fetch_symbol_states()
    return [
        {"symbol": state.symbol, **position_object(state)}
        for state in states
        if symbol in ("", state.symbol)
    ]


async def read_incidents(store: Store, *, only_open: bool = True) -> list[Json]:
    """`incidents`, newest first."""
    found = await store.fetch_incidents(only_open=only_open)
    return [incident_object(incident) for incident in found]


def status_object(
    *,
    bot: str,
    lease: Lease | None,
    lanes: Iterable[tuple[int, int]],
    states: Sequence[SymbolState],
    strategies: Mapping[str, str],
    limits: Mapping[str, int | str],
) -> Json:
    """`status`: lease, lanes, every symbol, and the bounds on what the engine holds."""
    return {
        "bot": bot,
        "lease": None
        if lease is None
        else {
            "holder": lease.holder,
            "token": lease.token,
            "expires_at": to_text(lease.expires_at),
        },
        "lanes": [{"lane": lane, "sequence": sequence} for lane, sequence in lanes],
        "symbols": [symbol_object(state, strategies.get(state.symbol, "")) for state in states],
        "incidents_open_count": sum(len(state.incidents) for state in states),
        "limits": dict(limits),
    }


def symbol_object(state: SymbolState, strategy: str) -> Json:
    """One symbol of `status`."""
    status = state.status
    return {
        "symbol": state.symbol,
        "strategy": strategy,
        "state": status.mode.value,
        "idle_reason": status.idle_reason,
        "position": position_object(state),
        "open_order_count": sum(1 for order in state.orders.values() if order.state.is_resting),
        "unknown_order_count": sum(
            1 for order in state.orders.values() if order.state is OrderState.UNKNOWN
        ),
        "foreign_order_count": status.foreign_order_count,
        "updates_processed_count": status.updates_processed_count,
        "updates_skipped_count": status.updates_skipped_count,
        "updates_malformed_count": status.updates_malformed_count,
        "intents_refused_count": status.intents_refused_count,
        "rounds_completed_count": state.strategy.memory.rounds_completed_count,
        "round_profit_quote": str(state.strategy.memory.round_profit_quote),
        "last_price": _maybe_text(state.market.price),
        "last_update_at": to_text(status.last_update_at),
    }


def position_object(state: SymbolState) -> Json:
    """A position with its unrealized PnL marked at the last price known."""
    position, price = state.position, state.market.price
    open_pnl = unrealized_pnl(position, price) if price is not None else None
    return {
        "quantity": str(position.quantity),
        "average_entry_price": str(position.average_entry_price),
        "realized_pnl": str(position.realized_pnl),
        "unrealized_pnl": _maybe_text(open_pnl),
        "fees_quote": str(position.fees_quote),
    }


def order_object(order: Order) -> Json:
    """One row of `orders`."""
    return {
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "price": _maybe_text(order.price),
        "quantity": str(order.quantity),
        "filled_quantity": str(order.filled_quantity),
        "state": order.state.value,
        "workflow_id": order.workflow_id,
        "created_at": to_text(order.created_at),
        "updated_at": to_text(order.updated_at),
    }


def fill_object(fill: Record) -> Json:
    """One row of `fills`."""
    names = ("trade_id", "client_order_id", "symbol", "side", "price", "quantity", "fee")
    instant = str(fill["exchange_at"]).replace("+00:00", "Z")
    return {name: fill[name] for name in (*names, "fee_asset", "liquidity")} | {
        "exchange_at": instant
    }


def incident_object(incident: Incident) -> Json:
    """One row of `incidents`."""
    return {
        "id": incident.id,
        "symbol": incident.symbol,
        "kind": incident.kind,
        "severity": incident.severity.value,
        "content": incident.content,
        "opened_at": to_text(incident.opened_at),
        "closed_at": to_text(incident.closed_at),
        "resolution": incident.resolution,
    }


def to_text(instant: datetime | None) -> str | None:
    """An instant as ISO 8601 UTC text."""
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")


def _is_left_over(state: SymbolState | None) -> bool:
    """Whether a symbol that is no longer configured still holds something."""
    return state is not None and bool(state.position.quantity or state.orders or state.incidents)


def _maybe_text(value: object) -> str | None:
    return None if value is None else str(value)
