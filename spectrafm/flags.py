"""Configuration sections as command-line flags, there and back.

The workflow turns a section of ``config.yaml`` into flags (`options`); a command adds the same
flags to its parser (`add_options`) and builds the section again (`section_of`). So a key of the
file, a flag and a field are one thing, and every printed command line works alone.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from pydantic import BaseModel

from spectrafm.config import Section, validated


def options(section: Section, prefix: str = "", only: tuple[str, ...] = ()) -> list[str]:
    """A section as command-line flags, ``--key=value``, nested keys joined with dots.

    Every key is given, defaults too, so that a command line is complete by itself and Snakemake's
    reason for running a job again reads like a difference of configurations.

    Parameters
    ----------
    section : Section
    prefix : str
        Put before each key, such as ``"model."``.
    only : tuple of str
        Top-level keys to give; all where empty.
    """
    flags = []
    for key, value in section.model_dump(mode="json").items():
        if not only or key in only:
            flags += _flags(f"{prefix}{key}", value)
    return flags


def _flags(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [flag for inner, v in value.items() for flag in _flags(f"{key}.{inner}", v)]
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}"]


def add_options(parser, section: type[Section], prefix: str = "") -> None:
    """Add one flag per key of ``section`` to an ``argparse`` parser; see `section_of`."""
    group = parser.add_argument_group(
        f"{section.__name__.lower()} options", "values are YAML, as in config.yaml"
    )
    for key, default, description in _leaves(section):
        shown = default if isinstance(default, str) else json.dumps(default)
        text = f"{description}; " if description else ""
        group.add_argument(
            f"--{prefix}{key}",
            dest=f"option:{prefix}{key}",
            metavar="VALUE",
            default=None,
            help=f"{text}default {shown}".replace("%", "%%"),
        )


def _leaves(section: type[Section], prefix: str = ""):
    for key, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _leaves(annotation, f"{prefix}{key}.")
        else:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            plain = json.loads(json.dumps(default, default=_plain))
            yield f"{prefix}{key}", plain, field.description


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else list(value)


def section_of(section: type[Section], arguments, prefix: str = "") -> Any:
    """Build a section from flags that `add_options` added.

    Raises
    ------
    SpectraFMError
        Naming the flag with a wrong value and what is allowed.
    """
    content: dict[str, Any] = {}
    for key, _, _ in _leaves(section):
        text = getattr(arguments, f"option:{prefix}{key}")
        if text is None:
            continue
        *path, last = key.split(".")
        inner = content
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = _value_of(text)
    return validated(section, content, "options")


def _value_of(text: str) -> Any:
    """A flag's text as `options` wrote it (JSON), or as a person types it (YAML)."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
