"""What ``config.json`` must say before a network is built from it.

The file may come from anyone: each value that is used has a type and bounds here, so that nothing
is allocated, looked up or printed at a stranger's word. Values that nothing reads may be anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.labels import LabelName
from spectrafm.networks.options import Model
from spectrafm.spectra import Kind, Window
from spectrafm.training.options import Stars


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("a label is named twice")
    return labels


class _Part(BaseModel):
    # Unknown keys are let be: a later version may write more, and older ones must still read it.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Trained(_Part):
    """The options of the training that predictions carry on."""

    architecture: Literal["spectrafm", "fcnn"]
    start_from: str | None
    spectra: Kind
    windows: list[Window]
    stars: Stars
    labels: list[LabelName]
    selection: str
    freeze: list[str] = []
    flux_range: tuple[float, float] | None = None


class _Facts(_Part):
    stage_name: str
    stage: Trained
    labels: Annotated[
        list[LabelName], Field(min_length=1), AfterValidator(_distinct)
    ]  # known to the network
    tokens: int = Field(ge=1, le=1_000_000)
    training_star_count: int = Field(ge=0)
    mock: bool = False


class SpectraFMFacts(_Facts):
    """Of a `SpectraFM` network."""

    architecture: Literal["spectrafm"]
    model: Model


class FCNNFacts(_Facts):
    """Of an `FCNN` network."""

    architecture: Literal["fcnn"]
    pixels: int = Field(ge=1, le=1_000_000)


_ANY = TypeAdapter(Annotated[SpectraFMFacts | FCNNFacts, Field(discriminator="architecture")])


def read_facts(path: Path) -> dict[str, Any]:
    """Read a model's ``config.json``.

    Raises
    ------
    SpectraFMError
        When it is missing, not JSON, names a key twice, or a value is not what it must be.
    """
    try:
        content = path.read_bytes()
        _ANY.validate_json(content, strict=True)
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
