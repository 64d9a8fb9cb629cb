"""The example settings files that travel with the package."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from market_maker.domain.errors import ConfigError


def example_names() -> tuple[str, ...]:
    """Return the names of the examples, for instance `paper`."""
    return tuple(sorted(Path(file.name).stem for file in _folder().iterdir() if _is_example(file)))


def load_example(name: str) -> str:
    """Return the text of one example, comments included."""
    file = _folder() / f"{name}.yaml"
    if name not in example_names():
        known = ", ".join(example_names())
        raise ConfigError(f"there is no example {name!r}; there are: {known}")
    return file.read_text(encoding="utf-8")


def _folder() -> Traversable:
    packaged = resources.files("market_maker.config") / "files"
    if packaged.is_dir():
        return packaged
    # An editable installation reads the repository itself, where they are in configs/.
    return Path(__file__).parents[2] / "configs"


def _is_example(file: Traversable) -> bool:
    return file.name.endswith(".yaml")
