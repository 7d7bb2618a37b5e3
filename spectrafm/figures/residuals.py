"""The command ``residuals``: predictions/<stage>--<evaluation>.parquet -> figures/residuals.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrafm.evaluation.wording import model_name, survey_name, unit_text
from spectrafm.figures.one_prediction import draw_first
from spectrafm.figures.style import new_figure, point_area, styled
from spectrafm.inference.predictions import values_of

#: Columns of a prediction that the residuals are drawn against where it has them, and their names.
AGAINST = {"FE_H_actual": "[Fe/H]", "g": "G (mag)", "TEFF_actual": "Effective temperature (K)"}

#: The vertical axis ends at this many times the half-width of the central 90 % of the residuals.
REACH = 2.5

#: Number of bins, each with as many stars, whose quantiles are drawn.
BINS = 12

#: Quantiles of a bin: its median, and the central 68 %.
QUANTILES = (0.16, 0.5, 0.84)


def residuals(predictions: Sequence[Path], *, output: Path) -> None:
    """Predicted minus catalogued labels against [Fe/H], G and effective temperature.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet file of predict, predictions/<stage>--<evaluation>.parquet; of several, which are
        repeats of one stage, the first is drawn.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, or they are no repeats of one stage.

    Examples
    --------
    $ spectrafm residuals results/gaia_xp/predictions/xp_all--all.parquet \
--output results/gaia_xp/figures/residuals.png
    """
    draw_first(predictions, draw, output)


@styled()
def draw(table: pd.DataFrame, note: str = "") -> Figure:
    """Draw a row of panels a label, one panel for each column that the table has.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions, as from `spectrafm.inference.predictions.read_predictions`.
    note : str
        On its stars.
    """
    facts, labels = table.attrs, table.attrs["labels"]
    columns = [name for name in AGAINST if name in table and table[name].notna().any()]
    shape = len(labels), len(columns)
    size = 1 + 4.2 * shape[1], 1.6 + 2.3 * shape[0]
    figure = new_figure(*size, note, survey_name(facts), strip=0.3)
    panels = figure.subplots(*shape, sharex="col", sharey="row", squeeze=False)
    for row, label in zip(panels, labels, strict=True):
        actual, predicted, _ = values_of(table, label)
        off = predicted - actual
        for axes, name in zip(row, columns, strict=True):
            _draw_against(axes, table[name].to_numpy(np.float64), off)
        known = np.abs(off[np.isfinite(off)])
        reach = REACH * np.quantile(known, 0.9) if known.size else 1.0
        row[0].set_ylim(-reach, reach)
        row[0].set_ylabel(f"{facts['symbols'][label]} ({unit_text(facts['label_units'][label])})")
    for axes, name in zip(panels[-1], columns, strict=True):
        axes.set_xlabel(AGAINST[name])
    figure.supylabel("Predicted minus catalogued")
    figure.suptitle(model_name(facts["trained"]))
    return figure


def _draw_against(axes: Axes, x: np.ndarray, off: np.ndarray) -> None:
    """Draw the stars, and median and central 68 % of bins with equally many of them."""
    shown = np.isfinite(x) & np.isfinite(off)
    x, off = x[shown], off[shown]
    axes.axhline(0, color="0.5", lw=1, zorder=0)
    if not x.size:
        return
    axes.scatter(x, off, s=point_area(x.size), lw=0, color="C0", alpha=0.35, rasterized=True)
    places = np.array_split(np.argsort(x, kind="stable"), min(BINS, max(x.size // 20, 1)))
    middle = [np.median(x[rows]) for rows in places]
    low, median, high = np.transpose([np.quantile(off[rows], QUANTILES) for rows in places])
    axes.plot(middle, median, color="C1", lw=2)
    for edge in (low, high):
        axes.plot(middle, edge, color="C1", lw=1.2, ls="--")
