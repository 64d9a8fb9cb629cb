"""Every figure is published under a stable name."""

from decimal import Decimal

import pytest

from market_maker.adapters.telemetry.metrics import PrometheusMetrics
from market_maker.ports.metrics import Metric, Metrics


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics(bot="paper", version="0.1.0")


def test_counter_sums_and_keeps_its_labels(metrics: PrometheusMetrics) -> None:
    port: Metrics = metrics

    port.count(Metric.ORDERS, symbol="BTC/USDT", side="BUY", outcome="accepted")
    port.count(Metric.ORDERS, 2, symbol="BTC/USDT", side="BUY", outcome="accepted")

    text = metrics.render().decode()
    expected = 'market_maker_orders_total{outcome="accepted",side="BUY",symbol="BTC/USDT"} 3.0'
    assert expected in text


def test_gauge_shows_the_last_value_and_money_may_be_decimal(metrics: PrometheusMetrics) -> None:
    metrics.gauge(Metric.REALIZED_PNL, Decimal("1.5"), symbol="BTC/USDT")
    metrics.gauge(Metric.REALIZED_PNL, Decimal("-2.25"), symbol="BTC/USDT")

    assert 'market_maker_realized_pnl_quote{symbol="BTC/USDT"} -2.25' in metrics.render().decode()


def test_latency_is_a_histogram_in_seconds(metrics: PrometheusMetrics) -> None:
    metrics.observe(Metric.STEP_LATENCY, 0.004, step="decide")

    text = metrics.render().decode()
    assert 'market_maker_step_latency_seconds_bucket{le="0.005",step="decide"} 1.0' in text
    assert 'market_maker_step_latency_seconds_count{step="decide"} 1.0' in text


def test_every_metric_of_the_port_can_be_published(metrics: PrometheusMetrics) -> None:
    for name in Metric:
        published = 0
        for publish in (metrics.count, metrics.observe, metrics.gauge):
            try:
                publish(name, 1)
            except KeyError:
                continue
            published += 1
        assert published == 1, name

    text = metrics.render().decode()
    assert all(f"market_maker_{name}" in text for name in Metric)


def test_two_bots_in_one_process_do_not_mix(metrics: PrometheusMetrics) -> None:
    metrics.count(Metric.FILLS, symbol="BTC/USDT", side="BUY", liquidity="MAKER")

    other = PrometheusMetrics(bot="other", version="0.1.0")

    assert b"market_maker_fills" not in other.render()
