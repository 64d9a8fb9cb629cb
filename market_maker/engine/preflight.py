"""
What must be true before the first request: our books and the venue belong together.

An empty database beside a venue that holds orders or fills of this bot's tag is a lost database:
trading on would double the grid. It is refused unless the operator asks for a rebuild.
"""

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

from market_maker.domain.errors import PreflightRefused
from market_maker.domain.fill import Fill, Side
from market_maker.domain.instrument import Instrument, InstrumentKind
from market_maker.domain.order import CancelRequest, OrderReport
from market_maker.engine.deciding.commands import rebuild_argument
from market_maker.engine.settings import EngineSettings
from market_maker.ports.exchange import Exchange
from market_maker.ports.store import Store


async def check_books(
    store: Store,
    exchange: Exchange,
    settings: EngineSettings,
    *,
    is_rebuild: bool,
    cancel: Callable[[CancelRequest], Awaitable[object]],
) -> dict[str, str]:
    """
    Return the rebuild of each symbol that needs one; empty in the usual case.

    A rebuild first cancels this bot's open orders, so that the position it reads stands still.
    Raises `PreflightRefused` if the database was lost and no rebuild was asked for, or if a rebuild
    was asked for and the database is not empty.
    """
    if await store.has_journal():
        if is_rebuild:
            raise PreflightRefused(
                "--rebuild-from-exchange is for a lost database, but this one has a journal; "
                "run without it"
            )
        return {}
    rebuilds = {}
    for instrument in await exchange.fetch_instruments(settings.symbols):
        orders = await _own_orders(exchange, instrument.symbol, settings.tag)
        for order in orders if is_rebuild else ():
            await cancel(
                CancelRequest(
                    client_order_id=order.client_order_id,
                    exchange_order_id=order.exchange_order_id,
                    symbol=order.symbol,
                )
            )
        found = await _find_traces(exchange, instrument, settings.tag, orders)
        if found:
            rebuilds[instrument.symbol] = found
    if rebuilds and not is_rebuild:
        raise PreflightRefused(
            f"the database is empty, but the venue has orders or fills of tag {settings.tag!r} on "
            f"{', '.join(rebuilds)}: the database was lost, or another bot uses this tag. To "
            "rebuild the grid from the venue's position run again with --rebuild-from-exchange"
        )
    return rebuilds


async def _own_orders(exchange: Exchange, symbol: str, tag: str) -> tuple[OrderReport, ...]:
    listed = await exchange.fetch_open_orders(symbol)
    return tuple(order for order in listed if order.client_order_id.startswith(tag))


async def _find_traces(
    exchange: Exchange, instrument: Instrument, tag: str, orders: Sequence[OrderReport]
) -> str:
    """What the venue remembers of this bot on one symbol, as a rebuild; "" if nothing."""
    symbol = instrument.symbol
    fills = [f for f in await exchange.fetch_fills(symbol) if f.client_order_id.startswith(tag)]
    if not fills and not orders:
        return ""
    quantity = _held(fills, instrument)
    if instrument.kind is not InstrumentKind.SPOT:
        positions = await exchange.fetch_positions()
        quantity = sum((p.quantity for p in positions if p.symbol == symbol), Decimal(0))
    price = fills[-1].price if fills else (orders[0].price or instrument.tick_size)
    last_trade_id = fills[-1].trade_id if fills else ""
    return rebuild_argument(quantity=quantity, price=price, last_trade_id=last_trade_id)


def _held(fills: list[Fill], instrument: Instrument) -> Decimal:
    """What own fills left on spot: bought minus sold minus fees taken in base."""
    held = Decimal(0)
    for fill in fills:
        held += fill.quantity if fill.side is Side.BUY else -fill.quantity
        if fill.fee_asset == instrument.base_asset:
            held -= fill.fee
    return held
