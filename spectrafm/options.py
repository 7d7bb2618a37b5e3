"""Sections: typed groups of options that are the same in ``config.yaml`` and on command lines.

Each section is a class next to the code that reads it, and `spectrafm.config` combines the
sections. The workflow turns a section of ``config.yaml`` into command-line options (`options`); a
command adds the same options to its parser (`add_options`) and builds the section again
(`section_of`). A key of the file, an option and a field therefore share one name, and every
command line that Snakemake prints also works by itself.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from spectrafm.errors import SpectraFMError
from spectrafm.strict_yaml import NotYamlError, read_yaml

#: Name of a stage, an evaluation or a run; it becomes part of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=64)]

_NAME = TypeAdapter(Name)

#: A share between 0 and 1, both excluded.
Share = Annotated[float, Field(gt=0, lt=1)]

#: A number of things, at least one.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]

#: A seed that every random generator takes.
Seed = Annotated[int, Field(ge=0, lt=2**63)]

#: Longest text of one value.
_LONGEST = 4096


def _sane(value: Any) -> Any:
    """Return a value of a key; refuse numbers and texts, also inside it, that no key can mean."""
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise ValueError(
                f"a text of {len(value):,} characters; at most {_LONGEST:,} are allowed"
            )
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            raise ValueError(f"{value!a} holds a control character")
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a whole number beyond 2^63")
    elif isinstance(value, Mapping):
        for inner in value.items():
            _sane(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _sane(inner)
    return value


class Section(BaseModel):
    """Base class of configuration sections: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Prefix of each key on a command line.
    prefix: ClassVar[str] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _sane(cls, value: Any, info: ValidationInfo) -> Any:
        # A section inside looks at its own values, so that the error names its key.
        inner = isinstance(value, (Mapping, list)) and _holds_section(cls, info.field_name)
        return value if inner else _sane(value)


def options(
    section: Section, only: Sequence[str | type[Section]] = (), without: Sequence[str] = ()
) -> list[str]:
    """Write a section as command-line options ``--key=value``, nested keys joined with dots.

    Defaults are written too, so that a command line is complete by itself and Snakemake's reason
    for rerunning a job reads like a difference between configurations.

    Parameters
    ----------
    section : Section
    only : sequence of str or Section class
        Top-level keys to write, or section classes whose keys to write; empty: all keys.
    without : sequence of str
        Top-level keys to leave out.

    Returns
    -------
    list of str
        One ``--key=value`` for each key.
    """
    chosen = {
        key for part in only for key in ([part] if isinstance(part, str) else part.model_fields)
    }
    content = section.model_dump(mode="json")
    words = []
    for key, value, _ in _leaves(type(section), content):
        top = key.split(".")[0]
        if (not chosen or top in chosen) and top not in without:
            words.append(f"--{section.prefix}{key}={_text_of(value)}")
    return words


def _text_of(value: Any) -> str:
    """Text of an option, which `_value_of` parses to the same value."""
    if isinstance(value, str):
        try:
            if _value_of(value) == value:
                return value
        except SpectraFMError:
            pass
    return json.dumps(value)


def _leaves(
    section: type[Section], content: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, FieldInfo]]:
    """Yield dotted key, value in ``content`` and field of each key that is not a section."""
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
    """YAML syntax of a type, for help texts: ``[[NUMBER, NUMBER], ...]``, ``{train,test}``."""
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
    """Build a section from the parsed options that `add_options` added.

    Raises
    ------
    SpectraFMError
        Names the option with an invalid value and what is allowed.
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
    """Parse an option's text as YAML, which JSON as `options` writes it is too.

    Raises
    ------
    SpectraFMError
        When a key is given twice, or aliases multiply.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (json.JSONDecodeError, RecursionError):
        pass
    try:
        return read_yaml(text, "option")
    except NotYamlError:
        return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON; refuse a key given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise SpectraFMError(f"option: key {twice!r} is given twice")
    return found


def checked_name(value: str, what: str) -> str:
    """Return a value of a command line if it is a `Name`.

    Raises
    ------
    SpectraFMError
        Names the option and the value.
    """
    try:
        return _NAME.validate_python(value)
    except ValidationError:
        raise SpectraFMError(
            f"{what}: {value[:80]!a} is no name: up to 64 letters, digits and _"
        ) from None


def validated(section: type[Section], content: Mapping[str, Any], where: str) -> Any:
    """Build a section from plain values; a validation error becomes a one-line message.

    Raises
    ------
    SpectraFMError
        Names the key, the value found and what is allowed.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise SpectraFMError(f"{where}: {_one_line(section, error)}") from None


def _one_line(section: type[Section], error: ValidationError) -> str:
    problems = error.errors()
    # For a value of several possible types pydantic reports one error a type: name the key once.
    problem = problems[0]
    location = [part for part in problem["loc"] if not _names_a_type(part)]
    names = map(str, location)
    key = ".".join(name if name.isprintable() else ascii(name) for name in names)
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
    """Whether a part of pydantic's error location names a type of a union, not a key."""
    return isinstance(part, str) and re.match(r"^(literal|list|function|constrained|tuple)\[", part)


@functools.cache
def _holds_section(section: type[Section], key: str) -> bool:
    """Whether the values of a key are sections, or hold some."""
    return _section_in(section.model_fields[key].annotation) is not None


def _section_at(annotation: Any, location: list) -> type[Section] | None:
    """The section class at a key path; None if there is none."""
    for part in location:
        annotation = _section_in(annotation)
        if annotation is None:
            return None
        if part in annotation.model_fields:
            annotation = annotation.model_fields[part].annotation
    return _section_in(annotation)


def _description_of(section: type[Section], location: list) -> str | None:
    """Description of the field at a key path, or of the nearest field above it."""
    keys = [part for part in location if isinstance(part, str)]
    for end in range(len(keys), 0, -1):
        owner = _section_at(section, keys[: end - 1])
        if owner is not None and keys[end - 1] in owner.model_fields:
            return owner.model_fields[keys[end - 1]].description
    return None


def _section_in(annotation: Any) -> type[Section] | None:
    """The section class that an annotation is, or that its optional, list or mapping holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = [found for found in map(_section_in, get_args(annotation)) if found]
    return inner[0] if inner else None
