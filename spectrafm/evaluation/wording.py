"""Names of models, wavelengths and stars in tables, figures and the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spectrafm.networks import NETWORKS
from spectrafm.surveys import SURVEYS

#: Parts of networks near the input; within them, layer 0 is the first.
FIRST_PARTS = ("embedding", "encoder", "convolution", "dense")


def windows_text(windows: Sequence[Sequence[float]]) -> str:
    """Format windows (Angstrom) in micron, as ``1.515–1.603 µm``; of three or more the range."""
    if len(windows) > 2:
        shortest, longest = (pick(end for pair in windows for end in pair) for pick in (min, max))
        return f"{len(windows)} windows in {shortest / 1e4:.3f}–{longest / 1e4:.3f} µm"
    ranges = [f"{shortest / 1e4:.3f}–{longest / 1e4:.3f}" for shortest, longest in windows]
    return " and ".join(ranges) + " µm"


#: The survey of simulated stars, in tables and figures.
MOCK_SURVEY = "MOCK SURVEY"


def survey_name(facts: Mapping[str, Any]) -> str:
    """Name of the stars' survey and its release, as ``Gaia XP DR3``, in tables and figures.

    Parameters
    ----------
    facts : mapping
        Metadata of a prediction or a map, with ``mock``, ``survey`` and ``release``; files of older
        versions, which lack the latter two, are of APOGEE.
    """
    if facts["mock"]:
        return MOCK_SURVEY
    name, release = (str(facts.get(key) or "") for key in ("survey", "release"))
    title = SURVEYS[name].title if name in SURVEYS else "APOGEE"
    return f"{title} {release.upper()}" if re.fullmatch(r"e?dr[0-9]+", release) else title


def of_mock(rows: pd.DataFrame) -> bool:
    """Whether any row of a table is of the mock survey, by its column ``survey``."""
    return bool((rows["survey"] == MOCK_SURVEY).any())


def survey_of(rows: pd.DataFrame) -> str:
    """The surveys of a table's rows, by its column ``survey``; the mock survey alone if one is."""
    return MOCK_SURVEY if of_mock(rows) else ", ".join(dict.fromkeys(rows["survey"].astype(str)))


def unit_text(unit: str) -> str:
    """Format a unit for an axis: ``dex`` for ``dex(cm s-2)``."""
    return "dex" if unit.startswith("dex") else unit


def architecture_name(trained: dict[str, Any]) -> str:
    """Name of a network's architecture, as in the paper's figures."""
    name = trained["architecture"]
    return NETWORKS[name].title if name in NETWORKS else name


def training_name(trained: dict[str, Any]) -> str:
    """Describe how a network learned, as ``fine-tuned on observed``.

    Parameters
    ----------
    trained : dict
        ``trained`` of a prediction's metadata.
    """
    if reads_twins(trained):
        return "reading synthetic twins"
    synthetic = trained["spectra"] == "synthetic"
    if "start_from" in trained:
        from_scratch = trained["start_from"] is None
    else:
        # Version 0.1 did not record start_from; only SpectraFM could start from another stage.
        from_scratch = synthetic or trained["architecture"] != "spectrafm"
    if not from_scratch:
        how = "fine-tuned"
    else:
        how = "pre-trained" if synthetic else "trained from scratch"
    return f"{how} on {trained['spectra']}"


def reads_twins(trained: dict[str, Any]) -> bool:
    """Whether a network read the synthetic spectra behind the observed ones."""
    return (trained.get("twin") or {}).get("components") is not None


def training_details(trained: dict[str, Any]) -> str:
    """Describe stars, replay, teacher and frozen layers, as ``100 stars``; often empty.

    Parameters
    ----------
    trained : dict
        ``trained`` of a prediction's metadata.
    """
    count = (trained.get("stars") or {}).get("count")
    parts = [f"{count:,} stars"] if count else []
    if replayed := (trained.get("replay") or {}).get("spectra"):
        parts.append(f"{replayed} replay")
    if teacher := (trained.get("pseudo_labels") or {}).get("teacher"):
        parts.append(f"labels of {teacher}")
    frozen = trained.get("freeze")
    if frozen:
        parts.append(f"{_layers(frozen)} frozen")
    return ", ".join(parts)


def _layers(frozen: Sequence[str]) -> str:
    """Describe where frozen layers are in a network: near its input, its output, or both."""
    sides = {_side(part) for part in frozen}
    return f"{sides.pop()} layers" if len(sides) == 1 else "some layers"


def _side(part: str) -> str:
    name, _, number = part.partition(".")
    first = name in FIRST_PARTS and number in ("", "0")
    return "earlier" if first else "later"


def model_name(trained: dict[str, Any]) -> str:
    """Name a model by network, training and details, on one line."""
    details = training_details(trained)
    name = f"{architecture_name(trained)} {training_name(trained)}"
    return f"{name} ({details})" if details else name


def stars_text(table: pd.DataFrame) -> str:
    """Describe the stars of a prediction by number and split, as ``412 test stars``."""
    splits = " and ".join(table["split"].unique())
    return f"{len(table):,} {splits} stars"


def distinct_names(names: Sequence[str], tables: Sequence[pd.DataFrame]) -> list[str]:
    """Add the stage to names of models that occur more than once.

    Stages may differ in options that the names do not include, such as the seed.
    """
    alike = Counter(names)
    return [
        f"{name}\n({table.attrs['stage']})" if alike[name] > 1 else name
        for name, table in zip(names, tables, strict=True)
    ]


def selection_note(trained: dict[str, Any]) -> str:
    """Note for a model whose checkpoint was chosen as the authors did; empty for others.

    The authors' choice uses iron-poor stars, the very stars to which the fine-tune is to
    extrapolate.
    """
    return "checkpoint chosen on iron-poor stars" if trained.get("selection") == "paper" else ""
