"""Metrics that nobody reads."""

from market_maker.ports.metrics import Metric, Number


class FakeMetrics:
    """Keeps the last value of every figure."""

    def __init__(self) -> None:
        self.values: dict[Metric, Number] = {}

    def count(self, name: Metric, value: Number = 1, **labels: str) -> None:
        self.values[name] = value

    def observe(self, name: Metric, value: Number, **labels: str) -> None:
        self.values[name] = value

    def gauge(self, name: Metric, value: Number, **labels: str) -> None:
        self.values[name] = value
