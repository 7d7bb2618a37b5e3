"""The command ``table-draws``: spread of a stage's scores over draws of its few training stars."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.scores import GROUPS, grouped_scores
from spectrafm.files import code_version, require_suffix, write_text
from spectrafm.inference.predictions import read_predictions, values_of
from spectrafm.integrity import hashes_beside
from spectrafm.training.options import DRAW

logger = logging.getLogger(__name__)


def table_draws(predictions: Sequence[Path], *, label: str = "FE_H", output: Path) -> None:
    """Write the median and range over draws of each stage's RMSE.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Prediction files of one evaluation, several draws of each stage.
    label : str
        Name of the label that is scored.
    output : pathlib.Path
        CSV file to write, one row a stage and draw; a Markdown table with one row a stage is
        written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, a prediction lacks the label, or the predictions are of
        different stars.

    Examples
    --------
    $ spectrafm table-draws results/demo/predictions/mlp_tuned_draw7*--iron_window.parquet
      --output=draws.csv
    """
    require_suffix(output, ".csv")
    tables = [read_predictions(path) for path in predictions]
    for path, table in zip(predictions, tables, strict=True):
        if label not in table.attrs["labels"]:
            raise SpectraFMError(f"{path}: no prediction of {label}")
        if not table["apogee_id"].equals(tables[0]["apogee_id"]):
            raise SpectraFMError(f"{path}: other stars than in {predictions[0]}")
    rows = pd.DataFrame([_row(table, label) for table in tables])
    write_text(output, rows.to_csv(index=False, float_format="%.6g"))
    inputs = hashes_beside(output.parent, predictions)
    markdown = f"{_markdown(rows, label, tables)}\n{made_with_text(inputs, [output])}"
    write_text(output.with_suffix(".md"), markdown)
    logger.info("%s: %d draws of %d stages", output, len(rows), rows["stage"].nunique())


def _row(table: pd.DataFrame, label: str) -> dict:
    """Score one prediction: RMSE and count of each group of stars, share within one sigma."""
    stage = table.attrs["stage"].partition(DRAW)[0]
    actual, predicted, sigma = values_of(table, label)
    found = grouped_scores(actual, predicted, sigma, table.get("FE_H_actual"))
    row = {
        "stage": stage,
        "draw": (table.attrs["trained"].get("stars") or {}).get("seed"),
        "mock": table.attrs["mock"],
    }
    for group in GROUPS:
        row |= {f"{measure}_{group}": found[group][measure] for measure in ("rmse", "n")}
    return row | {"coverage_1sigma": found["all"]["coverage_1sigma"]}


def _markdown(rows: pd.DataFrame, label: str, tables: Sequence[pd.DataFrame]) -> str:
    """Format one line a stage, in the order of the files: median [range] over its draws."""
    heads = ["stage", "draws", *(f"RMSE {group}" for group in GROUPS), "within 1 sigma"]
    columns = [*(f"rmse_{group}" for group in GROUPS), "coverage_1sigma"]
    lines = [
        [stage, str(len(draws)), *(_spread(draws[name]) for name in columns)]
        for stage, draws in rows.groupby("stage", sort=False)
    ]
    unit = tables[0].attrs["label_units"][label]
    survey = "MOCK SURVEY, " if rows["mock"].any() else ""
    table = pd.DataFrame(lines, columns=heads).to_markdown(index=False)
    return (
        f"# {label} ({survey}{unit}): median [range] over draws of the training stars\n\n"
        f"{table}\n\nMade by SpectraFM {code_version()}.\n"
    )


def _spread(values: pd.Series) -> str:
    """Format median and range as ``.135 [.110-.160]``."""
    low, middle, high = (f"{value:.3f}".lstrip("0") for value in values.quantile([0, 0.5, 1]))
    return f"{middle} [{low}-{high}]"
