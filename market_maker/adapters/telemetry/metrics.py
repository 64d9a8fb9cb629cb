"""Metrics through OpenTelemetry, read by Prometheus. The only place that turns money to float."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from market_maker.ports.metrics import Metric, Number

PREFIX = "market_maker"

_LATENCY_BUCKETS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0),
)
_BATCH_BUCKETS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 4_000.0)


@dataclass(frozen=True, slots=True)
class _Shape:
    kind: Literal["counter", "histogram", "gauge"]
    description: str
    unit: str = ""
    buckets: tuple[float, ...] | None = None


_SHAPES = {
    Metric.UPDATES: _Shape("counter", "Updates recorded."),
    Metric.UPDATES_SKIPPED: _Shape("counter", "Price updates conflated to a newer one."),
    Metric.UPDATES_REFUSED: _Shape("counter", "Malformed, stale or impossible updates."),
    Metric.WORKFLOWS: _Shape("counter", "Durable workflows finished."),
    Metric.ORDERS: _Shape("counter", "Order requests by what became of them."),
    Metric.REFUSALS: _Shape("counter", "Intents that the risk gate refused."),
    Metric.FILLS: _Shape("counter", "Own executions."),
    Metric.FILLED_NOTIONAL: _Shape("counter", "Worth of own executions, quote asset."),
    Metric.BATCH_SIZE: _Shape("histogram", "Updates of one workflow.", buckets=_BATCH_BUCKETS),
    Metric.STEP_LATENCY: _Shape(
        "histogram", "Time of one workflow step.", unit="s", buckets=_LATENCY_BUCKETS_S
    ),
    Metric.UPDATE_LATENCY: _Shape(
        "histogram", "Time from received to recorded.", unit="s", buckets=_LATENCY_BUCKETS_S
    ),
    Metric.POSITION: _Shape("gauge", "Signed position, base asset."),
    Metric.REALIZED_PNL: _Shape("gauge", "Realized profit or loss net of fees, quote asset."),
    Metric.UNREALIZED_PNL: _Shape("gauge", "Open profit or loss at the mid, quote asset."),
    Metric.OPEN_ORDERS: _Shape("gauge", "Own open orders."),
    Metric.UNKNOWN_ORDERS: _Shape("gauge", "Own orders whose outcome is not yet known."),
    Metric.INBOX_DEPTH: _Shape("gauge", "Updates that wait to be taken."),
    Metric.INCIDENTS_OPEN: _Shape("gauge", "Incidents that wait for the operator."),
    Metric.LEASE_AGE: _Shape("gauge", "Time since the lease was renewed.", unit="s"),
}


class PrometheusMetrics:
    """
    The `Metrics` port on an OpenTelemetry meter of its own.

    Nothing is registered globally, so that two bots in one process, or two tests, do not mix.
    """

    def __init__(self, *, bot: str, version: str) -> None:
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(
            prefix=PREFIX, scope_info_enabled=False, registry=self._registry
        )
        resource = Resource({"service.name": bot, "service.version": version})
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter(PREFIX)
        shapes = _SHAPES.items()
        self._counters = {
            name: meter.create_counter(name, shape.unit, shape.description)
            for name, shape in shapes
            if shape.kind == "counter"
        }
        self._histograms = {
            name: meter.create_histogram(
                name,
                shape.unit,
                shape.description,
                explicit_bucket_boundaries_advisory=shape.buckets,
            )
            for name, shape in shapes
            if shape.kind == "histogram"
        }
        # Gauges are set for every symbol of every batch and read when somebody asks.
        self._gauges: dict[Metric, dict[tuple[tuple[str, str], ...], Number]] = {
            name: {} for name, shape in shapes if shape.kind == "gauge"
        }
        for name, values in self._gauges.items():
            meter.create_observable_gauge(
                name, [_reader(values)], _SHAPES[name].unit, _SHAPES[name].description
            )

    def count(self, name: Metric, value: Number = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counters[name].add(float(value), labels)

    def observe(self, name: Metric, value: Number, **labels: str) -> None:
        """Put one observation into a histogram."""
        self._histograms[name].record(float(value), labels)

    def gauge(self, name: Metric, value: Number, **labels: str) -> None:
        """Set a gauge to its present value."""
        self._gauges[name][tuple(labels.items())] = value

    def render(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Stop the meter; later figures are dropped."""
        self._provider.shutdown()


def _reader(
    values: Mapping[tuple[tuple[str, str], ...], Number],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(float(value), dict(labels)) for labels, value in tuple(values.items())]

    return read
