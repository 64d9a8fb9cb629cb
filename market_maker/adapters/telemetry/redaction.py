"""Removes secrets from what is about to be logged: known values, and keys that look secret."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

HIDDEN = "**********"

_SECRET_KEY = re.compile(
    r"(?i)(^|[_\-.])(password|passwd|passphrase|secret|token|api_?key|private_?key|authorization"
    r"|signature|credentials?|cookie)s?($|[_\-.])"
)
# `token` is also the word for the number that fences processes; a number is no secret.
_NUMBER = (bool, int, type(None))
# A password inside any URL, configured or not: third parties like to print what they connect to.
_URL_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*):([^\s/@]+)@", re.IGNORECASE)
# `password=…` in the connection strings and error texts of database drivers.
_ASSIGNED_PASSWORD = re.compile(r"(?i)\b(password|passwd|secret|api_?key)(\s*[=:]\s*)('[^']*'|\S+)")
_DEPTH_MAX = 8


class Redactor:
    """Knows the secrets of this process. Text and structures that pass it contain none of them."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            # As written, as in a URL, as inside JSON strings and as in a Python repr.
            forms |= {secret, quote(secret, safe=""), repr(secret)[1:-1]}
            forms |= {json.dumps(secret, ensure_ascii=plain)[1:-1] for plain in (True, False)}
        longest_first = sorted(forms - {""}, key=len, reverse=True)
        self._secrets = (
            re.compile("|".join(re.escape(form) for form in longest_first))
            if longest_first
            else None
        )

    def redact_known(self, text: str) -> str:
        """Return `text` without the secrets that were configured."""
        return text if self._secrets is None else self._secrets.sub(HIDDEN, text)

    def redact_text(self, text: str) -> str:
        """Return `text` without configured secrets and without anything that reads like one."""
        text = self.redact_known(text)
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        return _ASSIGNED_PASSWORD.sub(rf"\1\2{HIDDEN}", text)

    def redact(self, value: Any, *, depth: int = 0) -> Any:
        """Return a copy of a value fit for logging; unknown objects become text first."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, (bool, type(None))):
            return value
        if isinstance(value, (int, float)):
            is_secret = self._secrets is not None and self._secrets.fullmatch(str(value))
            return HIDDEN if is_secret else value
        if depth >= _DEPTH_MAX:
            return "…"
        if isinstance(value, Mapping):
            return {
                self.redact_text(str(key)): self.redact_field(str(key), item, depth=depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.redact(item, depth=depth + 1) for item in value]
        return self.redact_text(str(value))

    def redact_field(self, key: str, value: Any, *, depth: int = 0) -> Any:
        """Return the value of one named field, hidden if the name says that it is a secret."""
        if _SECRET_KEY.search(key) and not isinstance(value, _NUMBER):
            return HIDDEN
        return self.redact(value, depth=depth)
