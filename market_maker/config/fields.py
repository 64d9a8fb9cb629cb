"""The frozen base of every settings model, and the annotated types that its fields share."""

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    TypeAdapter,
    model_validator,
)

_DURATION = re.compile(r"(?P<count>-?\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)")
_UNIT_MICROSECONDS = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
# Far above any price or quantity, far below what would take a lifetime to write out.
_DIGITS_MAX = 24
_ISO_DURATION: TypeAdapter[timedelta] = TypeAdapter(timedelta)


class FrozenSettings(BaseModel):
    """
    A group of settings: immutable, and refusing keys that it does not know.

    A secret field `x` may have a twin `x_file`: the value is then the content of that file
    without the newline at its end, as Docker and Kubernetes deliver secrets.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        # An unquoted `tag: 123` in YAML is a number to the parser and a word to its author.
        coerce_numbers_to_str=True,
        # pydantic would print the value, and the value may be a secret.
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        for name, field in cls.model_fields.items():
            twin = f"{name}_file"
            if not holds_secret(field.annotation) or values.get(twin) is None:
                continue
            if values.get(name) is not None:
                raise ValueError(f"give {name} or {twin}, not both")
            values[name] = _read_secret(Path(str(values[twin])))
        return values


def holds_secret(annotation: Any) -> bool:
    """Say whether a field of this annotation is a secret."""
    return annotation is SecretStr or SecretStr in get_args(annotation)


def parse_duration(value: object) -> object:
    """
    Turn "500ms", "2s", "1m", "1h", "1d" or an ISO 8601 duration into a `timedelta`.

    A bare number is refused: nobody remembers whether it meant seconds or milliseconds.
    """
    if isinstance(value, timedelta):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if match := _DURATION.fullmatch(text):
        microseconds = Decimal(match["count"]) * _UNIT_MICROSECONDS[match["unit"]]
        return timedelta(microseconds=int(microseconds))
    if text.upper().startswith("P"):
        return _ISO_DURATION.validate_python(text.upper())
    raise ValueError("a duration needs a unit: 500ms, 2s, 1m, 1h, 1d or ISO 8601 (PT2S)")


def to_duration_text(duration: timedelta) -> str:
    """Write a duration in the largest unit that divides it, as a settings file would."""
    microseconds = duration // timedelta(microseconds=1)
    for unit in ("d", "h", "m", "s", "ms"):
        if microseconds and microseconds % _UNIT_MICROSECONDS[unit] == 0:
            return f"{microseconds // _UNIT_MICROSECONDS[unit]}{unit}"
    return f"{Decimal(microseconds) / 1_000}ms" if microseconds else "0s"


def _refuse_float(value: object) -> object:
    if isinstance(value, (float, bool)):
        # pydantic turns a ValueError into a finding; a TypeError would end the program.
        raise ValueError("write this number in quotes: a float cannot hold it exactly")  # noqa: TRY004
    return value


def _require_sane_size(value: Decimal) -> Decimal:
    if value.is_finite() and value and not -_DIGITS_MAX <= value.adjusted() <= _DIGITS_MAX:
        raise ValueError(
            f"a number must have at most {_DIGITS_MAX} digits before or after its point"
        )
    return value


def _require_not_negative(duration: timedelta) -> timedelta:
    if duration < timedelta(0):
        raise ValueError("a duration must not be negative")
    return duration


def _require_above_zero(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("a duration must be above zero")
    return duration


def _read_secret(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"the secret file {path} cannot be read: {error.strerror}") from error


def _to_plain_text(value: Decimal) -> str:
    return format(value, "f")


_Exact = Annotated[
    Decimal,
    BeforeValidator(_refuse_float),
    AfterValidator(_require_sane_size),
    PlainSerializer(_to_plain_text, return_type=str, when_used="json"),
]
_AnyDuration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(to_duration_text, return_type=str, when_used="json"),
]

PositiveDecimal = Annotated[_Exact, Field(gt=0)]
NotNegativeDecimal = Annotated[_Exact, Field(ge=0)]
ExactDecimal = _Exact
Ratio = Annotated[_Exact, Field(ge=0, le=1)]
Duration = Annotated[_AnyDuration, AfterValidator(_require_above_zero)]
DurationOrZero = Annotated[_AnyDuration, AfterValidator(_require_not_negative)]
SignedDuration = _AnyDuration
PositiveCount = Annotated[int, Field(ge=1)]
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
Symbol = Annotated[
    str, Field(pattern=r"^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(:[A-Z0-9]{1,20})?$", examples=["BTC/USDT"])
]
Asset = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,20}$")]
