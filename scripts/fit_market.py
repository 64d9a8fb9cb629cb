"""
Fits the market of the paper exchange to recorded tapes, and says how close it gets.

    python scripts/fit_market.py TRADES.csv.gz [--book BBO.csv.gz] [--name btcusdt_spot]
    python scripts/fit_market.py TRADES.csv.gz --compare [--svg docs/fitted-market.svg]

The first prints the parameters as YAML; the second, a table of the tape beside the generated market
with the parameters that the package has. numpy is needed here and nowhere in the package.
"""

import argparse
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from market_maker.adapters.exchange.simulated.settings import FittedSource, WithVolumeTicks
from market_maker.adapters.exchange.simulated.sources.alignment import estimate_book_offset_ms
from market_maker.adapters.exchange.simulated.sources.blocks import BlockSource
from market_maker.adapters.exchange.simulated.sources.fitted import FittedModel
from market_maker.adapters.exchange.simulated.sources.rows import read_book, read_trades
from market_maker.adapters.exchange.simulated.sources.source import TopTick, TradeTick
from market_maker.domain.fill import Side
from market_maker.domain.instrument import Instrument, InstrumentKind

Array = NDArray[np.float64]

RATIOS = (
    *(0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99),
    *(0.995, 0.999, 1),
)
WINDOWS_S = (0.1, 0.25, 0.5, 1, 2, 5)
SIDE_LAGS = (1, 2, 3, 5, 10, 20, 50, 100)
GENERATED_RUNS = 20
IMPACT_RATIO = 0.5


@dataclass
class Recording:
    """Trades and best bids and asks as arrays; times in seconds from the first trade."""

    at_s: Array
    price: Array
    quantity: Array
    sign: Array
    book_at_s: Array
    bid: Array
    bid_quantity: Array
    ask: Array
    ask_quantity: Array

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last trade."""
        return float(self.at_s[-1] - self.at_s[0])

    def orders(self) -> NDArray[np.int64]:
        """Indexes of each market order's first print: same millisecond and side are one order."""
        is_new = (np.diff(self.at_s) > 0) | (np.diff(self.sign) != 0)
        return np.flatnonzero(np.r_[True, is_new])

    def mid_before(self, at_s: Array) -> Array:
        """The mid just before each instant."""
        mid: Array = (self.bid + self.ask) / 2
        index = np.searchsorted(self.book_at_s, at_s, side="left") - 1
        return mid[np.clip(index, 0, len(mid) - 1)]


def main() -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description="Fit the paper exchange's market to a tape.")
    parser.add_argument("trades", type=Path, help="recorded trades, CSV or gzip CSV")
    parser.add_argument("--book", type=Path, help="best bid and ask; default: the file beside")
    parser.add_argument("--name", default="btcusdt_spot", help="name of the profile")
    parser.add_argument("--compare", action="store_true", help="compare with the generated market")
    parser.add_argument("--svg", type=Path, help="with --compare: draw both into this file")
    options = parser.parse_args()
    beside = options.trades.with_name(options.trades.name.replace(".trades.", ".bbo."))
    recording = load(options.trades, options.book or beside)
    if options.compare:
        compare(recording, options.name, options.svg)
    else:
        print(yaml.safe_dump({options.name: fit(recording)}, sort_keys=False, width=100))


def load(trades_path: Path, book_path: Path) -> Recording:
    """Read a tape; the book's times are aligned to the trades' clock."""
    offset_ms = estimate_book_offset_ms(trades_path, book_path)
    trades, book = list(read_trades(trades_path)), list(read_book(book_path))
    first_ms = trades[0].at_ms
    return Recording(
        at_s=np.array([(row.at_ms - first_ms) / 1000 for row in trades]),
        price=np.array([float(row.price) for row in trades]),
        quantity=np.array([float(row.quantity) for row in trades]),
        sign=np.array([float(row.taker_side.sign) for row in trades]),
        book_at_s=np.array([(row.at_ms + offset_ms - first_ms) / 1000 for row in book]),
        bid=np.array([float(row.bid) for row in book]),
        bid_quantity=np.array([float(row.bid_quantity) for row in book]),
        ask=np.array([float(row.ask) for row in book]),
        ask_quantity=np.array([float(row.ask_quantity) for row in book]),
    )


