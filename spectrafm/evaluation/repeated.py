"""Predictions of repeats of stages: their residuals on the same stars, and median and range.

Shapes: n stars, K repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.scores import GROUPS, grouped_scores
from spectrafm.evaluation.wording import survey_name
from spectrafm.inference.predictions import read_predictions, values_of
from spectrafm.labels import IRON_POOR
from spectrafm.training.repeats import family_of


@dataclass(frozen=True)
class Family:
    """Predictions of one label by the repeats of one stage, for the same stars.

    Attributes
    ----------
    stage : str
    tables : list of pandas.DataFrame
        One a repeat, as from `spectrafm.inference.predictions.read_predictions`.
    label : str
    """

    stage: str
    tables: list[pd.DataFrame]
    label: str

    @property
    def facts(self) -> dict[str, Any]:
        """Metadata of the first prediction."""
        return self.tables[0].attrs

    @property
    def mock(self) -> bool:
        """Whether a prediction is of the mock survey."""
        return any(table.attrs["mock"] for table in self.tables)

    @property
    def survey(self) -> str:
        """Name of the stars' survey."""
        return survey_name({**self.facts, "mock": self.mock})

    @property
    def unit(self) -> str:
        """Unit of the label."""
        return self.facts["label_units"][self.label]

    @property
    def symbol(self) -> str:
        """Symbol of the label, in matplotlib's mathtext."""
        return self.facts["symbols"][self.label]

    @property
    def residual(self) -> np.ndarray:
        """Predicted minus actual, shape (K, n); NaN where one of them is not known."""
        values = [values_of(table, self.label) for table in self.tables]
        return np.stack([predicted - actual for actual, predicted, _ in values])

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Mask of the stars of each group of `GROUPS`, shape (n,)."""
        table = self.tables[0]
        iron = table.get("FE_H_actual", pd.Series(np.nan, table.index)).to_numpy(np.float64)
        chosen = {"all": np.ones(len(table), dtype=bool), "rich": iron >= IRON_POOR}
        return {**chosen, "poor": iron < IRON_POOR}

    def rows(self) -> list[dict[str, Any]]:
        """Scores of each repeat: RMSE and count of each group, share within one sigma."""
        return [row_of(table, self.label) for table in self.tables]


def families_of(predictions: Sequence[Path], label: str) -> dict[str, Family]:
    """Read predictions and group them by stage, repeats together, in the order of the files.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, lacks the label, or is of other stars than the first.
    """
    families: dict[str, Family] = {}
    first = None
    for path in predictions:
        table = read_predictions(path)
        first = table if first is None else first
        if label not in table.attrs["labels"]:
            raise SpectraFMError(f"{path}: no prediction of {label}")
        if not table["apogee_id"].equals(first["apogee_id"]):
            raise SpectraFMError(f"{path}: other stars than in {predictions[0]}")
        stage = family_of(table.attrs["stage"])
        families.setdefault(stage, Family(stage, [], label)).tables.append(table)
    return families


def groups_of_repeats(predictions: Sequence[Path]) -> list[list[pd.DataFrame]]:
    """Read predictions and group the repeats of a stage in one evaluation, in order of the files.

    Each table's ``attrs`` also name its file as ``path``.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, or a repeat is of other stars than the first.
    """
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for path in predictions:
        table = read_predictions(Path(path))
        table.attrs["path"] = str(path)
        stage = family_of(table.attrs["stage"])
        repeats = found.setdefault((stage, table.attrs["evaluation"]), [])
        if repeats and not table["apogee_id"].equals(repeats[0]["apogee_id"]):
            raise SpectraFMError(f"{path}: other stars than in the first repeat of {stage}")
        repeats.append(table)
    return list(found.values())


def median_scores(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each score over repeats; that of one is its own. Counts stay whole numbers."""
    if len(scores) == 1:
        return dict(scores[0])
    median = pd.DataFrame(scores).median()
    whole = {name for name, value in scores[0].items() if isinstance(value, int)}
    return {
        name: int(value) if name in whole else None if pd.isna(value) else float(value)
        for name, value in median.items()
    }


def row_of(table: pd.DataFrame, label: str) -> dict[str, Any]:
    """Scores of a label in one prediction, with what tells it from other repeats of its stage."""
    found = grouped_scores(*values_of(table, label), table.get("FE_H_actual"))
    trained = table.attrs["trained"]
    stars = trained.get("stars") or {}
    row = {
        "stage": family_of(table.attrs["stage"]),
        "stars": stars.get("count"),
        "draw": stars.get("seed"),
        "seed": trained.get("seed"),
        "survey": survey_name(table.attrs),
    }
    for group in GROUPS:
        row |= {f"{measure}_{group}": found[group][measure] for measure in ("rmse", "n")}
    return row | {"coverage_1sigma": found["all"]["coverage_1sigma"]}


def spread(values: Iterable[float]) -> str:
    """Format median and range as ``.135 [.110-.160]``; a single value as ``.135``."""
    known = pd.Series(values, dtype=float).dropna()
    if not len(known):
        return "–"
    low, middle, high = (f"{value:.3f}".lstrip("0") for value in known.quantile([0, 0.5, 1]))
    return middle if len(known) == 1 else f"{middle} [{low}-{high}]"
