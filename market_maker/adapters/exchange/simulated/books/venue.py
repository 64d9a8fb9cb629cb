"""
The venue's state machine: requests and ticks in, orders, fills and balances out. No I/O, no clock.

Every request is checked completely before anything is changed, so a refusal leaves no trace. What
changes is collected in order of happening; `drain` hands it over to be stored, and only then may
it be told to anybody. The whole state follows from what is stored (open orders, totals, positions,
touch), so a killed process continues as if nothing had been.

Linear perpetuals: cross margin in the quote asset at `initial_margin_ratio` of the worst case of
position and orders, valued at order prices and cost. No funding and no liquidation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Context, Decimal, localcontext

from market_maker.adapters.exchange.simulated.books import errors
from market_maker.adapters.exchange.simulated.books.account import Account, spot_lock
from market_maker.adapters.exchange.simulated.books.checks import (
    check_filters,
    check_notional,
    check_shape,
)
from market_maker.adapters.exchange.simulated.books.matching import (
    Execution,
    SymbolBook,
    plan_resting,
    plan_taking,
)
from market_maker.adapters.exchange.simulated.books.orders import VenueOrder
from market_maker.adapters.exchange.simulated.sources.source import TopTick, TradeTick
from market_maker.domain.fill import Fill, Liquidity, Side
from market_maker.domain.instrument import Instrument, InstrumentKind
from market_maker.domain.order import (
    CancelRequest,
    OrderReport,
    OrderRequest,
    OrderState,
    OrderType,
    TimeInForce,
)

ZERO = Decimal(0)
ONE = Decimal(1)
EXACT = Context(prec=120)
"""Sums and products never reach it, so they are exact whatever the caller's context is."""

Report = OrderReport | Fill


@dataclass(slots=True)
class Changes:
    """
    What happened since the last `drain`.

    `orders` holds the newest version of each order that changed, `reports` what its owner is to be
    told, in order, each with the venue's time. `moved` are orders that only moved up in the queue:
    they are stored with the market's position, which brings them there again if it is lost.
    """

    orders: dict[str, VenueOrder] = field(default_factory=dict)
    moved: dict[str, VenueOrder] = field(default_factory=dict)
    reports: list[tuple[Report, datetime]] = field(default_factory=list)

    @property
    def fills(self) -> list[Fill]:
        """The executions among the reports."""
        return [report for report, _ in self.reports if isinstance(report, Fill)]


@dataclass(slots=True)
class Counters:
    """The numbers that the next order and the next trade get."""

    order: int = 1
    trade: int = 1


