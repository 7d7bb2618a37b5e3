"""What ``config.json`` must say before a network is built from it.

The file may come from anyone. Each value that is used is typed and bounded here, so that nothing is
allocated, looked up or printed at a stranger's word; unknown keys are ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.labels import CONDITION, LabelName, LabelUnit
from spectrafm.networks import NETWORKS
from spectrafm.plugs import load
from spectrafm.spectra import FluxRange, Kind, Window

#: No label is longer than this, nor is its unit or its symbol.
LONGEST_TEXT = 64

#: A network knows no more labels than this.
MOST_LABELS = 1000

ArchitectureName = Literal[tuple(NETWORKS)]
Name = Annotated[LabelName, Field(max_length=LONGEST_TEXT)]


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("a label is named twice")
    return labels


class _Part(BaseModel):
    # A later version may write more keys, and this one must still read the file.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Stars(_Part):
    """Which stars a stage learned from."""

    where: Annotated[str, Field(pattern=CONDITION, max_length=LONGEST_TEXT)] | None = None
    count: int | None = None


class Trained(_Part):
    """The options of the training that predictions carry on."""

    architecture: ArchitectureName
    start_from: str | None
    spectra: Kind
    windows: list[Window]
    stars: Stars
    freeze: list[str] = []
    labels: list[Name]
    selection: str
    flux_range: FluxRange = (0.05, 1.2)


class Facts(_Part):
    """What is read of every ``config.json``."""

    architecture: ArchitectureName
    stage_name: str
    stage: Trained
    labels: Annotated[
        list[Name], Field(min_length=1, max_length=MOST_LABELS), AfterValidator(_distinct)
    ]  # known to the network
    units: dict[Name, Annotated[LabelUnit, Field(max_length=LONGEST_TEXT)]] = {}
    symbols: dict[Name, Annotated[str, Field(max_length=LONGEST_TEXT)]] = {}
    tokens: int = Field(ge=1, le=1_000_000)
    training_star_count: int = Field(ge=0)
    mock: bool = False


def read_facts(path: Path) -> dict[str, Any]:
    """Read a model's ``config.json``.

    Raises
    ------
    SpectraFMError
        When it is missing, not JSON, names a key twice, or a value is not what it must be.
    """
    try:
        content = path.read_bytes()
        facts = Facts.model_validate_json(content, strict=True)
        sizes_in(facts.architecture).validate_json(content, strict=True)
        return json.loads(content, object_pairs_hook=_without_repeats)
    except OSError as error:
        raise SpectraFMError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        what = f"{where}: {problem['msg']}" if where else problem["msg"]
        raise SpectraFMError(f"{path}: {printable(what)}") from None
    except (ValueError, RecursionError) as error:
        raise SpectraFMError(f"{path}: not JSON ({printable(str(error))})") from None


def sizes_in(architecture: str) -> TypeAdapter:
    """What ``config.json`` must say of an architecture's sizes, beside everything else."""
    sizes = load(NETWORKS[architecture].where).Sizes
    return TypeAdapter(type("Sizes", (sizes,), {"model_config": ConfigDict(extra="ignore")}))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands twice, readers differ on which value counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice")
    return found


def printable(text: str) -> str:
    """A stranger's text as one short line without control characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= 200 else f"{line[:200]} ..."