def fit(recording: Recording) -> dict[str, object]:
    """Return the parameters of `FittedProfile`."""
    starts = recording.orders()
    at_s, sign = recording.at_s[starts], recording.sign[starts]
    rate = len(starts) / recording.duration_s
    branching, decay = fit_clustering(at_s)
    fast, fast_stay, slow, slow_stay = fit_sides(sign)
    mid = recording.mid_before(at_s)
    moves = np.abs(np.diff(np.log(mid))) * 10_000
    moved = moves[moves > 0]
    per_s = volatility_bps(recording, 5.0) ** 2 / 5
    scale = float(np.sqrt(per_s / (rate * np.mean(moves**2))))
    spread_bps = (recording.ask - recording.bid) / recording.ask * 10_000
    tick = np.min(spread_bps)
    wide = spread_bps[spread_bps > 1.5 * tick]
    opened, wide_s = measure_wide(recording)
    opened = min(opened, len(moved))
    prints = np.diff(np.r_[starts, len(recording.at_s)]).astype(float)
    return {
        "orders_per_s": round(rate, 3),
        "branching_ratio": round(branching, 3),
        "decay_per_s": round(decay, 3),
        "side_fast_ratio": round(fast, 3),
        "side_fast_persistence": round(fast_stay, 4),
        "side_slow_ratio": round(slow, 3),
        "side_slow_persistence": round(slow_stay, 4),
        "move_ratio": round(len(moved) / len(moves), 4),
        "move_scale": round(scale, 4),
        "impact_ratio": IMPACT_RATIO,
        "wide_spread_ratio": round(opened / len(moved), 3),
        "wide_spread_s": round(wide_s / opened, 5),
        "move_bps": quantiles(moved),
        "wide_spread_bps": quantiles(wide),
        "prints_per_order": quantiles(prints, add=0.999),
        "trade_notional_quote": quantiles(recording.quantity * recording.price),
        "level_notional_quote": quantiles(recording.bid_quantity * recording.bid),
    }


def fit_clustering(at_s: Array) -> tuple[float, float]:
    """
    Fit a Hawkes process to the index of dispersion of counts over several windows.

    Over a window w it is 1 + (1/(1−n)² − 1)·(1 − (1−e^−κw)/(κw)) with κ = β(1−n).
    """
    measured = np.array([dispersion(at_s, window) for window in WINDOWS_S])
    windows = np.array(WINDOWS_S)
    best = (np.inf, 0.0, 0.0)
    for branching in np.arange(0.3, 0.96, 0.005):
        for kappa in np.geomspace(0.05, 100, 200):
            share = 1 - (1 - np.exp(-kappa * windows)) / (kappa * windows)
            model = 1 + (1 / (1 - branching) ** 2 - 1) * share
            error = float(np.sum(np.log(model / measured) ** 2))
            if error < best[0]:
                best = (error, float(branching), float(kappa / (1 - branching)))
    return best[1], best[2]


def fit_sides(sign: Array) -> tuple[float, float, float, float]:
    """Fit a²·p^k + b²·q^k to the autocorrelation of sides; return a, p, b, q."""
    measured = np.array([side_correlation(sign, lag) for lag in SIDE_LAGS])
    lags = np.array(SIDE_LAGS)
    best = (np.inf, 0.0, 0.0, 0.0, 0.0)
    for fast_life in np.geomspace(1.5, 12, 25):
        for slow_life in np.geomspace(15, 200, 25):
            basis = np.stack([np.exp(-lags / fast_life), np.exp(-lags / slow_life)], axis=1)
            weights = np.clip(np.linalg.lstsq(basis, measured, rcond=None)[0], 0, 1)
            error = float(np.sum((basis @ weights - measured) ** 2))
            if error < best[0]:
                stay = (float(np.exp(-1 / fast_life)), float(np.exp(-1 / slow_life)))
                best = (error, float(weights[0]), stay[0], float(weights[1]), stay[1])
    fast, slow = np.sqrt(best[1]), np.sqrt(best[3])
    scale = min(1.0, 0.98 / (fast + slow))
    return float(fast * scale), best[2], float(slow * scale), best[4]


