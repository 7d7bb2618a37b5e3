"""The command ``collect-metrics``: predictions/*.parquet -> metrics.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.evaluation.repeated import row_of
from spectrafm.evaluation.scores import GROUPS, grouped_scores
from spectrafm.files import provenance, require_suffix, write_json
from spectrafm.inference.predictions import facts_of, read_predictions, values_of
from spectrafm.integrity import hashes_beside
from spectrafm.training.repeats import family_of

logger = logging.getLogger(__name__)


def collect_metrics(predictions: Sequence[Path], *, output: Path) -> None:
    """Score every label of every prediction of a run into one JSON file.

    The file holds, under <stage>--<evaluation>, the options of the training, the spectra and
    windows of the prediction, the number of stars, and for each label its unit, the number of stars
    with a prediction, and the scores of all, iron-rich and iron-poor stars. Under ``repeats`` it
    holds, of each stage that was trained on several draws or with several seeds, the lowest, median
    and highest RMSE. Under ``made_with`` it holds the SHA-256 of each prediction file.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet files of predict, predictions/<stage>--<evaluation>.parquet.
    output : pathlib.Path
        JSON file to write, metrics.json.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged.

    Examples
    --------
    $ spectrafm collect-metrics results/demo/predictions/*.parquet \
--output results/demo/metrics.json
    """
    require_suffix(output, ".json")
    tables = [read_predictions(path) for path in predictions]
    entries = {
        f"{table.attrs['stage']}--{table.attrs['evaluation']}": _metrics_of(table)
        for table in tables
    }
    write_json(
        output,
        provenance(
            mock=any(table.attrs["mock"] for table in tables),
            groups=GROUPS,
            bias="mean of predicted - actual; median_bias is the median",
            predictions=entries,
            repeats=_repeats_of(tables),
            made_with=hashes_beside(output.parent, predictions),
        ),
    )
    scored = sum(len(entry["labels"]) for entry in entries.values())
    logger.info("%s: %d predictions, %d labels scored", output, len(entries), scored)


def _repeats_of(tables: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Spread of the RMSE of stages that were trained several times, by stage and evaluation."""
    together: dict[str, list[pd.DataFrame]] = {}
    for table in tables:
        name = f"{family_of(table.attrs['stage'])}--{table.attrs['evaluation']}"
        together.setdefault(name, []).append(table)
    return {
        name: {
            "trainings": [table.attrs["stage"] for table in repeats],
            "labels": {label: _spread_of(repeats, label) for label in repeats[0].attrs["labels"]},
        }
        for name, repeats in together.items()
        if len(repeats) > 1
    }


def _spread_of(tables: Sequence[pd.DataFrame], label: str) -> dict[str, Any]:
    """Lowest, median and highest RMSE of a label, for each group of stars."""
    rows = [row_of(table, label) for table in tables if label in table.attrs["labels"]]
    found = {}
    for group in GROUPS:
        known = [row[f"rmse_{group}"] for row in rows if row[f"rmse_{group}"] is not None]
        ends = np.quantile(known, [0, 0.5, 1]).tolist() if known else [None] * 3
        found[group] = dict(zip(("lowest", "median", "highest"), ends, strict=True))
    return found


def _metrics_of(table: pd.DataFrame) -> dict[str, Any]:
    """Make the entry of one prediction file in ``metrics.json``."""
    iron = table.get("FE_H_actual")
    labels = {}
    for label in table.attrs["labels"]:
        actual, predicted, sigma = values_of(table, label)
        labels[label] = {
            "unit": table.attrs["label_units"][label],
            "symbol": table.attrs["symbols"][label],
            "predicted": int(np.isfinite(predicted).sum()),
            **grouped_scores(actual, predicted, sigma, iron),
        }
    flags = table["flags"] if "flags" in table else pd.Series([], dtype=str)
    return {
        **facts_of(table),
        "asked": len(table),
        "flagged": int((flags != "").sum()),
        "labels": labels,
    }
