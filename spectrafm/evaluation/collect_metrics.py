"""Every score of every prediction of a run: predictions/*.parquet -> metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from spectrafm.evaluation.scores import GROUPS, grouped_scores
from spectrafm.files import provenance, write_json
from spectrafm.inference.predictions import facts_of, read_predictions
from spectrafm.labels import UNITS
from spectrafm.manifest import hashes_beside


def collect_metrics(predictions: Sequence[Path], *, output: Path) -> None:
    """Score every label of every prediction file into one ``metrics.json``.

    Parameters
    ----------
    predictions : sequence of path
        ``predictions/<stage>--<evaluation>.parquet`` files.
    output : path
        JSON: ``predictions`` holds, under ``<stage>--<evaluation>``, how the model was trained,
        what it was shown, how many stars were ``asked``, and ``labels``: for each its unit, how
        many stars have a prediction, and the scores of all, rich and poor stars. ``made_with``
        holds the SHA-256 of each file.

    Raises
    ------
    SpectraFMError
        For a missing or damaged file.
    """
    tables = [read_predictions(path) for path in predictions]
    write_json(
        output,
        provenance(
            mock=any(table.attrs["mock"] for table in tables),
            groups=GROUPS,
            bias="mean of predicted - actual; median_bias is the median",
            predictions={
                f"{table.attrs['stage']}--{table.attrs['evaluation']}": _metrics_of(table)
                for table in tables
            },
            made_with=hashes_beside(output.parent, predictions),
        ),
    )


def _metrics_of(table: pandas.DataFrame) -> dict[str, Any]:
    """The entry of one prediction file in ``metrics.json``."""
    iron = table.get("FE_H_actual")
    labels = {}
    for label in table.attrs["labels"]:
        actual, predicted, sigma = (
            table[f"{label}_{part}"].to_numpy(np.float64)
            for part in ("actual", "predicted", "uncertainty")
        )
        labels[label] = {
            "unit": UNITS[label],
            "predicted": int(np.isfinite(predicted).sum()),
            **grouped_scores(actual, predicted, sigma, iron),
        }
    return {**facts_of(table), "asked": len(table), "labels": labels}