class Venue:
    """One account's orders on several books."""

    def __init__(
        self,
        books: Mapping[str, SymbolBook],
        account: Account,
        *,
        counters: Counters,
        margin_ratios: Mapping[str, Decimal],
    ) -> None:
        self.books = books
        self.account = account
        self.counters = counters
        self._margin_ratios = margin_ratios
        self._open: dict[str, VenueOrder] = {}
        self._open_by_client: dict[str, str] = {}
        self.pending = Changes()

    @property
    def has_changes(self) -> bool:
        """Whether `drain` would return anything that must be stored."""
        return bool(self.pending.orders)

    def drain(self) -> Changes:
        """Return what changed and begin anew."""
        changes = self.pending
        self.pending = Changes()
        return changes

    def restore(self, order: VenueOrder) -> None:
        """Rest a stored open order again."""
        with localcontext(EXACT):
            self._rest(order)
            self._lock(order, order.remaining_quantity)
            self._hold_margin(self.books[order.symbol].instrument)

    def open_orders(self, symbol: str) -> tuple[VenueOrder, ...]:
        """Return the resting orders of a symbol, oldest first."""
        book = self._book(symbol)
        return tuple(sorted((*book.buys, *book.sells), key=lambda order: order.sequence))

    def place(self, request: OrderRequest, at: datetime, *, is_foreign: bool = False) -> VenueOrder:
        """Accept and match an order, or raise `OrderRejected` and change nothing."""
        book = self._book(request.symbol)
        with localcontext(EXACT):
            check_shape(request, book.instrument)
            check_filters(request, book.instrument)
            self._check_place(book, request)
            reducible = self._reducible(book.instrument, request)
            executions = plan_taking(book, request.side, request.price, request.quantity)
            self._check_market(book, request, executions)
            self._check_funds(book, request, executions)
            order = self._accept(request, at, is_foreign=is_foreign)
            taken = min(sum((item.quantity for item in executions), ZERO), reducible)
            if request.time_in_force is TimeInForce.FOK and taken < request.quantity:
                return self._end(order, OrderState.EXPIRED, at, "fill or kill: not all was there")
            for execution in executions:
                order = self._take(book, order, execution, at)
            order = self._rest_or_expire(book, order, at)
            self._expire_reducers(book, at)
            return order

    def cancel(self, request: CancelRequest, at: datetime) -> VenueOrder:
        """Cancel an open order, or raise `UnknownOrder`."""
        order = self.find_open(request)
        if order is None:
            name = request.client_order_id or request.exchange_order_id
            raise errors.unknown_order(f"no open order {name} on {request.symbol}")
        with localcontext(EXACT):
            return self._end(order, OrderState.CANCELED, at, "")

    def find_open(self, request: CancelRequest) -> VenueOrder | None:
        """Return the open order that a cancel names, by our id or else by the venue's."""
        by_client = self._open_by_client.get(request.client_order_id, "")
        order = self._open.get(by_client or request.exchange_order_id)
        return order if order is not None and order.symbol == request.symbol else None

    def apply_trade(self, symbol: str, tick: TradeTick, at: datetime) -> None:
        """Let a trade of the tape fill what it reaches."""
        book = self.books[symbol]
        if tick.price <= book.best_buy:
            self._fill_resting(book, Side.BUY, tick, at)
        if tick.price >= book.best_sell:
            self._fill_resting(book, Side.SELL, tick, at)
        book.observe_trade(tick)

    def apply_top(self, symbol: str, tick: TopTick) -> None:
        """Move the market's best bid and ask; that alone fills nothing."""
        self.books[symbol].observe_top(tick)

    # --- requests ---

    def _book(self, symbol: str) -> SymbolBook:
        book = self.books.get(symbol)
        if book is None:
            raise errors.unknown_symbol(symbol)
        return book

    def _check_place(self, book: SymbolBook, request: OrderRequest) -> None:
        if request.client_order_id in self._open_by_client:
            raise errors.duplicate(request.client_order_id)
        if len(book.buys) + len(book.sells) >= book.instrument.order_count_max:
            raise errors.max_num_orders(book.instrument)
        best = book.best_against(request.side)
        if request.post_only and best is not None and request.price is not None:
            crosses = request.price >= best if request.side is Side.BUY else request.price <= best
            if crosses:
                raise errors.would_take(request.price, best)

    def _check_market(
        self, book: SymbolBook, request: OrderRequest, executions: list[Execution]
    ) -> None:
        if request.type is OrderType.MARKET and executions:
            notional = executions[0].price * request.quantity
            check_notional(notional, request, book.instrument)

    def _check_funds(
        self, book: SymbolBook, request: OrderRequest, executions: list[Execution]
    ) -> None:
        instrument = book.instrument
        if instrument.kind is InstrumentKind.LINEAR:
            self._check_margin(book, request, executions)
            return
        parts = [(execution.price, execution.quantity) for execution in executions]
        if request.price is not None:
            parts = [(request.price, request.quantity)]
        locks = [spot_lock(instrument, request.side, *part) for part in parts]
        for asset in {asset for asset, _ in locks}:
            needed = sum((amount for _, amount in locks), ZERO)
            free = self.account.free(asset)
            if needed > free:
                raise errors.insufficient_balance(asset, needed, free)

    def _check_margin(
        self, book: SymbolBook, request: OrderRequest, executions: list[Execution]
    ) -> None:
        if request.reduce_only:
            return
        instrument = book.instrument
        notional = sum((item.price * item.quantity for item in executions), ZERO)
        if request.price is not None:
            notional = request.price * request.quantity
        held = self.account.margin(instrument.symbol)
        extra = self._margin_for(book, {request.side: notional}) - held
        free = self.account.free(instrument.quote_asset) + self._unrealized(instrument.quote_asset)
        if extra > 0 and extra > free:
            raise errors.insufficient_balance(instrument.quote_asset, extra, free)

    def _reducible(self, instrument: Instrument, request: OrderRequest) -> Decimal:
        if not request.reduce_only or instrument.kind is InstrumentKind.SPOT:
            return request.quantity
        reducible = self._open_quantity(instrument, request.side)
        if not reducible:
            raise errors.reduce_only("there is no position to reduce")
        return min(request.quantity, reducible)

    def _open_quantity(self, instrument: Instrument, side: Side) -> Decimal:
        """Return what an order of `side` could close of the position."""
        return max(-side.sign * self.account.position(instrument.symbol).quantity, ZERO)

    # --- the life of an order ---

    def _accept(self, request: OrderRequest, at: datetime, *, is_foreign: bool) -> VenueOrder:
        sequence = self.counters.order
        self.counters.order += 1
        order = VenueOrder(
            sequence=sequence,
            client_order_id=request.client_order_id,
            exchange_order_id=str(sequence),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            price=request.price,
            quantity=request.quantity,
            time_in_force=request.time_in_force,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            state=OrderState.OPEN,
            created_at=at,
            updated_at=at,
            is_foreign=is_foreign,
        )
        self._lock(order, order.quantity)
        self._note(order)
        self.pending.reports.append((order.to_report(), at))
        return order

    def _take(
        self, book: SymbolBook, order: VenueOrder, execution: Execution, at: datetime
    ) -> VenueOrder:
        price, quantity = execution.price, execution.quantity
        if self._is_capped(order):
            reducible = self._open_quantity(book.instrument, order.side)
            # A trade with an own order moves no position, so only its sign bounds that.
            is_bounded = execution.against is None or not reducible
            quantity = min(quantity, reducible) if is_bounded else quantity
        if quantity <= 0:
            return order
        trade_id = self._next_trade_id()
        if execution.against is None:
            book.consume(order.side, price, quantity)
        else:
            # The resting order may have changed since the plan: its newest version trades.
            resting = self._open[execution.against.exchange_order_id]
            self._fill(resting, price, quantity, Liquidity.MAKER, trade_id=trade_id, at=at)
        return self._fill(order, price, quantity, Liquidity.TAKER, trade_id=trade_id, at=at)

    def _rest_or_expire(self, book: SymbolBook, order: VenueOrder, at: datetime) -> VenueOrder:
        if order.state is OrderState.FILLED:
            return order
        rests = order.type is OrderType.LIMIT and order.time_in_force is TimeInForce.GTC
        if not rests:
            return self._end(order, OrderState.EXPIRED, at, "nothing more was there to take")
        if self._is_capped(order) and not self._open_quantity(book.instrument, order.side):
            return self._end(order, OrderState.EXPIRED, at, "the position is closed")
        order = replace(order, ahead_quantity=book.ahead_of(order.side, order.limit))
        self._rest(order)
        self._note(order)
        self._hold_margin(book.instrument)
        return order

    def _fill_resting(self, book: SymbolBook, side: Side, tick: TradeTick, at: datetime) -> None:
        with localcontext(EXACT):
            fills, moves = plan_resting(book.orders(side), side, tick)
            for order, ahead_quantity in moves:
                moved = replace(order, ahead_quantity=ahead_quantity)
                self._open[order.exchange_order_id] = moved
                self.pending.moved[order.exchange_order_id] = moved
                book.replace(moved)
            for planned, quantity in fills:
                self._fill_maker(book, self._open[planned.exchange_order_id], quantity, at)
            if fills:
                self._expire_reducers(book, at)

    def _fill_maker(
        self, book: SymbolBook, order: VenueOrder, quantity: Decimal, at: datetime
    ) -> None:
        if self._is_capped(order):
            quantity = min(quantity, self._open_quantity(book.instrument, order.side))
        if quantity > 0:
            trade_id = self._next_trade_id()
            self._fill(order, order.limit, quantity, Liquidity.MAKER, trade_id=trade_id, at=at)

    def _expire_reducers(self, book: SymbolBook, at: datetime) -> None:
        """End the reduce-only orders that have nothing left to reduce."""
        if book.instrument.kind is InstrumentKind.SPOT:
            return
        for order in (*book.buys, *book.sells):
            if order.reduce_only and not self._open_quantity(book.instrument, order.side):
                self._end(order, OrderState.EXPIRED, at, "the position is closed")

    def _fill(
        self,
        order: VenueOrder,
        price: Decimal,
        quantity: Decimal,
        liquidity: Liquidity,
        *,
        trade_id: str,
        at: datetime,
    ) -> VenueOrder:
        cumulative = order.cumulative_quantity + quantity
        is_done = cumulative == order.quantity
        filled = replace(
            order,
            cumulative_quantity=cumulative,
            ahead_quantity=ZERO,
            state=OrderState.FILLED if is_done else OrderState.PARTIALLY_FILLED,
            updated_at=at,
        )
        instrument = self.books[order.symbol].instrument
        self._lock(order, -order.remaining_quantity)
        self._lock(filled, filled.remaining_quantity)
        fee, fee_asset = self.account.settle(
            instrument,
            order.side,
            price,
            quantity,
            liquidity=liquidity,
            asset_price=self._price_of,
        )
        self._update(filled)
        fill = Fill(
            trade_id=trade_id,
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            quantity=quantity,
            fee=fee,
            fee_asset=fee_asset,
            liquidity=liquidity,
            exchange_at=at,
        )
        self.pending.reports.append((fill, at))
        self.pending.reports.append((filled.to_report(), at))
        return filled

    def _end(self, order: VenueOrder, state: OrderState, at: datetime, reason: str) -> VenueOrder:
        ended = replace(order, state=state, reason=reason, updated_at=at)
        self._lock(order, -order.remaining_quantity)
        self._update(ended)
        self.pending.reports.append((ended.to_report(), at))
        return ended

    def _rest(self, order: VenueOrder) -> None:
        self._open[order.exchange_order_id] = order
        self._open_by_client[order.client_order_id] = order.exchange_order_id
        self.books[order.symbol].add(order)

    def _update(self, order: VenueOrder) -> None:
        """Note a new version, and keep the books right if the order rests on them."""
        self._note(order)
        book = self.books[order.symbol]
        if order.exchange_order_id in self._open:
            self._open[order.exchange_order_id] = order
            book.replace(order)
            if not order.is_open:
                del self._open[order.exchange_order_id]
                del self._open_by_client[order.client_order_id]
        self._hold_margin(book.instrument)

    def _note(self, order: VenueOrder) -> None:
        self.pending.orders[order.exchange_order_id] = order

    def _next_trade_id(self) -> str:
        trade_id = str(self.counters.trade)
        self.counters.trade += 1
        return trade_id

    # --- money ---

    def _is_capped(self, order: VenueOrder) -> bool:
        """Whether the position bounds what the order may trade."""
        return order.reduce_only and not self._is_spot(order)

    def _is_spot(self, order: VenueOrder) -> bool:
        return self.books[order.symbol].instrument.kind is InstrumentKind.SPOT

    def _lock(self, order: VenueOrder, quantity: Decimal) -> None:
        """Lock what `quantity` of a spot order needs; a negative quantity unlocks."""
        if order.price is not None and self._is_spot(order):
            instrument = self.books[order.symbol].instrument
            self.account.lock(*spot_lock(instrument, order.side, order.price, quantity))

    def _hold_margin(self, instrument: Instrument) -> None:
        if instrument.kind is InstrumentKind.LINEAR:
            amount = self._margin_for(self.books[instrument.symbol], {})
            self.account.set_margin(instrument.symbol, instrument.quote_asset, amount)

    def _margin_for(self, book: SymbolBook, extra: Mapping[Side, Decimal]) -> Decimal:
        """Return the margin of position and orders at their worst, with `extra` notional added."""
        cost = self.account.position(book.instrument.symbol).cost
        worst = abs(cost)
        for side in Side:
            notional = extra.get(side, ZERO)
            for order in book.orders(side):
                if order.price is not None and not order.reduce_only:
                    notional += order.price * order.remaining_quantity
            worst = max(worst, side.sign * cost + notional)
        return worst * self._margin_ratios[book.instrument.symbol]

    def _unrealized(self, quote_asset: str) -> Decimal:
        """Return the open profit of every linear position in `quote_asset`, at the last price."""
        total = ZERO
        for symbol, position in self.account.positions.items():
            book = self.books.get(symbol)
            if book is None or book.instrument.quote_asset != quote_asset:
                continue
            if book.touch.last_price is not None:
                total += position.quantity * book.touch.last_price - position.cost
        return total

    def _price_of(self, asset: str, quote_asset: str) -> Decimal:
        """Return the last price of an asset that fees are paid in; one where it is not listed."""
        for book in self.books.values():
            instrument = book.instrument
            if (instrument.base_asset, instrument.quote_asset) == (asset, quote_asset):
                return book.touch.last_price or ONE
        return ONE
