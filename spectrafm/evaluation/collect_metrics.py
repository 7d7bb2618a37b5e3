"""The command ``collect-metrics``: predictions/*.parquet -> metrics.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.evaluation.scores import GROUPS, grouped_scores
from spectrafm.files import provenance, require_suffix, write_json
from spectrafm.inference.predictions import facts_of, read_predictions, values_of
from spectrafm.integrity import hashes_beside

logger = logging.getLogger(__name__)


def collect_metrics(predictions: Sequence[Path], *, output: Path) -> None:
    """Score every label of every prediction of a run into one JSON file.

    The file holds, under <stage>--<evaluation>, the options of the training, the spectra and
    windows of the prediction, the number of stars, and for each label its unit, the number of stars
    with a prediction, and the scores of all, iron-rich and iron-poor stars. Under ``made_with`` it
    holds the SHA-256 of each prediction file.

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
            made_with=hashes_beside(output.parent, predictions),
        ),
    )
    scored = sum(len(entry["labels"]) for entry in entries.values())
    logger.info("%s: %d predictions, %d labels scored", output, len(entries), scored)


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
