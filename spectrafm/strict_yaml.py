"""Reading YAML strictly: no key twice, and no aliases that multiply into endless values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from spectrafm.errors import SpectraFMError

#: Most values that a configuration may hold; the paper's run has about 400.
MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a mapping with a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                continue
            if name in seen:
                raise _TwiceError(f"line {key.start_mark.line + 1}: key {name!r} is given twice")
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class NotYamlError(SpectraFMError):
    """A text is not YAML."""


class _TwiceError(yaml.YAMLError):
    """A mapping has a key twice."""


def read_yaml(text: str, where: str) -> Any:
    """Read one YAML document.

    Parameters
    ----------
    text : str
    where : str
        Origin of the text; error messages begin with it.

    Raises
    ------
    SpectraFMError
        One line that names the place, for text that is not YAML, has a key twice, is nested too
        deeply or, through aliases, holds more than `MOST_VALUES` values.
    """
    try:
        content = _loaded(text)
    except _TwiceError as error:
        raise SpectraFMError(f"{where}: {error}") from None
    except yaml.YAMLError as error:
        raise NotYamlError(f"{where}: not YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise SpectraFMError(f"{where}: nested too deeply") from None
    except ValueError as error:
        # Such as an integer of more digits than Python converts, or a date that does not exist.
        raise SpectraFMError(f"{where}: {error}") from None
    check_size(content, where)
    return content


def check_file(path: Path) -> None:
    """Refuse a file that `read_yaml` refuses."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpectraFMError(f"{path}: not text in UTF-8") from None
    read_yaml(text, str(path))


def check_size(content: Any, where: str) -> None:
    """Refuse nested values that are more than `MOST_VALUES`, or that hold themselves.

    Raises
    ------
    SpectraFMError
        One line that names the place.
    """
    sizes: dict[int, int | None] = {}

    def size(value: Any) -> int:
        if isinstance(value, Mapping):
            inner = [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            inner = value
        else:
            return 1
        known = sizes.get(id(value), 0)
        if known is None:
            raise SpectraFMError(f"{where}: a value holds itself")
        if not known:
            sizes[id(value)] = None
            known = sizes[id(value)] = 1 + sum(map(size, inner))
        if known > MOST_VALUES:
            raise SpectraFMError(f"{where}: more than {MOST_VALUES:,} values, through aliases?")
        return known

    try:
        size(content)
    except RecursionError:
        raise SpectraFMError(f"{where}: nested too deeply") from None