def measure_wide(recording: Recording) -> tuple[int, float]:
    """Count how often the spread opens beyond the least, and for how many seconds in all."""
    spread = recording.ask - recording.bid
    is_wide = spread > 1.5 * np.min(spread)
    held_s = np.diff(np.r_[recording.book_at_s, recording.book_at_s[-1]])
    return int(np.sum(~is_wide[:-1] & is_wide[1:])), float(np.sum(held_s[is_wide]))


def dispersion(at_s: Array, window_s: float) -> float:
    """Variance over mean of the counts in windows of this length; 1 would be a Poisson process."""
    counts = np.bincount((at_s // window_s).astype(int))
    return float(counts.var() / counts.mean())


def side_correlation(sign: Array, lag: int) -> float:
    """Mean product of the sides of orders this far apart."""
    return float(np.mean(sign[:-lag] * sign[lag:]))


def volatility_bps(recording: Recording, window_s: float) -> float:
    """Standard deviation of the log return of the mid over the window, in bps."""
    grid = np.arange(recording.at_s[0], recording.at_s[-1], window_s)
    returns = np.diff(np.log(recording.mid_before(grid)))
    return float(np.std(returns) * 10_000)


def quantiles(values: Array, *, add: float = 0.0) -> list[list[float]]:
    """Return the table of quantiles, with the extremes pulled in so that no single value rules."""
    found = np.quantile(values, RATIOS) + add
    found[0], found[-1] = max(found[0], 1e-6), min(found[-1], found[-2] * 4)
    return [
        [ratio, float(f"{value:.4g}")]
        for ratio, value in zip(RATIOS, np.maximum.accumulate(found), strict=True)
    ]


def generate(profile: str, *, start_price: float, duration_s: float, seed: int) -> Recording:
    """Return a stretch of the generated market, as if it had been recorded."""
    instrument = Instrument(
        symbol="BTC/USDT",
        base_asset="BTC",
        quote_asset="USDT",
        kind=InstrumentKind.SPOT,
        tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"),
        min_notional=Decimal(5),
        quantity_min=Decimal("0.00001"),
        maker_fee_ratio=Decimal(0),
        taker_fee_ratio=Decimal(0),
    )
    settings = FittedSource(
        start_price=Decimal(f"{start_price:.2f}"),
        profile=profile,
        ticks=WithVolumeTicks(frequency_ms=100),
    )
    source = BlockSource(FittedModel(settings, instrument), seed=str(seed), position={})
    trades: list[TradeTick] = []
    tops: list[TopTick] = []
    while source.peek() < duration_s * 1e6:
        tick = source.take()
        if isinstance(tick, TradeTick):
            trades.append(tick)
        elif isinstance(tick, TopTick):
            tops.append(tick)
    first_us = trades[0].at_us
    return Recording(
        # Recorded times are whole milliseconds, so generated ones are compared as such.
        at_s=np.array([(tick.at_us - first_us) // 1000 / 1000 for tick in trades]),
        price=np.array([float(tick.price) for tick in trades]),
        quantity=np.array([float(tick.quantity) for tick in trades]),
        sign=np.array([1.0 if tick.taker_side is Side.BUY else -1.0 for tick in trades]),
        book_at_s=np.array([(tick.at_us - first_us) / 1e6 for tick in tops]),
        bid=np.array([float(tick.bid) for tick in tops]),
        bid_quantity=np.array([float(tick.bid_quantity or 0) for tick in tops]),
        ask=np.array([float(tick.ask) for tick in tops]),
        ask_quantity=np.array([float(tick.ask_quantity or 0) for tick in tops]),
    )


def describe(recording: Recording) -> dict[str, float]:
    """Return every statistic of the table."""
    starts = recording.orders()
    at_s, sign = recording.at_s[starts], recording.sign[starts]
    size = np.quantile(recording.quantity, [0.25, 0.5, 0.75, 0.9, 0.99])
    prints = np.diff(np.r_[starts, len(recording.at_s)])
    spread = recording.ask - recording.bid
    held_s = np.diff(np.r_[recording.book_at_s, recording.book_at_s[-1]])
    tick = spread.min()
    returns = np.diff(np.log(recording.mid_before(np.arange(0, recording.at_s[-1], 1.0))))
    found = {
        "trades per second, mean": len(recording.at_s) / recording.duration_s,
        "trades per second, index of dispersion": dispersion(recording.at_s, 1.0),
        "market orders per second, mean": len(starts) / recording.duration_s,
        "market orders per 100 ms, index of dispersion": dispersion(at_s, 0.1),
        "market orders per second, index of dispersion": dispersion(at_s, 1.0),
        "market orders per 5 s, index of dispersion": dispersion(at_s, 5.0),
        "prints per market order, mean": float(prints.mean()),
        "trade size 25 % (base)": size[0],
        "trade size 50 % (base)": size[1],
        "trade size 75 % (base)": size[2],
        "trade size 90 % (base)": size[3],
        "trade size 99 % (base)": size[4],
        "volatility of 1 s (bps)": volatility_bps(recording, 1.0),
        "volatility of 5 s (bps)": volatility_bps(recording, 5.0),
        "volatility of 10 s (bps)": volatility_bps(recording, 10.0),
        "volatility of 1 minute (bps)": volatility_bps(recording, 60.0),
        "kurtosis of 1 s returns": float(
            np.mean((returns - returns.mean()) ** 4) / np.var(returns) ** 2
        ),
        "spread, mean over time (quote)": float(np.sum(spread * held_s) / np.sum(held_s)),
        "time at the least spread (ratio)": float(
            np.sum((spread < 1.5 * tick) * held_s) / np.sum(held_s)
        ),
        "quantity at the best bid 50 % (base)": float(np.median(recording.bid_quantity)),
        "quantity at the best bid 90 % (base)": float(np.quantile(recording.bid_quantity, 0.9)),
    }
    for lag in (1, 5, 20, 100):
        found[f"autocorrelation of order sides, lag {lag}"] = side_correlation(sign, lag)
    return found


def compare(recording: Recording, profile: str, svg: Path | None) -> None:
    """Print the table: the tape, and the median and range of generated stretches as long."""
    real = describe(recording)
    start, duration_s = float(recording.price[0]), recording.duration_s
    runs = [
        generate(profile, start_price=start, duration_s=duration_s, seed=seed)
        for seed in range(GENERATED_RUNS)
    ]
    found = [describe(run) for run in runs]
    print(f"| statistic | tape | generated, median of {len(runs)} | generated, 10 % to 90 % |")
    print("|---|---:|---:|---:|")
    for name, value in real.items():
        values = [one[name] for one in found]
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        print(f"| {name} | {value:.4g} | {middle:.4g} | {low:.4g} to {high:.4g} |")
    if svg is not None:
        svg.write_text(draw(recording, runs[0]), encoding="utf-8")


def draw(real: Recording, generated: Recording) -> str:
    """Return an SVG: price and trades per second, the tape on the left."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 420" font-family="sans-serif">',
        '<rect width="900" height="420" fill="#ffffff"/>',
    ]
    spans = [_span(real), _span(generated)]
    height = max(high - low for low, high in spans)
    busiest = max(_counts(real).max(), _counts(generated).max())
    for column, (title, one) in enumerate((("recorded", real), ("generated", generated))):
        left, low = 40 + column * 440, spans[column][0]
        grid = np.arange(0, one.at_s[-1], 0.5)
        mid = one.mid_before(grid)
        x = left + grid / one.at_s[-1] * 400
        y = 230 - (mid - low) / height * 190
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in zip(x, y, strict=True))
        parts.append(f'<text x="{left}" y="25" fill="#333333">{title}: mid price</text>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="#1f5fa8"/>')
        parts.append(f'<text x="{left}" y="265" fill="#333333">trades per second (log)</text>')
        counts = _counts(one)
        for second, count in enumerate(counts):
            bar = np.log1p(count) / np.log1p(busiest) * 120
            at = left + second / len(counts) * 400
            parts.append(
                f'<rect x="{at:.1f}" y="{400 - bar:.1f}" width="1" height="{bar:.1f}" '
                'fill="#c8641e"/>'
            )
    return "".join(parts) + "</svg>\n"


def _counts(recording: Recording) -> NDArray[np.int64]:
    return np.bincount(recording.at_s.astype(int))


def _span(recording: Recording) -> tuple[float, float]:
    mid = recording.mid_before(np.arange(0, recording.at_s[-1], 0.5))
    return float(mid.min()), float(mid.max())


if __name__ == "__main__":
    main()
