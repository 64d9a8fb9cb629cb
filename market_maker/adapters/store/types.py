"""
How exact values are kept: decimals and instants as text, on both databases.

SQLAlchemy's Numeric is a REAL on SQLite and loses digits, so money never goes through it. The text
keeps the exponent too (`1.50` stays `1.50`), hence a loaded state is the recorded one to the last
character. Sums are made in Python.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class DecimalText(TypeDecorator[Decimal]):
    """A finite decimal as text, see `to_decimal_text`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else to_decimal_text(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """Database to Python."""
        return None if value is None else Decimal(value)


class InstantText(TypeDecorator[datetime]):
    """An aware UTC instant as ISO text with microseconds: sorting the text sorts the instants."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else to_instant_text(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        """Database to Python."""
        return None if value is None else datetime.fromisoformat(value)


def to_decimal_text(value: Decimal) -> str:
    """
    Return the decimal as text that gives back the same digits and the same exponent.

    Plain digits wherever they can say it; only a positive exponent (`1E+2`) keeps its letter.
    Raises `ValueError` for NaN and infinities, which are no amounts.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number and cannot be stored")
    text = str(value)
    return format(value, "f") if "E-" in text else text


def to_instant_text(value: datetime) -> str:
    """Return the instant as ISO text in UTC; raises `ValueError` if it carries no time zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone and cannot be stored")
    return value.astimezone(UTC).isoformat(timespec="microseconds")
