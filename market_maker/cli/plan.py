"""`plan`: the exact ladder before it trades, what it needs and what it may cost."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

import typer

from market_maker import bootstrap
from market_maker.cli.options import ConfigOption, JsonOption, SymbolOption
from market_maker.cli.output import write_json, write_table, write_text
from market_maker.config.loader import load_settings
from market_maker.config.settings import Settings
from market_maker.config.trading import SymbolSettings
from market_maker.domain.errors import ConfigError, PreflightRefused
from market_maker.domain.strategies.preflight import LadderReport, check_ladder
from market_maker.domain.symbol import SymbolState

LEVEL_COLUMNS: Final = ("side", "price", "quantity", "notional", "closing_price", "profit_quote")


def plan(
    config: ConfigOption,
    price: Annotated[
        str,
        typer.Option(
            "--price",
            metavar="P",
            help="Plan at this price, not at the last one seen or the first of the market.",
        ),
    ] = "",
    symbol: SymbolOption = "",
    json: JsonOption = False,
) -> None:
    """
    Show the exact ladder, the capital it needs, its worst case and the profit of a round.

    Exits with 3 if these settings would be refused, and says why.

    For example:

      market-maker plan --config configs/paper.yaml

      market-maker plan --config configs/paper.yaml --price 60000 --json
    """
    settings = load_settings(config)
    chosen = _choose(settings, symbol)
    if price and len(chosen) > 1:
        raise typer.BadParameter("--price is for one symbol: name it with --symbol")
    given = _parse_price(price) if price else None
    states = asyncio.run(_recorded_states(settings))
    found = [_plan(settings, entry, given, states.get(entry.symbol)) for entry in chosen]
    if json:
        write_json({"plans": [to_record(report, source) for report, source in found]})
    else:
        for report, source in found:
            _write(report, source)
    violations = [
        f"{report.symbol}: {reason}" for report, _ in found for reason in report.violations
    ]
    if violations:
        raise PreflightRefused("; ".join(violations))


def check_first_start(settings: Settings, recorded: Iterable[SymbolState]) -> None:
    """
    Raise `PreflightRefused` where `plan` would, for symbols that have never traded.

    A market that names no price before it begins cannot be checked before it begins.
    """
    known = {state.symbol for state in recorded}
    violations = []
    for entry in settings.symbols:
        price = None if entry.symbol in known else bootstrap.first_price(settings, entry.symbol)
        if price is not None:
            report, _ = _plan(settings, entry, price, None)
            violations += [f"{entry.symbol}: {reason}" for reason in report.violations]
    if violations:
        raise PreflightRefused("; ".join(violations))


def to_record(report: LadderReport, price_source: str) -> dict[str, Any]:
    """Return the report as plain values; money is text."""
    return {
        "symbol": report.symbol,
        "price": _money(report.price),
        "price_source": price_source,
        "anchor": _money(report.anchor),
        "interval": _money(report.interval),
        "levels": [
            {name: _money(getattr(level, name)) for name in LEVEL_COLUMNS}
            for level in report.levels
        ],
        "capital_needed": {
            asset: _money(amount) for asset, amount in report.capital_needed.items()
        },
        "profit_per_round_quote": _money(report.profit_per_round_quote),
        "worst_cases": [
            {
                "price": _money(case.price),
                "inventory_base": _money(case.inventory_base),
                "notional_quote": _money(case.notional_quote),
                "loss_quote": _money(case.loss_quote),
            }
            for case in report.worst_cases
        ],
        "violations": list(report.violations),
        "is_acceptable": report.is_acceptable,
    }


def _choose(settings: Settings, symbol: str) -> list[SymbolSettings]:
    chosen = [entry for entry in settings.symbols if symbol in ("", entry.symbol)]
    if not chosen:
        known = ", ".join(entry.symbol for entry in settings.symbols)
        raise typer.BadParameter(f"--symbol {symbol} is not traded; known: {known}")
    return chosen


def _plan(
    settings: Settings, entry: SymbolSettings, given: Decimal | None, state: SymbolState | None
) -> tuple[LadderReport, str]:
    price, source = _price_of(settings, entry.symbol, given, state)
    report = check_ladder(
        bootstrap.strategy_settings(entry),
        bootstrap.configured_instruments(settings)[entry.symbol],
        price=price,
        anchor=state.strategy.memory.anchor if state is not None else None,
        limits=bootstrap.risk_limits(entry),
        # What a grid that trades already needed is in its orders and holdings.
        balances=settings.venue.balances if state is None else None,
    )
    return report, source


def _price_of(
    settings: Settings, symbol: str, given: Decimal | None, state: SymbolState | None
) -> tuple[Decimal, str]:
    if given is not None:
        return given, "given"
    if state is not None and state.market.price is not None:
        return state.market.price, "last seen"
    first = bootstrap.first_price(settings, symbol)
    if first is None:
        raise ConfigError(f"{symbol}: the market names no price; give one with --price")
    return first, "start of the market"


async def _recorded_states(settings: Settings) -> dict[str, SymbolState]:
    """What the bot recorded, if it has ever run here."""
    path = settings.database.sqlite_path
    if path is not None and not path.exists():
        return {}
    found, needed = bootstrap.current_schema(settings)
    if found != needed:
        return {}
    store = await bootstrap.open_store(settings, read_only=True)
    try:
        return {state.symbol: state for state in await store.fetch_symbol_states()}
    finally:
        await store.close()


def _parse_price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"--price was {text!r}; expected a number") from error
    if not price.is_finite() or price <= 0:
        raise typer.BadParameter(f"--price was {text!r}; expected a number above zero")
    return price


def _write(report: LadderReport, price_source: str) -> None:
    record = to_record(report, price_source)
    capital = ", ".join(f"{amount} {asset}" for asset, amount in record["capital_needed"].items())
    write_text(
        f"{report.symbol} at {record['price']} ({price_source}), anchor {record['anchor']}, "
        f"interval {record['interval']}"
    )
    write_table(
        LEVEL_COLUMNS, [[level[name] for name in LEVEL_COLUMNS] for level in record["levels"]]
    )
    write_text(f"capital needed: {capital or 'none'}")
    write_text(f"profit of a round after fees: {record['profit_per_round_quote']} quote")
    for case in record["worst_cases"]:
        write_text(
            f"worst case at {case['price']}: inventory {case['inventory_base']} for "
            f"{case['notional_quote']}, loss {case['loss_quote']}"
        )
    write_text("acceptable" if report.is_acceptable else "refused, see below")


def _money(value: Decimal | str) -> str:
    """Plain digits: no exponent, no trailing zeros that an arithmetic left behind."""
    if not isinstance(value, Decimal):
        return str(value)
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
