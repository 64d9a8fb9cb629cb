"""
Reads settings files into plain trees that remember where each value was written.

Numbers with a fraction stay text on purpose: a parser's float would turn `0.1` into something
that is almost 0.1 before any model has seen it.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any

import yaml

ENVIRONMENT_PREFIX = "MARKET_MAKER__"

KeyPath = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with the settings, and where."""

    place: str
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.text) if part)


@dataclass(slots=True)
class Tree:
    """Values as they were written, and the place of each."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # Values that came out of the environment may be secret; no message repeats them.
    expanded: set[KeyPath] = field(default_factory=set)

    def place_of(self, path: KeyPath) -> str:
        """Return the place of a key, or of the nearest key around it."""
        for length in range(len(path), -1, -1):
            if place := self.places.get(path[:length]):
                return place
        return ""

    def add_problem(self, path: KeyPath, text: str) -> None:
        """Note what is wrong at a key."""
        self.problems.append(Problem(place=self.place_of(path), key=to_key(path), text=text))


def to_key(path: KeyPath) -> str:
    """Write a path as people write it: `symbols.0.strategy`."""
    return ".".join(str(part) for part in path)


def read_file(path: Path, environment: Mapping[str, str]) -> Tree:
    """Read one YAML, TOML or JSON file, by its suffix, and fill in `${NAME}`."""
    tree = Tree(places={(): str(path)})
    readers = {".yaml": _read_yaml, ".yml": _read_yaml, ".toml": _read_toml, ".json": _read_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        tree.add_problem((), "unknown kind of file; expected .yaml, .yml, .toml or .json")
        return tree
    try:
        values = reader(path.read_text(encoding="utf-8"), tree)
    except OSError as error:
        tree.add_problem((), f"cannot be read: {error.strerror or error}")
    except (ValueError, yaml.YAMLError) as error:
        tree.add_problem((), f"cannot be understood: {' '.join(str(error).split())}")
    else:
        if values is None:
            values = {}
        if isinstance(values, dict):
            tree.values = _expand(values, (), tree, environment)
        else:
            tree.add_problem((), "expected keys and values at the top of the file")
    return tree


def merge(base: Tree, above: Tree) -> None:
    """
    Lay `above` over `base`: groups are merged key by key, lists and values are replaced.

    Groups of different kinds (`kind: tape` over `kind: fitted`) have nothing in common, so the
    upper one replaces the lower one whole.
    """
    base.values = _merge_values(base, above, (), base.values, above.values)
    base.places.update(above.places)
    base.expanded |= above.expanded
    base.problems += above.problems


def apply_environment(tree: Tree, environment: Mapping[str, str]) -> None:
    """Lay `MARKET_MAKER__A__B=value` over the tree; a number in place of B is a list index."""
    for name in sorted(environment):
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            parts = name[len(ENVIRONMENT_PREFIX) :].split("__")
            place = f"environment {name}"
            try:
                value = _parse_text(environment[name])
            except yaml.YAMLError:
                tree.problems.append(Problem(place=place, key="", text="is not a list or mapping"))
            else:
                _put(tree, parts, value, place)


def apply_overrides(tree: Tree, overrides: Mapping[str, object]) -> None:
    """Lay flags over the tree: dotted key → value. `None` means that the flag was not given."""
    for key, value in overrides.items():
        if value is not None:
            _put(tree, key.split("."), value, "command line")


def _read_yaml(text: str, tree: Tree) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _from_node(loader, node, (), tree)
    finally:
        loader.dispose()


def _from_node(loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, tree: Tree) -> Any:
    if path:
        tree.places[path] = f"{tree.places[()]}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys([key.value for key, _ in node.value])
        loader.flatten_mapping(node)
        return {
            str(key.value): _from_node(loader, value, (*path, str(key.value)), tree)
            for key, value in node.value
        }
    if isinstance(node, yaml.SequenceNode):
        return [
            _from_node(loader, item, (*path, index), tree) for index, item in enumerate(node.value)
        ]
    if node.tag == "tag:yaml.org,2002:int" and _INTEGER.fullmatch(node.value):
        return int(node.value)
    if node.tag in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"):
        return loader.construct_object(node)
    return node.value


def _read_toml(text: str, _tree: Tree) -> Any:
    return tomllib.loads(text, parse_float=str)


def _read_json(text: str, _tree: Tree) -> Any:
    return json.loads(
        text, parse_float=str, parse_constant=_refuse_constant, object_pairs_hook=_to_dict
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repeated_keys([key for key, _ in pairs])
    return dict(pairs)


def _refuse_repeated_keys(keys: list[Any]) -> None:
    repeated = sorted({str(key) for key in keys if keys.count(key) > 1 and key != "<<"})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is written more than once in one group")


def _expand(value: Any, path: KeyPath, tree: Tree, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, (*path, key), tree, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [
            _expand(item, (*path, index), tree, environment) for index, item in enumerate(value)
        ]
    if isinstance(value, (date, time)):
        return value.isoformat()
    if not isinstance(value, str) or "${" not in value:
        return value
    tree.expanded.add(path)
    missing = [name for name in _VARIABLE.findall(value) if name not in environment]
    for name in missing:
        tree.add_problem(path, f"the environment variable {name} is not set")
    # A placeholder keeps the key present, so that it is not reported a second time as missing.
    return _VARIABLE.sub(lambda match: environment.get(match[1], "unset"), value)


def _merge_values(base: Tree, above: Tree, path: KeyPath, low: Any, high: Any) -> Any:
    if not (isinstance(low, dict) and isinstance(high, dict)) or _differ_in_kind(low, high):
        _forget(base, path)
        return high
    merged = dict(low)
    for key, value in high.items():
        here = (*path, key)
        merged[key] = _merge_values(base, above, here, low[key], value) if key in low else value
    return merged


def _differ_in_kind(low: dict[str, Any], high: dict[str, Any]) -> bool:
    return any(
        name in low and name in high and low[name] != high[name] for name in ("kind", "adapter")
    )


def _forget(tree: Tree, path: KeyPath) -> None:
    if path:
        for known in [known for known in tree.places if known[: len(path)] == path]:
            del tree.places[known]
        tree.expanded = {known for known in tree.expanded if known[: len(path)] != path}


def _put(tree: Tree, parts: list[str], value: Any, place: str) -> None:
    """Set one value deep in the tree, making the groups on the way to it."""
    at: Any = tree.values
    path: KeyPath = ()
    for position, part in enumerate(parts):
        found = _find_key(at, part)
        if found is None:
            text = f"there is no entry {part}" if isinstance(at, list) else f"no key {part} here"
            tree.problems.append(Problem(place=place, key=to_key(path), text=text))
            return
        path = (*path, found)
        is_last = position == len(parts) - 1
        present = isinstance(at, list) or found in at
        if is_last:
            low = at[found] if present else None
            at[found] = _merge_values(tree, tree, path, low, value)
            tree.places[path] = place
            if place.startswith("environment"):
                tree.expanded.add(path)
        elif not present or at[found] is None:
            at[found] = {}
            tree.places[path] = place
        at = at[found]


def _find_key(at: Any, part: str) -> str | int | None:
    if isinstance(at, list):
        return int(part) if part.isdecimal() and int(part) < len(at) else None
    if not isinstance(at, dict):
        return None
    same = [key for key in at if str(key).lower() == part.lower()]
    return same[0] if same else part.lower()


def _parse_text(text: str) -> Any:
    if text.strip() == "null":
        return None
    if text.lstrip().startswith(("[", "{")):
        return _read_yaml(text, Tree(places={(): ""}))
    return text


def current_environment() -> dict[str, str]:
    """Return a copy of the environment of this process."""
    return dict(os.environ)
