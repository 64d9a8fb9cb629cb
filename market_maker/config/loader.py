"""
Loads the settings of a bot and explains everything that is wrong with them at once.

Files first, later ones over earlier ones, then the environment, then flags. pydantic checks
the result; this module turns its findings into sentences that name the file and line, the key,
what was expected and the nearest known key. pydantic-settings is not used: its sources keep no
line numbers, ignore unknown top-level variables and do not reach into lists.
"""

import difflib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from market_maker.config.fields import holds_secret
from market_maker.config.settings import Settings
from market_maker.config.sources import (
    KeyPath,
    Problem,
    Tree,
    apply_environment,
    apply_overrides,
    current_environment,
    merge,
    read_file,
    to_key,
)
from market_maker.domain.errors import ConfigError

_SHOWN_CHARACTERS_MAX = 60


def load_settings(
    paths: Sequence[Path | str],
    overrides: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """
    Load, merge and check settings; raise one `ConfigError` that lists every problem.

    `overrides` maps dotted keys (`venue.instruments.0.market.trades`) to values; `None` values
    are flags that were not given. `environment` is the process environment unless given.
    """
    variables = current_environment() if environment is None else environment
    tree = Tree()
    if not paths:
        raise ConfigError("no settings file was given; use --config FILE")
    for path in paths:
        merge(tree, read_file(Path(path), variables))
    files = ", ".join(str(path) for path in paths)
    tree.places[()] = files
    # What a file cannot even say would only be reported a second time as missing keys.
    if not tree.values and tree.problems:
        raise ConfigError(_to_message(tree.problems))
    apply_environment(tree, variables)
    apply_overrides(tree, overrides or {})
    return _check(tree)


def tape_override(trades: Path | str, *, instrument: int = 0) -> dict[str, object]:
    """Return the override that `--tape` stands for: this instrument trades this recorded tape."""
    market = {"kind": "tape", "trades": str(trades)}
    return {f"venue.instruments.{instrument}.market": market}


def _check(tree: Tree) -> Settings:
    settings = None
    problems = list(tree.problems)
    try:
        settings = Settings.model_validate(tree.values)
    except ValidationError as error:
        reported = {problem.key for problem in problems}
        found = [
            _to_problem(details, tree)
            for details in error.errors(include_url=False)
            if not _only_follows(details, tree)
        ]
        problems += [problem for problem in found if problem.key not in reported]
    if problems or settings is None:
        # The ValidationError is not chained: it holds the values, and values may be secret.
        raise ConfigError(_to_message(problems)) from None
    return settings


def _only_follows(details: ErrorDetails, tree: Tree) -> bool:
    """Say whether a list is only too short because its entries were refused already."""
    return details["type"] == "too_short" and bool(_value_at(details["loc"], tree.values))


def _to_message(problems: Sequence[Problem]) -> str:
    unique = list(dict.fromkeys(str(problem) for problem in problems))
    if len(unique) == 1:
        return unique[0]
    return "\n".join([f"{len(unique)} problems in the settings:", *(f"  {it}" for it in unique)])


def _to_problem(details: ErrorDetails, tree: Tree) -> Problem:
    path = _path_in_tree(details["loc"], tree.values)
    field = _find_field(path, tree.values)
    kind = details["type"]
    if kind == "extra_forbidden":
        text = _explain_unknown(path, tree.values)
    elif kind == "missing":
        text = f"is missing; expected: {_expectation(field)}"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        context = details.get("ctx", {})
        path = (*path, str(context.get("discriminator", "kind")).strip("'"))
        text = _explain_tag(context)
    else:
        text = _explain_value(details, path, field, tree)
    return Problem(place=tree.place_of(path), key=to_key(path), text=text)


def _path_in_tree(location: tuple[str | int, ...], values: Any) -> KeyPath:
    """Drop the union tags that pydantic puts between the keys of a location."""
    path: KeyPath = ()
    at = values
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(at, dict) and part in at:
            at = at[part]
        elif isinstance(at, (list, tuple)) and isinstance(part, int):
            at = at[part] if part < len(at) else None
        elif not (is_last and isinstance(at, dict)) or part == at.get("kind"):
            continue
        path = (*path, part)
    return path


def _explain_unknown(path: KeyPath, values: Any) -> str:
    model = _find_model(path[:-1], values)
    known = sorted(model.model_fields) if model else []
    near = _nearest(str(path[-1]), known)
    return f"unknown key; {_suggestion(near, known)}"


def _explain_tag(context: Mapping[str, Any]) -> str:
    known = [tag.strip().strip("'") for tag in str(context.get("expected_tags", "")).split(",")]
    tag = context.get("tag")
    if tag is None:
        return f"is missing; expected one of {_listed([it for it in known if it])}".rstrip()
    return f"was {tag!r}; {_suggestion(_nearest(str(tag), known), known)}"


def _explain_value(
    details: ErrorDetails, path: KeyPath, field: FieldInfo | None, tree: Tree
) -> str:
    value = _value_at(path, tree.values)
    description = field.description.rstrip(".") if field and field.description else ""
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "string_pattern_mismatch" and description:
        message = f"expected: {description}"
    elif message.startswith("Input should be "):
        message = "expected " + message.removeprefix("Input should be ")
    if isinstance(value, str) and (expected := details.get("ctx", {}).get("expected")):
        known = [word.strip().strip("'") for word in str(expected).replace(" or ", ",").split(",")]
        if near := _nearest(value, known):
            message += f", the nearest is {near}"
    if message.startswith("expected ") and description:
        message += f"; {description}"
    if _may_show(path, value, field, tree):
        return f"was {str(value)[:_SHOWN_CHARACTERS_MAX]!r}; {message}"
    return message


def _may_show(path: KeyPath, value: Any, field: FieldInfo | None, tree: Tree) -> bool:
    if not isinstance(value, (str, int)) or (field and holds_secret(field.annotation)):
        return False
    if any(path[: len(known)] == known for known in tree.expanded):
        return False
    key = to_key(path).lower()
    return not any(word in key for word in ("password", "secret", "token", "url", "api_key"))


def _expectation(field: FieldInfo | None) -> str:
    return (field.description or "a value").rstrip(".") if field else "a value"


def _suggestion(near: str | None, known: Sequence[str]) -> str:
    if near is not None:
        return f"the nearest known one is {near}"
    return f"known here: {_listed(known)}" if known else "nothing is known here"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _nearest(word: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return near[0] if near else None


def _value_at(path: KeyPath, values: Any) -> Any:
    at = values
    for part in path:
        if isinstance(at, dict):
            at = at.get(str(part))
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        else:
            return None
    return at


def _find_field(path: KeyPath, values: Any) -> FieldInfo | None:
    """Return the field that a key stands for; `None` for entries of lists and free mappings."""
    if not path:
        return None
    model = _find_model(path[:-1], values)
    return model.model_fields.get(str(path[-1])) if model else None


def _find_model(path: KeyPath, values: Any) -> type[BaseModel] | None:
    """Return the model that describes the group at `path`, following tags in the values."""
    model: type[BaseModel] | None = Settings
    annotation: Any = Settings
    at = values
    for part in path:
        if model is not None:
            field = model.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            arguments = get_args(annotation)
            annotation = arguments[0] if arguments else None
        at = _value_at((part,), at)
        model = _choose_model(annotation, at)
    return model


def _choose_model(annotation: Any, value: Any) -> type[BaseModel] | None:
    """Return the model of an annotation; of a union, the one that the value's tag names."""
    while hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            model = _choose_model(option, value)
            if model is not None and _tag_fits(model, value):
                return model
    return None


def _tag_fits(model: type[BaseModel], value: Any) -> bool:
    field = model.model_fields.get("kind")
    if field is None or not isinstance(value, dict):
        return field is None
    return value.get("kind") in get_args(field.annotation)
