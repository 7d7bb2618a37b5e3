"""The command ``table-draws``: scores of stages over draws and seeds, and their differences."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.paired import LEVEL, Bootstrap, Interval
from spectrafm.evaluation.repeated import Family, families_of, spread
from spectrafm.evaluation.scores import GROUPS
from spectrafm.files import code_version, require_suffix, write_text
from spectrafm.integrity import hashes_beside

logger = logging.getLogger(__name__)


def table_draws(
    predictions: Sequence[Path],
    *,
    label: str = "FE_H",
    against: str | None = None,
    output: Path,
) -> None:
    """Write the median and range over draws and seeds of each stage's RMSE, and differences.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Prediction files of the same stars, several draws or seeds of each stage.
    label : str
        Name of the label that is scored.
    against : str, optional
        Stage that the others are compared with, on the same stars; default: that of the first
        file.
    output : pathlib.Path
        CSV file to write, one row a stage, draw and seed; a Markdown table with one row a stage is
        written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, a prediction lacks the label, the predictions are of
        different stars, or none is of the stage ``against``.

    Examples
    --------
    $ spectrafm table-draws results/demo/predictions/mlp_tuned_draw7*--iron_window.parquet
      --output=draws.csv
    """
    require_suffix(output, ".csv")
    families = families_of(predictions, label)
    against = against or next(iter(families))
    if against not in families:
        raise SpectraFMError(f"table-draws: --against: no prediction of a stage {against!r}")
    rows = pd.DataFrame([row for family in families.values() for row in family.rows()])
    write_text(output, rows.to_csv(index=False, float_format="%.6g"))
    inputs = hashes_beside(output.parent, predictions)
    markdown = f"{_markdown(families, label, against)}\n{made_with_text(inputs, [output])}"
    write_text(output.with_suffix(".md"), markdown)
    logger.info("%s: %d trainings of %d stages", output, len(rows), len(families))


def _markdown(families: dict[str, Family], label: str, against: str) -> str:
    """Format one line a stage, in the order of the files."""
    reference = families[against]
    bootstrap = Bootstrap(reference.residual.shape[1])
    heads = ["stage", "draws", "seeds", *(f"RMSE {group}" for group in GROUPS), "within 1 sigma"]
    heads += [f"difference {group}" for group in GROUPS]
    lines = []
    for family in families.values():
        rows = pd.DataFrame(family.rows())
        cells = [spread(rows[f"rmse_{group}"]) for group in GROUPS]
        cells.append(spread(rows["coverage_1sigma"]))
        differences = [
            bootstrap.difference(family.residual, reference.residual, reference.groups[group])
            for group in GROUPS
        ]
        same = family is reference
        cells += ["" if same else _signed(found) for found in differences]
        counts = (str(rows[key].nunique(dropna=False)) for key in ("draw", "seed"))
        lines.append([family.stage, *counts, *cells])
    table = pd.DataFrame(lines, columns=heads).to_markdown(index=False, disable_numparse=True)
    return (
        f"# {label} ({reference.survey}, {reference.unit}): median [range] over draws of the "
        f"training stars and seeds\n\n{table}\n\n"
        f"difference: RMSE minus that of {against}, on the same stars [{LEVEL:.0%} of bootstrap "
        "samples of stars and repeats].\n\n"
        f"Made by SpectraFM {code_version()}.\n"
    )


def _signed(found: Interval | None) -> str:
    """Format a difference as ``-.020 [-.031 +.002]``."""
    if found is None or not np.isfinite(found.value):
        return "–"
    value, low, high = (f"{number:+.3f}".replace("0.", ".", 1) for number in found)
    return f"{value} [{low} {high}]"
