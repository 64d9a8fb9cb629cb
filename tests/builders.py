"""Values with defaults for tests: name only what the test is about."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from market_maker.domain.events import Allowance
from market_maker.domain.fill import Fill, Liquidity, Side
from market_maker.domain.instrument import Instrument, InstrumentKind
from market_maker.domain.intents import PlaceIntent
from market_maker.domain.order import (
    Order,
    OrderReport,
    OrderState,
    OrderType,
    Purpose,
    TimeInForce,
)
from market_maker.domain.position import Position
from market_maker.domain.quote import Market
from market_maker.domain.risk.gate import GateContext
from market_maker.domain.risk.limits import RiskCounters, RiskLimits
from market_maker.domain.strategies.base import PlanContext
from market_maker.domain.strategies.grid import GridMode, GridSettings

NOW: Final = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
SYMBOL: Final = "BTC/USDT"


def at(seconds: float) -> datetime:
    """The instant so many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def dec(value: str | int | Decimal) -> Decimal:
    """A decimal from what reads best."""
    return Decimal(value)


def an_instrument(**overrides: Any) -> Instrument:
    values: dict[str, Any] = {
        "symbol": SYMBOL,
        "base_asset": "BTC",
        "quote_asset": "USDT",
        "kind": InstrumentKind.SPOT,
        "tick_size": Decimal("0.01"),
        "lot_size": Decimal("0.001"),
        "min_notional": Decimal(5),
        "quantity_min": Decimal("0.001"),
        "maker_fee_ratio": Decimal("0.001"),
        "taker_fee_ratio": Decimal("0.001"),
        "order_count_max": 200,
        "fee_asset": "USDT",
    }
    return Instrument(**(values | overrides))


def an_order(**overrides: Any) -> Order:
    """An OPEN opening buy of 1 at 100; strings and ints become decimals."""
    values: dict[str, Any] = {
        "client_order_id": "o1",
        "symbol": SYMBOL,
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "price": Decimal(100),
        "quantity": Decimal(1),
        "time_in_force": TimeInForce.GTC,
        "post_only": True,
        "reduce_only": False,
        "purpose": Purpose.OPENING,
        "slot": "100",
        "state": OrderState.OPEN,
        "workflow_id": "bot/0/1",
        "sequence": 1,
        "changed_sequence": 1,
        "correlation_id": "round-1",
        "causation_id": "update-1",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Order(**(values | _decimals(overrides)))


def a_fill(**overrides: Any) -> Fill:
    """A maker buy of 1 at 100 without a fee; strings and ints become decimals."""
    values: dict[str, Any] = {
        "trade_id": "t1",
        "client_order_id": "o1",
        "exchange_order_id": "x1",
        "symbol": SYMBOL,
        "side": Side.BUY,
        "price": Decimal(100),
        "quantity": Decimal(1),
        "fee": Decimal(0),
        "fee_asset": "USDT",
        "liquidity": Liquidity.MAKER,
        "exchange_at": NOW,
    }
    return Fill(**(values | _decimals(overrides)))


def a_fill_of(order: Order, quantity: str | int | Decimal | None = None, **overrides: Any) -> Fill:
    """A fill of the order at its price, the rest of it by default."""
    values: dict[str, Any] = {
        "trade_id": f"{order.client_order_id}-{len(order.trade_ids) + 1}",
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "price": order.price or Decimal(100),
        "quantity": order.quantity - order.filled_quantity if quantity is None else quantity,
    }
    return a_fill(**(values | overrides))


def a_report(order: Order, state: OrderState, **overrides: Any) -> OrderReport:
    """What the venue might say of the order."""
    values: dict[str, Any] = {
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id or f"x-{order.client_order_id}",
        "symbol": order.symbol,
        "side": order.side,
        "price": order.price,
        "quantity": order.quantity,
        "cumulative_quantity": order.cumulative_quantity,
        "state": state,
    }
    return OrderReport(**(values | _decimals(overrides)))


def a_market(
    price: str | int | Decimal | None = 100,
    *,
    bid: str | int | Decimal | None = None,
    ask: str | int | Decimal | None = None,
    **overrides: Any,
) -> Market:
    return replace(
        Market(
            bid=None if bid is None else Decimal(bid),
            ask=None if ask is None else Decimal(ask),
            last_price=None if price is None else Decimal(price),
            exchange_at=NOW,
            updated_at=NOW,
        ),
        **overrides,
    )


def a_position(quantity: str | int = 0, entry: str | int = 0, **overrides: Any) -> Position:
    return replace(
        Position(symbol=SYMBOL, quantity=Decimal(quantity), average_entry_price=Decimal(entry)),
        **overrides,
    )


def an_allowance(**overrides: Any) -> Allowance:
    values: dict[str, Any] = {
        "exposure_notional_quote_max": Decimal(1_000_000),
        "order_count_max": 100,
    }
    return Allowance(**(values | _decimals(overrides)))


def grid_settings(**overrides: Any) -> GridSettings:
    """A long grid, interval 1, orders of 1 base, three levels a side, anchored at 100."""
    values: dict[str, Any] = {
        "mode": GridMode.LONG,
        "interval_quote": Decimal(1),
        "order_quantity_base": Decimal(1),
        "buy_levels_max": 3,
        "sell_levels_max": 3,
        "anchor": Decimal(100),
    }
    return GridSettings(**(values | overrides))


def a_plan_context(
    price: str | int | Decimal | None = 100,
    *,
    orders: Iterable[Order] = (),
    **overrides: Any,
) -> PlanContext:
    values: dict[str, Any] = {
        "instrument": an_instrument(),
        "market": a_market(price),
        "now": NOW,
        "orders": {order.client_order_id: order for order in orders},
        "allowance": an_allowance(),
        "is_opening_allowed": True,
        "round_id": "bot/0/1",
    }
    return PlanContext(**(values | overrides))


def an_intent(**overrides: Any) -> PlaceIntent:
    """An opening buy of 1 at 100."""
    values: dict[str, Any] = {
        "symbol": SYMBOL,
        "side": Side.BUY,
        "price": Decimal(100),
        "quantity": Decimal(1),
        "purpose": Purpose.OPENING,
        "slot": "100",
    }
    return PlaceIntent(**(values | _decimals(overrides)))


def risk_limits(**overrides: Any) -> RiskLimits:
    values: dict[str, Any] = {
        "order_notional_quote_max": Decimal(10_000),
        "exposure_notional_quote_max": Decimal(1_000_000),
    }
    return RiskLimits(**(values | overrides))


def a_gate_context(
    *, orders: Iterable[Order] | Mapping[str, Order] = (), **overrides: Any
) -> GateContext:
    known = orders if isinstance(orders, Mapping) else {o.client_order_id: o for o in orders}
    values: dict[str, Any] = {
        "instrument": an_instrument(),
        "limits": risk_limits(),
        "market": a_market(100),
        "position": a_position(),
        "orders": known,
        "allowance": an_allowance(),
        "counters": RiskCounters(),
        "symbols_allowed": (SYMBOL,),
        "now": NOW,
    }
    return GateContext(**(values | overrides))


_NUMBERS: Final = frozenset(
    {
        "price",
        "quantity",
        "fee",
        "cumulative_quantity",
        "filled_quantity",
        "exposure_notional_quote_max",
    }
)


def _decimals(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Decimal(value) if name in _NUMBERS and isinstance(value, str | int) else value
        for name, value in values.items()
    }
