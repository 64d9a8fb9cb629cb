"""
Parameters fitted to recorded tapes by scripts/fit_market.py; docs/fitted-market.md tells how close.

Ratios are probabilities, times seconds, moves and spreads basis points of the mid, sizes quote
notionals. A table of quantiles holds (share of the values below, value).
"""

from collections.abc import Mapping
from dataclasses import dataclass

Quantiles = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedProfile:
    """
    One market.

    Orders arrive at `orders_per_s` on average; each causes `branching_ratio` further ones, whose
    rate decays at `decay_per_s`. An order's side follows a fast regime with `side_fast_ratio` and a
    slow one with `side_slow_ratio`, else it is even; a regime lasts to the next order with its
    persistence. `move_ratio` of the orders move the mid by `move_bps` × `move_scale`, leaning to
    their side by `impact_ratio`; `wide_spread_ratio` of those leave a wide spread for
    `wide_spread_s`.
    """

    orders_per_s: float
    branching_ratio: float
    decay_per_s: float
    side_fast_ratio: float
    side_fast_persistence: float
    side_slow_ratio: float
    side_slow_persistence: float
    move_ratio: float
    move_scale: float
    impact_ratio: float
    wide_spread_ratio: float
    wide_spread_s: float
    move_bps: Quantiles
    wide_spread_bps: Quantiles
    prints_per_order: Quantiles
    trade_notional_quote: Quantiles
    level_notional_quote: Quantiles


