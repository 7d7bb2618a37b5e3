"""Sections of options: typed, refused in one line when wrong, the same in file and command line.

A room owns its options: each section is a class beside the code that reads it, and
`spectrafm.config` puts the sections together. The workflow turns a section of ``config.yaml`` into
flags (`options`); a command adds the same flags to its parser (`add_options`) and builds the
section again (`section_of`). So a key of the file, a flag and a field are one thing, and every
printed command line works alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectrafm.errors import SpectraFMError

#: Name of a stage, an evaluation, a run: a part of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
        if only and key not in only:
            continue
        if isinstance(getattr(section, key), Mapping):
            # Its keys are the user's: one flag holds them all.
            flags.append(f"--{prefix}{key}={json.dumps(value)}")
        else:
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


def validated(section: type[Section], content: Mapping[str, Any], where: str) -> Any:
    """Build a section from plain values, turning pydantic's report into one clear line.

    Raises
    ------
    SpectraFMError
        Naming the key, the value found and what is allowed.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise SpectraFMError(f"{where}: {_one_line(section, error)}") from None


def _one_line(section: type[Section], error: ValidationError) -> str:
    problems = error.errors()
    # Where a value may be one of several types, pydantic reports each try: name the key once.
    problem = problems[0]
    location = [part for part in problem["loc"] if not _names_a_type(part)]
    key = ".".join(str(part) for part in location)
    prefix = f"{key}: " if key else ""
    if problem["type"] == "extra_forbidden":
        owner = _section_at(section, location[:-1])
        known = f"; allowed here: {', '.join(owner.model_fields)}" if owner else ""
        return f"{prefix}unknown key{known}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{prefix}{message}"
    allowed = "; or ".join(
        dict.fromkeys(p["msg"] for p in problems if p["loc"][: len(location)] == tuple(location))
    )
    return f"{prefix}{allowed or message} (found {problem['input']!r})"


def _names_a_type(part: Any) -> bool:
    """Whether a piece of pydantic's location is the name of a tried type, not a key."""
    return isinstance(part, str) and re.match(r"^(literal|list|function|constrained|tuple)\[", part)


def _section_at(annotation: Any, location: list) -> type[Section] | None:
    """The section class that a key path leads to."""
    for part in location:
        annotation = _section_in(annotation)
        if annotation is None:
            return None
        if part in annotation.model_fields:
            annotation = annotation.model_fields[part].annotation
    return _section_in(annotation)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section class itself, or the one that an optional, a list or a mapping holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = [found for found in map(_section_in, get_args(annotation)) if found]
    return inner[0] if inner else None
