"""What a prediction file holds, and how tables and figures name the model behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.labels import LABELS

#: What each label has in a prediction file.
PARTS = ("actual", "error", "predicted", "uncertainty")

ARCHITECTURES = {"spectrafm": "SpectraFM", "fcnn": "Neural network"}


def read_predictions(path: Path) -> pandas.DataFrame:
    """Read ``predictions/<stage>--<evaluation>.parquet``.

    Returns
    -------
    pandas.DataFrame
        One row a star; ``attrs`` holds the file's metadata and ``labels``, those it predicts, in
        the order used everywhere.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged, was not written by ``predict``, or lacks a column.
    """
    table = read_parquet(path)
    for key in ("stage", "evaluation", "mock", "windows", "trained"):
        if key not in table.attrs:
            raise SpectraFMError(f"{path}: not a prediction file: its metadata has no {key!r}")
    labels = [label for label in LABELS if f"{label}_predicted" in table]
    wanted = ["apogee_id", *(f"{label}_{part}" for label in labels for part in PARTS)]
    for column in wanted:
        if column not in table:
            raise SpectraFMError(f"{path}: no column {column!r}")
    table.attrs["labels"] = labels
    return table


def facts_of(table: pandas.DataFrame) -> dict[str, Any]:
    """What a reader must know of a prediction beside its numbers."""
    keys = ("mock", "spectra", "windows", "trained", "training_stars")
    return {key: table.attrs[key] for key in keys if key in table.attrs}


def windows_text(windows: Sequence[Sequence[float]]) -> str:
    """Wavelength windows (Angstrom) in micron, as ``1.515–1.603 µm``; many as their number."""
    if len(windows) > 2:
        shortest, longest = (pick(end for pair in windows for end in pair) for pick in (min, max))
        return f"{len(windows)} windows in {shortest / 1e4:.3f}–{longest / 1e4:.3f} µm"
    ranges = [f"{shortest / 1e4:.3f}–{longest / 1e4:.3f}" for shortest, longest in windows]
    return " and ".join(ranges) + " µm"


def architecture_name(trained: dict[str, Any]) -> str:
    """The network's name as in the paper's figures."""
    return ARCHITECTURES[trained["architecture"]]


def training_name(trained: dict[str, Any]) -> str:
    """How the network learned, as in ``fine-tuned on observed``.

    Parameters
    ----------
    trained : dict
        ``trained`` of a prediction's metadata.
    """
    synthetic = trained["spectra"] == "synthetic"
    if "start_from" in trained:
        from_scratch = trained["start_from"] is None
    else:
        from_scratch = synthetic or trained["architecture"] == "fcnn"
    if not from_scratch:
        how = "fine-tuned"
    else:
        how = "pre-trained" if synthetic else "trained from scratch"
    return f"{how} on {trained['spectra']}"


def stars_text(table: pandas.DataFrame) -> str:
    """How many stars of which split a prediction holds, as ``412 test stars``."""
    splits = " and ".join(table["split"].unique())
    return f"{len(table):,} {splits} stars"


def told_apart(names: Sequence[str], tables: Sequence[pandas.DataFrame]) -> list[str]:
    """Add the stage to names that occur twice.

    Stages may differ in ways that their names do not tell, such as what was frozen.
    """
    alike = Counter(names)
    return [
        f"{name}\n({table.attrs['stage']})" if alike[name] > 1 else name
        for name, table in zip(names, tables, strict=True)
    ]


def selection_note(trained: dict[str, Any]) -> str:
    """A warning where the checkpoint was chosen as the authors did, else nothing.

    Their choice looked at 2,000 iron-poor stars (design: labelled wherever it appears).
    """
    return "checkpoint chosen on iron-poor stars" if trained.get("selection") == "paper" else ""
