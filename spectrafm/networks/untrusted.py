"""Reading a model's ``config.json``, which is untrusted.

Each value that is used is typed and bounded here, before anything is allocated, looked up or
printed from it; unknown keys are ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.labels import CONDITION, LabelName, LabelUnit
from spectrafm.networks import NETWORKS
from spectrafm.plugs import load
from spectrafm.reading import Untrusted, printable, problem_in, read_untrusted_json
from spectrafm.spectra import FLUX_RANGE, FluxRange, Kind, Window

#: Largest number of characters of a label's name, unit or symbol.
LONGEST_TEXT = 64

#: Largest number of labels that a network knows.
MOST_LABELS = 1000

ArchitectureName = Literal[tuple(NETWORKS)]
Name = Annotated[LabelName, Field(max_length=LONGEST_TEXT)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("a label is named twice")
    return labels


class Stars(Untrusted):
    """Options that chose a stage's training stars."""

    where: Annotated[str, Field(pattern=CONDITION, max_length=LONGEST_TEXT)] | None = None
    count: int | None = None
    labelled: dict[Name, Annotated[str, Field(pattern=CONDITION, max_length=LONGEST_TEXT)]] = Field(
        {}
    )


class Replay(Untrusted):
    """Options of the spectra that a stage replayed."""

    spectra: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None


class Twin(Untrusted):
    """Options of the synthetic twins that a model reads."""

    components: Annotated[int, Field(ge=1, le=64)] | None = None


class PseudoLabels(Untrusted):
    """The teacher whose labels a stage learned."""

    teacher: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None


class Trained(Untrusted):
    """Options of the training stage, those that are read from ``config.json``."""

    architecture: ArchitectureName
    start_from: str | None
    spectra: Kind
    windows: list[Window]
    stars: Stars
    freeze: list[str] = Field([])
    replay: Replay | None = None
    twin: Twin | None = None
    pseudo_labels: PseudoLabels | None = None
    labels: list[Name]
    selection: str
    flux_range: FluxRange = FLUX_RANGE


class Facts(Untrusted):
    """Values read from the ``config.json`` of any architecture."""

    architecture: ArchitectureName
    stage_name: str
    stage: Trained
    labels: Annotated[
        list[Name], Field(min_length=1, max_length=MOST_LABELS), AfterValidator(_distinct)
    ]  # known to the network
    units: dict[Name, Annotated[LabelUnit, Field(max_length=LONGEST_TEXT)]] = Field({})
    symbols: dict[Name, Annotated[str, Field(max_length=LONGEST_TEXT)]] = Field({})
    tokens: int = Field(ge=1, le=1_000_000)
    training_star_count: int = Field(ge=0)
    set_aside_count: int = Field(0, ge=0)  # of these; absent from models of older versions
    mock: bool = False
    made_with: dict[str, Digest] = Field({})  # absent from models of older versions


def read_facts(path: Path) -> dict[str, Any]:
    """Read a model's ``config.json``.

    Raises
    ------
    SpectraFMError
        When the file is missing, not JSON, has a duplicate key or too many values, or a value of
        the wrong type or range.
    """
    try:
        content = read_untrusted_json(path)
        facts = Facts.model_validate_json(content, strict=True)
        sizes_in(facts.architecture).validate_json(content, strict=True)
        return json.loads(content, object_pairs_hook=_without_repeats)
    except OSError as error:
        raise SpectraFMError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise SpectraFMError(f"{path}: {problem_in(error)}") from None
    except (ValueError, RecursionError) as error:
        raise SpectraFMError(f"{path}: not JSON ({printable(str(error))})") from None


def sizes_in(architecture: str) -> TypeAdapter:
    """Validator of an architecture's sizes in ``config.json``; it ignores all other keys."""
    sizes = load(NETWORKS[architecture].where).Sizes
    return TypeAdapter(type("Sizes", (sizes,), {"model_config": ConfigDict(extra="ignore")}))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate keys, of which JSON readers keep different values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key {twice!r}")
    return found
