"""Sections of options: typed, refused in one line when wrong, the same in file and command line.

A room owns its options: each section is a class beside the code that reads it, and
`spectrafm.config` puts the sections together. The workflow turns a section of ``config.yaml`` into
options (`options`); a command adds the same options to its parser (`add_options`) and builds the
section again (`section_of`). So a key of the file, an option and a field are one thing, and every
printed command line works alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from spectrafm.errors import SpectraFMError

#: Name of a stage, an evaluation, a run: a part of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Put before each key on a command line.
    prefix: ClassVar[str] = ""


def options(
    section: Section, only: Sequence[str | type[Section]] = (), without: Sequence[str] = ()
) -> list[str]:
    """A section as command-line options, ``--key=value``, nested keys joined with dots.

    Every key is given, defaults too, so that a command line is complete by itself and Snakemake's
    reason for running a job again reads like a difference of configurations.

    Parameters
    ----------
    section : Section
    only : sequence of str or Section class
        Top-level keys to give, or sections whose keys to give; all where empty.
    without : sequence of str
        Top-level keys to leave out.
    """
    chosen = {
        key for part in only for key in ([part] if isinstance(part, str) else part.model_fields)
    }
    content = section.model_dump(mode="json")
    words = []
    for key, value, _ in _leaves(type(section), content):
        top = key.split(".")[0]
        if (not chosen or top in chosen) and top not in without:
            text = value if isinstance(value, str) else json.dumps(value)
            words.append(f"--{section.prefix}{key}={text}")
    return words


def _leaves(
    section: type[Section], content: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, FieldInfo]]:
    """Dotted key, value in ``content`` and field of each key that is no section itself."""
    for key, field in section.model_fields.items():
        if _is_section(field.annotation):
            yield from _leaves(field.annotation, content.get(key) or {}, f"{above}{key}.")
        else:
            yield f"{above}{key}", content.get(key), field


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def add_options(parser, section: type[Section]) -> None:
    """Add one option per key of ``section`` to an ``argparse`` parser; see `section_of`."""
    about = (section.__doc__ or "").strip().splitlines()[0]
    group = parser.add_argument_group(
        f"options of {section.__name__}", f"{about} Values are YAML, as in config.yaml."
    )
    for key, _, field in _leaves(section, {}):
        description = field.description or ""
        group.add_argument(
            f"--{section.prefix}{key}",
            dest=f"option:{section.prefix}{key}",
            metavar=syntax(field.annotation),
            default=None,
            help=f"{description}; {_default(field)}".replace("%", "%%"),
        )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    text = value if isinstance(value, str) else json.dumps(value, default=_plain)
    return f"default {text}"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else list(value)


def syntax(annotation: Any) -> str:
    """How a value of a type is written in YAML: ``[[NUMBER, NUMBER], ...]``, ``{train,test}``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return syntax(inner[0])
    if origin is Literal:
        return "{" + ",".join(map(str, inner)) + "}"
    if origin in (Union, UnionType):
        return "|".join(dict.fromkeys(map(syntax, inner)))
    if origin is tuple and Ellipsis not in inner:
        return f"[{', '.join(map(syntax, inner))}]"
    if origin in (list, tuple, Sequence):
        return f"[{syntax(inner[0])}, ...]"
    if origin in (dict, Mapping):
        return f"{{{syntax(inner[0])}: {syntax(inner[1])}, ...}}"
    if _is_section(annotation):
        fields = annotation.model_fields.items()
        return f"{{{', '.join(f'{key}: {syntax(field.annotation)}' for key, field in fields)}}}"
    plain = {bool: "true|false", int: "INTEGER", float: "NUMBER", type(None): "null"}
    return plain.get(annotation, "TEXT")


def section_of(section: type[Section], arguments) -> Any:
    """Build a section from options that `add_options` added.

    Raises
    ------
    SpectraFMError
        Naming the option with a wrong value and what is allowed.
    """
    content: dict[str, Any] = {}
    for key, _, _ in _leaves(section, {}):
        text = getattr(arguments, f"option:{section.prefix}{key}")
        if text is None:
            continue
        *path, last = key.split(".")
        inner = content
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = _value_of(text)
    return validated(section, content, "options")


def _value_of(text: str) -> Any:
    """An option's text as `options` wrote it (JSON), or as a person types it (YAML)."""
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
    if problem["type"] == "missing":
        return f"{prefix}required"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{prefix}{message}"
    if problem["type"] == "string_pattern_mismatch":
        description = _description_of(section, location)
        if description:
            return f"{prefix}{problem['input']!r} is not as described: {description}"
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


def _description_of(section: type[Section], location: list) -> str | None:
    """Description of the field that a key path leads to."""
    keys = [part for part in location if isinstance(part, str)]
    for end in range(len(keys), 0, -1):
        owner = _section_at(section, keys[: end - 1])
        if owner is not None and keys[end - 1] in owner.model_fields:
            return owner.model_fields[keys[end - 1]].description
    return None


def _section_in(annotation: Any) -> type[Section] | None:
    """The section class itself, or the one that an optional, a list or a mapping holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = [found for found in map(_section_in, get_args(annotation)) if found]
    return inner[0] if inner else None
