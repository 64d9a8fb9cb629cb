"""Markets: recorded, written and generated; each can be left anywhere and gone on with."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from market_maker.adapters.exchange.simulated.settings import parse_settings
from market_maker.adapters.exchange.simulated.sources.alignment import estimate_book_offset_ms
from market_maker.adapters.exchange.simulated.sources.build import build_source, fingerprint_of
from market_maker.adapters.exchange.simulated.sources.profiles import PROFILES
from market_maker.adapters.exchange.simulated.sources.source import (
    FOREVER_US,
    FaultTick,
    GapTick,
    Position,
    Source,
    Tick,
    TopTick,
    TradeTick,
)
from market_maker.domain.errors import ConfigError, TapeError
from market_maker.domain.fill import Side
from tests.paper import a_scenario, a_walk, an_instrument_setting

D = Decimal
SCENARIOS_PAGE = Path(__file__).parents[4] / "docs/howto/scenarios.md"
REAL_TAPE = Path(__file__).parents[5] / "shared/data/tapes/btcusdt_spot_20240808.trades.csv.gz"
TRADES_HEADER = "exchange_at_ms,trade_id,price,quantity,taker_side"
BOOK_HEADER = "received_at_ms,bid,bid_quantity,ask,ask_quantity"

WITH_VOLUME = {"kind": "with_volume", "frequency_ms": 100}
GENERATED: dict[str, dict[str, Any]] = {
    "random_walk": a_walk(),
    "geometric_brownian": {
        "kind": "geometric_brownian",
        "start_price": "100",
        "volatility_per_day_ratio": "0.5",
        "ticks": WITH_VOLUME,
    },
    "mean_reversion": {
        "kind": "mean_reversion",
        "start_price": "100",
        "mean_price": "110",
        "volatility_per_day_ratio": "0.5",
        "half_life_s": "10",
        "ticks": WITH_VOLUME,
    },
    "jump": {
        "kind": "jump",
        "start_price": "100",
        "volatility_per_day_ratio": "0.5",
        "jumps_per_day": "10000",
        "jump_bps": "50",
        "ticks": WITH_VOLUME,
    },
    "fitted": {"kind": "fitted", "start_price": "60000", "ticks": WITH_VOLUME},
}


def a_source(market: dict[str, Any], *, seed: int = 1, position: Position | None = None) -> Source:
    return build_source(an_instrument(market), seed=seed, position=position or {})


def an_instrument(market: dict[str, Any], **overrides: Any) -> Any:
    listed = an_instrument_setting(market=market, **overrides)
    values = {"name": "paper", "file": "x", "seed": 1, "balances": {}, "instruments": [listed]}
    return parse_settings(values).instruments[0]


def ticks_of(source: Source, count: int) -> list[Tick]:
    return [source.take() for _ in range(count)]


def all_of(source: Source) -> list[Tick]:
    ticks = []
    while source.peek() not in {None, FOREVER_US}:
        ticks.append(source.take())
    return ticks


def write_tape(folder: Path, trades: list[str], book: list[str] | None = None) -> dict[str, Any]:
    path = folder / "btc.trades.csv.gz"
    path.write_bytes(gzip.compress("\n".join([TRADES_HEADER, *trades, ""]).encode()))
    if book is not None:
        beside = folder / "btc.bbo.csv.gz"
        beside.write_bytes(gzip.compress("\n".join([BOOK_HEADER, *book, ""]).encode()))
    return {"kind": "tape", "trades": str(path)}


TRADES = ["1000,7,100.5,2,BUY", "1200,8,100,0.5,SELL", "1500,9,99.5,1,SELL"]
BOOK = ["1000,100,3,100.5,4", "1400,99.5,1,100,2"]


# --- generators ---


@pytest.mark.parametrize("market", GENERATED.values(), ids=GENERATED)
def test_generated_market_goes_on_identically_from_any_position(market: dict[str, Any]) -> None:
    whole = ticks_of(a_source(market), 3_000)

    source = a_source(market)
    for cut in (0, 1, 511, 512, 700, 1_025):
        source = a_source(market)
        ticks_of(source, cut)
        resumed = a_source(market, position=source.position())
        assert ticks_of(resumed, 1_500) == whole[cut : cut + 1_500]


@pytest.mark.parametrize("market", GENERATED.values(), ids=GENERATED)
def test_generated_market_keeps_to_the_grid_and_to_time(market: dict[str, Any]) -> None:
    ticks = ticks_of(a_source(market), 3_000)

    assert [tick.sequence for tick in ticks] == list(range(3_000))
    assert all(one.at_us <= other.at_us for one, other in pairwise(ticks))
    for tick in ticks:
        match tick:
            case TradeTick():
                assert tick.price % D("0.1") == 0 < tick.price
                assert tick.quantity % D("0.01") == 0 < tick.quantity
            case TopTick(bid_quantity=Decimal() as held):
                assert tick.bid % D("0.1") == tick.ask % D("0.1") == 0
                assert tick.bid < tick.ask
                assert held % D("0.01") == 0 < held


def test_seed_and_symbol_choose_the_path() -> None:
    one, other = a_source(a_walk()), a_source(a_walk(), seed=2)
    elsewhere = build_source(an_instrument(a_walk(), symbol="ETH/USDT"), seed=1, position={})

    paths = [tuple(ticks_of(source, 100)) for source in (one, other, elsewhere)]
    assert len(set(paths)) == 3


@pytest.mark.parametrize("market", [GENERATED["random_walk"], GENERATED["fitted"]])
def test_simple_format_is_a_price_alone(market: dict[str, Any]) -> None:
    source = a_source(market | {"ticks": {"kind": "simple", "frequency_ms": 50}})

    ticks = ticks_of(source, 500)
    assert all(isinstance(tick, TradeTick) and tick.is_price_only for tick in ticks)
    assert ticks[-1].at_us - ticks[0].at_us == 499 * 50_000


@pytest.mark.parametrize("market", [GENERATED["random_walk"], GENERATED["fitted"]])
def test_full_depth_shows_levels_best_first(market: dict[str, Any]) -> None:
    source = a_source(
        market | {"ticks": {"kind": "full_depth", "frequency_ms": 50, "level_count": 4}}
    )

    top = next(tick for tick in ticks_of(source, 100) if isinstance(tick, TopTick))
    assert len(top.bids) == len(top.asks) == 4
    assert (top.bid, top.bid_quantity) == top.bids[0]
    assert list(top.bids) == sorted(top.bids, reverse=True)
    assert list(top.asks) == sorted(top.asks)


def mids(market: dict[str, Any], count: int) -> list[float]:
    ticks = ticks_of(a_source(market), 2 * count)
    return [float(tick.bid + tick.ask) / 2 for tick in ticks if isinstance(tick, TopTick)]


def test_random_walk_never_steps_farther_than_told() -> None:
    path = mids(a_walk(start_price="10000", spread_bps="2", step_bps_max="5"), 2_000)

    steps = [abs(after / before - 1) for before, after in pairwise(path)]
    assert 0.0004 < max(steps) < 0.00052


def test_mean_reversion_pulls_the_price_to_its_mean() -> None:
    path = mids(GENERATED["mean_reversion"], 5_000)

    assert sum(path[2_000:]) / len(path[2_000:]) == pytest.approx(110, rel=0.01)


def test_brownian_motion_has_the_volatility_asked_for() -> None:
    market = GENERATED["geometric_brownian"] | {"start_price": "100000"}
    path = mids(market, 5_000)

    steps = [after / before - 1 for before, after in pairwise(path)]
    deviation = (sum(step**2 for step in steps) / len(steps)) ** 0.5
    # Half a day's unit over the square root of 864 000 steps of 100 ms.
    assert deviation == pytest.approx(0.5 / 864_000**0.5, rel=0.05)


def test_jumps_are_larger_than_ordinary_steps() -> None:
    path = mids(GENERATED["jump"] | {"start_price": "100000"}, 5_000)

    steps = [abs(after / before - 1) for before, after in pairwise(path)]
    assert sum(step > 0.0025 for step in steps) > 10


@pytest.mark.parametrize("profile", PROFILES)
def test_fitted_market_has_its_rates(profile: str) -> None:
    source = a_source(GENERATED["fitted"] | {"profile": profile})
    trades: list[TradeTick] = []
    while (source.peek() or 0) < 1_000_000_000:
        tick = source.take()
        if isinstance(tick, TradeTick):
            trades.append(tick)

    orders = {(tick.at_us, tick.taker_side) for tick in trades}
    # Over 1 000 s; the clustering makes the count itself spread by some percent.
    assert len(orders) / 1_000 == pytest.approx(PROFILES[profile].orders_per_s, rel=0.15)
    buys = sum(tick.taker_side is Side.BUY for tick in trades) / len(trades)
    assert 0.4 < buys < 0.6


def test_unknown_profile_is_named() -> None:
    with pytest.raises(ConfigError, match="btcusdt_spot"):
        a_source(GENERATED["fitted"] | {"profile": "moon"})


# --- tapes ---


def test_tape_merges_trades_and_book_by_time(tmp_path: Path) -> None:
    source = a_source(write_tape(tmp_path, TRADES, BOOK) | {"book_offset_ms": 0})

    assert source.began_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert all_of(source) == [
        TopTick(0, 0, D(100), D(3), D("100.5"), D(4)),
        TradeTick(0, 1, D("100.5"), D(2), Side.BUY),
        TradeTick(200_000, 2, D(100), D("0.5"), Side.SELL),
        TopTick(400_000, 3, D("99.5"), D(1), D(100), D(2)),
        TradeTick(500_000, 4, D("99.5"), D(1), Side.SELL),
    ]


def test_tape_without_a_book_beside_it_is_trades_alone(tmp_path: Path) -> None:
    source = a_source(write_tape(tmp_path, TRADES))

    assert [type(tick) for tick in all_of(source)] == [TradeTick] * 3


@pytest.mark.parametrize(("speed", "last_us"), [("1", 500_000), ("2.5", 200_000), ("max", 500_000)])
def test_tape_plays_at_its_speed(tmp_path: Path, speed: str, last_us: int) -> None:
    source = a_source(write_tape(tmp_path, TRADES) | {"speed": speed})

    assert source.is_paced is (speed != "max")
    assert all_of(source)[-1].at_us == last_us


def test_looped_tape_goes_on_in_time(tmp_path: Path) -> None:
    source = a_source(write_tape(tmp_path, TRADES) | {"loop": True})

    times = [tick.at_us for tick in ticks_of(source, 7)]
    assert times == [0, 200_000, 500_000, 1_500_000, 1_700_000, 2_000_000, 3_000_000]


@pytest.mark.parametrize("cut", range(11))
def test_tape_goes_on_identically_from_any_position(tmp_path: Path, cut: int) -> None:
    market = write_tape(tmp_path, TRADES, BOOK) | {"loop": True, "book_offset_ms": 0}
    whole = ticks_of(a_source(market), 20)

    source = a_source(market)
    ticks_of(source, cut)
    resumed = a_source(market, position=source.position())

    assert ticks_of(resumed, 9) == whole[cut : cut + 9]


@pytest.mark.parametrize(
    "line",
    ["1300,9,abc,1,BUY", "1300,9,NaN,1,BUY", "1300,9,-5,1,BUY", "1300,9,5,1,HOLD", "1300,9,5", ""],
)
def test_corrupt_line_is_named_when_the_market_comes_to_it(tmp_path: Path, line: str) -> None:
    source = a_source(write_tape(tmp_path, [*TRADES[:2], line, TRADES[2]]))

    assert len(ticks_of(source, 2)) == 2
    assert source.peek() is not None
    with pytest.raises(TapeError, match=r"btc\.trades\.csv\.gz:4: "):
        source.take()


def test_crossed_book_and_cut_file_are_named(tmp_path: Path) -> None:
    market = write_tape(tmp_path, TRADES, [BOOK[0], "1100,101,1,100,1"])
    with pytest.raises(TapeError, match=r"btc\.bbo\.csv\.gz:3: bid 101 was not below ask 100"):
        all_of(a_source(market | {"book_offset_ms": 0}))

    path = Path(market["trades"])
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(TapeError, match=r"btc\.trades\.csv\.gz:\d+: cannot be read"):
        all_of(a_source(market | {"book": "none"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [("time,price\n1,2\n", "expected the header"), (f"{TRADES_HEADER}\n", "no trade in it")],
)
def test_tape_that_is_none_is_refused_at_once(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tape.csv"
    path.write_text(content, encoding="ascii")

    with pytest.raises(TapeError, match=message):
        a_source({"kind": "tape", "trades": str(path)})
    with pytest.raises(TapeError, match="cannot be read"):
        a_source({"kind": "tape", "trades": str(tmp_path / "missing.csv")})


def test_clock_of_the_book_is_aligned_to_that_of_the_trades(tmp_path: Path) -> None:
    # The bid moves every 100 ms; each trade takes the bid of its moment, 1 270 ms later.
    bids = {at: 100 + (at // 100) ** 2 % 997 for at in range(10_000, 30_000, 100)}
    book = [f"{at},{bid},1,{bid + 1},1" for at, bid in bids.items()]
    trades = [f"{at + 1_270 + 50},{at},{bids[at]},1,SELL" for at in range(12_000, 26_000, 100)]
    source = a_source(write_tape(tmp_path, trades, book))

    ticks = all_of(source)
    tops = [tick for tick in ticks if isinstance(tick, TopTick)]
    first_trade = next(tick for tick in ticks if isinstance(tick, TradeTick))
    found_ms = (first_trade.at_us // 1_000) - 2_050
    assert abs(found_ms) <= 50
    assert tops[0].at_us == 0


def test_position_belongs_to_one_source_at_any_speed() -> None:
    slow = an_instrument({"kind": "tape", "trades": "a.csv", "speed": "1"})
    fast = an_instrument({"kind": "tape", "trades": "a.csv", "speed": "10"})
    other = an_instrument({"kind": "tape", "trades": "b.csv", "speed": "1"})

    assert fingerprint_of(slow, seed=1) == fingerprint_of(fast, seed=1)
    assert fingerprint_of(slow, seed=1) != fingerprint_of(other, seed=1)
    assert fingerprint_of(slow, seed=1) != fingerprint_of(slow, seed=2)


@pytest.mark.skipif(not REAL_TAPE.exists(), reason="the recorded tapes lie beside the project")
def test_real_tape_is_played_whole_and_aligned() -> None:
    source = a_source({"kind": "tape", "trades": str(REAL_TAPE)})

    ticks = all_of(source)
    assert sum(isinstance(tick, TradeTick) for tick in ticks) == 9_757
    assert sum(isinstance(tick, TopTick) for tick in ticks) == 28_040
    # The recorder's clock is known to lie about 1.27 s behind the venue's.
    beside = REAL_TAPE.with_name(REAL_TAPE.name.replace(".trades.", ".bbo."))
    assert 1_250 <= estimate_book_offset_ms(REAL_TAPE, beside) <= 1_300


# --- scenarios ---


def test_scenario_is_played_step_by_step(tmp_path: Path) -> None:
    steps = [
        {"price": "100"},
        {"prices": ["99", "101"]},
        {"wait": "2s"},
        {"trade": {"price": "100.5", "quantity": "0.3", "side": "SELL"}},
        {"book": {"bid": "100", "ask": "101"}},
        {"gap": "cable"},
        {"fault": {"kind": "rate_limit", "count": "2", "on": "cancel"}},
        {"repeat": {"count": "2", "steps": [{"ramp": {"start": "1", "end": "2", "count": "3"}}]}},
    ]
    ticks = all_of(a_source(a_scenario(tmp_path, steps)))

    small = D("0.01")
    assert ticks[:7] == [
        TradeTick(0, 0, D(100), small, Side.BUY, True),
        TradeTick(100_000, 1, D(99), small, Side.SELL, True),
        TradeTick(200_000, 2, D(101), small, Side.BUY, True),
        TradeTick(2_300_000, 3, D("100.5"), D("0.3"), Side.SELL),
        TopTick(2_400_000, 4, D(100), None, D(101), None),
        GapTick(2_500_000, 5, "cable"),
        FaultTick(2_600_000, 6, "rate_limit", 2, "cancel"),
    ]
    ramps = [tick.price for tick in ticks[7:] if isinstance(tick, TradeTick)]
    assert ramps == [D(1), D("1.5"), D(2)] * 2


def test_scenario_with_depth_names_its_best_level(tmp_path: Path) -> None:
    book = {"bids": [["99", "1"], ["98", "2"]], "asks": [["101", "3"]]}
    (tick,) = all_of(a_source(a_scenario(tmp_path, [{"book": book}])))

    assert isinstance(tick, TopTick)
    assert (tick.bid, tick.bid_quantity, tick.ask, tick.ask_quantity) == (D(99), D(1), D(101), D(3))
    assert tick.bids == ((D(99), D(1)), (D(98), D(2)))


@pytest.mark.parametrize("at_end", ["stop", "loop", "hold"])
def test_scenario_ends_as_told(tmp_path: Path, at_end: str) -> None:
    source = a_source(a_scenario(tmp_path, [{"price": "1"}, {"price": "2"}], at_end=at_end))
    ticks_of(source, 2)

    assert source.peek() == {"stop": None, "loop": 200_000, "hold": FOREVER_US}[at_end]


def test_scenario_goes_on_from_any_position(tmp_path: Path) -> None:
    market = a_scenario(tmp_path, [{"price": "1"}, {"price": "2"}, {"wait": "1s"}], at_end="loop")
    whole = ticks_of(a_source(market), 10)
    for cut in range(6):
        source = a_source(market)
        ticks_of(source, cut)
        resumed = a_source(market, position=source.position())
        assert ticks_of(resumed, 4) == whole[cut : cut + 4]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps:\n  - price: abc\n", 2),
        ("steps:\n  - price: 100\n  - jump: 5\n", 3),
        ("steps:\n  - trade: {price: 1, quantity: 1}\n", 2),
        ("steps:\n  - trade: {price: 1, quantity: 1, side: UP}\n", 2),
        ("steps:\n  - book: {bid: 2, ask: 1}\n", 2),
        ("steps:\n  - wait: soon\n", 2),
        ("steps:\n  - fault: {kind: earthquake}\n", 2),
        ("steps:\n  - repeat: {count: 0, steps: []}\n", 2),
        ("steps: 5\n", 1),
        ("steps: []\n", 1),
        ("speed: -1\nsteps:\n  - price: 1\n", 1),
        ("start_at: yesterday\nsteps:\n  - price: 1\n", 1),
        ("unknown: 1\nsteps:\n  - price: 1\n", 1),
        ("", 1),
    ],
)
def test_mistake_in_a_scenario_names_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(TapeError, match=rf"bad\.yaml:{line}: "):
        a_source({"kind": "scenario", "path": str(path)})


def test_scenario_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"start_at": "2025-02-03T00:00:00Z", "steps": [{"price": "7.5"}]}')

    source = a_source({"kind": "scenario", "path": str(path)})

    assert source.began_at == datetime(2025, 2, 3, tzinfo=UTC) + timedelta(0)
    assert [tick.price for tick in all_of(source) if isinstance(tick, TradeTick)] == [D("7.5")]


def scenarios_of_the_page() -> list[str]:
    blocks = SCENARIOS_PAGE.read_text(encoding="utf-8").split("```yaml\n")[1:]
    return [block.split("```")[0] for block in blocks if "steps:" in block]


@pytest.mark.parametrize("text", scenarios_of_the_page())
def test_every_scenario_of_the_documentation_can_be_played(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.yaml"
    path.write_text(text, encoding="utf-8")

    assert yaml.safe_load(text)
    source = a_source({"kind": "scenario", "path": str(path)})
    assert source.take()
