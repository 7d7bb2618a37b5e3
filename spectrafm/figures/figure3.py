"""The command ``figure3``: predictions/<stage>--<evaluation>.parquet -> figures/figure3.*."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from spectrafm.evaluation.wording import (
    model_name,
    selection_note,
    survey_name,
    unit_text,
    windows_text,
)
from spectrafm.figures.one_prediction import draw_first
from spectrafm.figures.style import new_figure, one_to_one, point_area, styled
from spectrafm.inference.predictions import values_of

PANELS_PER_ROW = 3

#: The colours end at this many mean uncertainties (as in the paper).
BRIGHTEST = 5.0


def figure3(predictions: Sequence[Path], *, output: Path) -> None:
    """Labels predicted from spectra against the catalogue's, coloured by the predicted error.

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
    $ spectrafm figure3 results/demo/predictions/finetune_observed--first_half.parquet \
--output results/demo/figures/figure3.png
    """
    draw_first(predictions, draw, output)


@styled()
def draw(table: pd.DataFrame, note: str = "") -> Figure:
    """Draw one panel a label, in rows of three, the last row centred.

    Parameters
    ----------
    table : pandas.DataFrame
        Predictions, as from `spectrafm.inference.predictions.read_predictions`.
    note : str
        On its stars.
    """
    facts, labels = table.attrs, table.attrs["labels"]
    rows = math.ceil(len(labels) / PANELS_PER_ROW)
    figure = new_figure(13, 1.1 + 3.2 * rows, note, survey_name(facts))
    grid = figure.add_gridspec(rows, 2 * PANELS_PER_ROW)
    for number, label in enumerate(labels):
        row, place = divmod(number, PANELS_PER_ROW)
        in_row = min(PANELS_PER_ROW, len(labels) - row * PANELS_PER_ROW)
        first = PANELS_PER_ROW - in_row + 2 * place
        axes = figure.add_subplot(grid[row, first : first + 2])
        bar = _draw_label(axes, table, label)
        unit = unit_text(facts["label_units"][label])
        axes.set_title(
            facts["symbols"][label] + ("" if unit == "dex" else f" ({unit})"), fontsize=17
        )
        if place == 0:
            axes.set_ylabel("Predicted")
        if bar is not None:
            bar.set_label(f"Predicted Error ({unit})")
    figure.supxlabel("Actual")
    figure.suptitle(_title(facts))
    return figure


def _title(facts: dict) -> str:
    trained = facts["trained"]
    lines = [
        f"Predictions on {facts['spectra'].capitalize()} Spectra, {windows_text(facts['windows'])}",
        f"{model_name(trained)}, {windows_text(trained['windows'])}",
    ]
    if note := selection_note(trained):
        lines[1] += f" ({note})"
    return "\n".join(lines)


def _draw_label(axes: Axes, table: pd.DataFrame, label: str) -> Colorbar | None:
    """Draw one label's panel and return its colour bar; None where no star has the label."""
    actual, predicted, sigma = values_of(table, label)
    shown = np.isfinite(actual) & np.isfinite(predicted) & np.isfinite(sigma)
    actual, predicted, sigma = actual[shown], predicted[shown], sigma[shown]
    if actual.size == 0:
        axes.text(0.5, 0.5, "no stars", transform=axes.transAxes, ha="center")
        return None
    brightest = BRIGHTEST * sigma.mean()
    points = axes.scatter(
        actual,
        predicted,
        c=sigma,
        s=point_area(actual.size),
        lw=0,
        vmin=sigma.min(),
        vmax=brightest,
        rasterized=True,
    )
    one_to_one(axes, actual.min(), actual.max(), width=1.6)
    bar = axes.figure.colorbar(points, ax=axes, pad=0.02)
    bar.minorticks_off()
    ticks = np.linspace(sigma.min(), brightest, 5)
    digits = 0 if brightest > 10 else 2
    names = [f"{tick:.{digits}f}" for tick in ticks]
    bar.set_ticks(ticks, labels=[*names[:-1], f">{names[-1]}"])
    return bar