# fmt: off
PROFILES: Mapping[str, FittedProfile] = {
    # Binance spot BTC/USDT, 2024-08-08, 6 minutes.
    "btcusdt_spot": FittedProfile(
        orders_per_s=9.369,
        branching_ratio=0.775,
        decay_per_s=17.965,
        side_fast_ratio=0.504,
        side_fast_persistence=0.8202,
        side_slow_ratio=0.394,
        side_slow_persistence=0.9869,
        move_ratio=0.2059,
        move_scale=1.6942,
        impact_ratio=0.5,
        wide_spread_ratio=0.912,
        wide_spread_s=0.0041,
        move_bps=(
            (0, 0.0008084), (0.01, 0.0008106), (0.05, 0.00162), (0.1, 0.00324), (0.2, 0.03558),
            (0.3, 0.08115), (0.4, 0.1446), (0.5, 0.197), (0.6, 0.2747), (0.7, 0.3278),
            (0.8, 0.4397), (0.9, 0.7091), (0.95, 0.9472), (0.98, 1.479), (0.99, 1.975),
            (0.999, 6.398), (1, 9.27),
        ),
        wide_spread_bps=(
            (0, 0.003233), (0.01, 0.003235), (0.05, 0.003245), (0.1, 0.009716), (0.2, 0.03891),
            (0.3, 0.07296), (0.4, 0.1247), (0.5, 0.1763), (0.6, 0.251), (0.7, 0.3288),
            (0.8, 0.5138), (0.9, 1.071), (0.95, 1.831), (0.98, 3.013), (0.99, 3.434),
            (0.999, 5.032), (1, 10.03),
        ),
        prints_per_order=(
            (0, 1.999), (0.01, 1.999), (0.05, 1.999), (0.1, 1.999), (0.2, 1.999), (0.3, 1.999),
            (0.4, 1.999), (0.5, 1.999), (0.6, 1.999), (0.7, 1.999), (0.8, 2.999), (0.9, 6.999),
            (0.95, 11.0), (0.98, 18.2), (0.99, 25.0), (0.999, 150.5), (1, 601.9),
        ),
        trade_notional_quote=(
            (0, 0.6161), (0.01, 1.852), (0.05, 5.549), (0.1, 5.553), (0.2, 6.16), (0.3, 9.248),
            (0.4, 16.68), (0.5, 37.03), (0.6, 127.5), (0.7, 555.1), (0.8, 1234.0), (0.9, 3431.0),
            (0.95, 6173.0), (0.98, 15850.0), (0.99, 19990.0), (0.999, 47100.0), (1, 60530.0),
        ),
        level_notional_quote=(
            (0, 0.6166), (0.01, 5.552), (0.05, 10.51), (0.1, 618.4), (0.2, 6178.0),
            (0.3, 17910.0), (0.4, 31910.0), (0.5, 66680.0), (0.6, 107500.0), (0.7, 149600.0),
            (0.8, 192300.0), (0.9, 246100.0), (0.95, 287300.0), (0.98, 347800.0),
            (0.99, 376300.0), (0.999, 439200.0), (1, 505200.0),
        ),
    ),
    # Binance spot ETH/USDT, the same minutes.
    "ethusdt_spot": FittedProfile(
        orders_per_s=5.585,
        branching_ratio=0.69,
        decay_per_s=22.257,
        side_fast_ratio=0.653,
        side_fast_persistence=0.8056,
        side_slow_ratio=0.327,
        side_slow_persistence=0.9355,
        move_ratio=0.3179,
        move_scale=1.4995,
        impact_ratio=0.5,
        wide_spread_ratio=1.0,
        wide_spread_s=0.00301,
        move_bps=(
            (0, 0.01862), (0.01, 0.01864), (0.05, 0.03726), (0.1, 0.03728), (0.2, 0.07456),
            (0.3, 0.1305), (0.4, 0.1864), (0.5, 0.2796), (0.6, 0.3726), (0.7, 0.4842),
            (0.8, 0.6156), (0.9, 0.8198), (0.95, 1.08), (0.98, 1.482), (0.99, 1.931),
            (0.999, 2.703), (1, 3.259),
        ),
        wide_spread_bps=(
            (0, 0.07448), (0.01, 0.0745), (0.05, 0.07453), (0.1, 0.07455), (0.2, 0.1118),
            (0.3, 0.1491), (0.4, 0.1865), (0.5, 0.2611), (0.6, 0.3355), (0.7, 0.4098),
            (0.8, 0.5216), (0.9, 0.783), (0.95, 1.156), (0.98, 2.048), (0.99, 2.462),
            (0.999, 4.423), (1, 10.5),
        ),
        prints_per_order=(
            (0, 1.999), (0.01, 1.999), (0.05, 1.999), (0.1, 1.999), (0.2, 1.999), (0.3, 1.999),
            (0.4, 1.999), (0.5, 1.999), (0.6, 2.999), (0.7, 2.999), (0.8, 4.999), (0.9, 8.999),
            (0.95, 12.0), (0.98, 18.0), (0.99, 23.0), (0.999, 46.21), (1, 184.9),
        ),
        trade_notional_quote=(
            (0, 0.268), (0.01, 0.8045), (0.05, 2.684), (0.1, 5.361), (0.2, 5.365), (0.3, 5.368),
            (0.4, 10.46), (0.5, 23.59), (0.6, 89.69), (0.7, 375.5), (0.8, 1073.0), (0.9, 2682.0),
            (0.95, 5207.0), (0.98, 7558.0), (0.99, 13860.0), (0.999, 30420.0), (1, 121700.0),
        ),
        level_notional_quote=(
            (0, 0.2681), (0.01, 5.361), (0.05, 6.171), (0.1, 263.0), (0.2, 3804.0), (0.3, 5983.0),
            (0.4, 10920.0), (0.5, 16590.0), (0.6, 25260.0), (0.7, 35230.0), (0.8, 47280.0),
            (0.9, 66060.0), (0.95, 80070.0), (0.98, 96540.0), (0.99, 109200.0), (0.999, 131500.0),
            (1, 172300.0),
        ),
    ),
    # Binance BTC/USDT perpetual, the same minutes.
    "btcusdt_usdm": FittedProfile(
        orders_per_s=15.834,
        branching_ratio=0.855,
        decay_per_s=16.966,
        side_fast_ratio=0.27,
        side_fast_persistence=0.7556,
        side_slow_ratio=0.391,
        side_slow_persistence=0.9751,
        move_ratio=0.1398,
        move_scale=0.8935,
        impact_ratio=0.5,
        wide_spread_ratio=0.647,
        wide_spread_s=0.0062,
        move_bps=(
            (0, 0.008088), (0.01, 0.00811), (0.05, 0.01618), (0.1, 0.01624), (0.2, 0.05672),
            (0.3, 0.09738), (0.4, 0.146), (0.5, 0.2106), (0.6, 0.2922), (0.7, 0.3723),
            (0.8, 0.537), (0.9, 0.8434), (0.95, 1.167), (0.98, 1.877), (0.99, 2.193),
            (0.999, 9.535), (1, 10.56),
        ),
        wide_spread_bps=(
            (0, 0.03234), (0.01, 0.03235), (0.05, 0.03241), (0.1, 0.03244), (0.2, 0.04865),
            (0.3, 0.06481), (0.4, 0.08112), (0.5, 0.1298), (0.6, 0.1783), (0.7, 0.2758),
            (0.8, 0.3883), (0.9, 0.6656), (0.95, 1.159), (0.98, 2.123), (0.99, 2.726),
            (0.999, 3.936), (1, 3.936),
        ),
        prints_per_order=(
            (0, 1.999), (0.01, 1.999), (0.05, 1.999), (0.1, 1.999), (0.2, 1.999), (0.3, 1.999),
            (0.4, 1.999), (0.5, 1.999), (0.6, 1.999), (0.7, 2.999), (0.8, 3.999), (0.9, 7.999),
            (0.95, 13.0), (0.98, 25.3), (0.99, 43.65), (0.999, 315.6), (1, 349.0),
        ),
        trade_notional_quote=(
            (0, 61.59), (0.01, 61.81), (0.05, 123.3), (0.1, 123.3), (0.2, 123.6), (0.3, 246.8),
            (0.4, 493.7), (0.5, 989.0), (0.6, 1854.0), (0.7, 3451.0), (0.8, 6800.0),
            (0.9, 16380.0), (0.95, 29960.0), (0.98, 49290.0), (0.99, 70700.0), (0.999, 363700.0),
            (1, 1455000.0),
        ),
        level_notional_quote=(
            (0, 61.59), (0.01, 123.4), (0.05, 1172.0), (0.1, 4996.0), (0.2, 21480.0),
            (0.3, 59760.0), (0.4, 108200.0), (0.5, 165100.0), (0.6, 215700.0), (0.7, 272900.0),
            (0.8, 352100.0), (0.9, 521500.0), (0.95, 696700.0), (0.98, 949500.0),
            (0.99, 1143000.0), (0.999, 1445000.0), (1, 1658000.0),
        ),
    ),
}
# fmt: on
