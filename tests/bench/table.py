"""Rows of the printed table, and the small statistics behind them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

COLUMNS: Final = ("figure", "measured", "bare", "ratio", "must reach", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure; `is_reached` is None for what is only told."""

    figure: str
    measured: str
    bare: str = "–"
    ratio: str = "–"
    must: str = "–"
    is_reached: bool | None = None

    @property
    def verdict(self) -> str:
        return {True: "ok", False: "SHORT", None: "info"}[self.is_reached]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def to_text(rows: Sequence[Row]) -> str:
    """The rows under their heads, in columns."""
    cells = [
        COLUMNS,
        *((r.figure, r.measured, r.bare, r.ratio, r.must, r.verdict) for r in rows),
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def percentile(values: Sequence[float], ratio: float) -> float:
    """The value below which this part of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * ratio), len(ordered) - 1)]


def ms(seconds: float) -> str:
    """Seconds as milliseconds for people."""
    return f"{seconds * 1000:,.1f} ms"
