"""The command ``figure4``: predictions, models/<stage> -> figures/figure4.{png,pdf}."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.repeated import row_of, spread
from spectrafm.evaluation.wording import (
    architecture_name,
    distinct_names,
    selection_note,
    stars_text,
    survey_name,
    training_details,
    training_name,
    windows_text,
)
from spectrafm.figures.models import training_iron
from spectrafm.figures.style import (
    FAINT,
    check_output,
    new_figure,
    one_to_one,
    outlined,
    point_area,
    save,
    styled,
)
from spectrafm.inference.predictions import read_predictions, values_of
from spectrafm.integrity import hash_of
from spectrafm.labels import IRON_POOR
from spectrafm.training.repeats import family_of

#: Largest number of panels in one row; more panels take two rows.
IN_ONE_ROW = 4

#: Both axes, dex (as in the paper).
RANGE = (-2.2, 0.6)

#: Predicted uncertainty at which the colours end, dex (as in the paper).
BRIGHTEST = 0.30

TRAINING = "purple"


def figure4(*, predictions: Sequence[Path], models: Sequence[Path], output: Path) -> None:
    """[Fe/H] predicted by each model against the catalogue's, above all of iron-poor stars.

    Where a model learned from some drawn stars, a histogram shows their [Fe/H]. Of a stage that
    was trained on several draws or with several seeds the first is drawn; the RMSE is the median
    of all, with the range.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet files of predict with [Fe/H], one panel each, in this order; repeats of a stage
        share a panel.
    models : sequence of pathlib.Path
        Folders of the models that made them, models/<stage>, in any order.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, or a prediction has no [Fe/H] or no model among
        ``models``.

    Examples
    --------
    $ spectrafm figure4 --predictions results/demo/predictions/fcnn--iron_window.parquet \
--models results/demo/models/fcnn \
--output results/demo/figures/figure4.png
    """
    check_output(output)
    folders = {Path(model).name: Path(model) for model in models}
    panels: dict[tuple[str, str], list[pd.DataFrame]] = {}
    training = []
    for path in predictions:
        table = read_predictions(path)
        stage = table.attrs["stage"]
        if "FE_H" not in table.attrs["labels"]:
            raise SpectraFMError(f"{path}: no column 'FE_H_predicted'")
        if stage not in folders:
            raise SpectraFMError(f"{path}: its stage {stage!r} is not among the models given")
        made_with = table.attrs.get("made_with")
        if made_with and hash_of(folders[stage]) not in made_with.values():
            raise SpectraFMError(f"{folders[stage]}: is not the model that {path} was made with")
        repeats = panels.setdefault((family_of(stage), table.attrs["evaluation"]), [])
        if not repeats:
            training.append(training_iron(folders[stage]))
        repeats.append(table)
    first = [repeats[0] for repeats in panels.values()]
    others = [repeats[1:] for repeats in panels.values()]
    text = f"{len(first)} models, {stars_text(first[0])}"
    save(draw(first, training, others), output, text, [*predictions, *models])


@styled()
def draw(
    panels: Sequence[pd.DataFrame],
    training: Sequence[np.ndarray | None],
    others: Sequence[Sequence[pd.DataFrame]] | None = None,
) -> Figure:
    """Draw predicted against catalogue [Fe/H], one panel a model.

    Parameters
    ----------
    panels : sequence of pandas.DataFrame
        Predictions with [Fe/H], as from `spectrafm.inference.predictions.read_predictions`.
    training : sequence of numpy.ndarray, shape (n,), or None
        For each panel the [Fe/H] of the model's drawn training stars, dex; None: no histogram.
    others : sequence of sequence of pandas.DataFrame, optional
        For each panel the predictions of further repeats of its stage.
    """
    others = others or [()] * len(panels)
    facts = [table.attrs for table in panels]
    poor = int((panels[0]["FE_H_actual"] < IRON_POOR).sum())
    note = f"{stars_text(panels[0])}, {poor:,} iron-poor"
    survey = survey_name(next((fact for fact in facts if fact["mock"]), facts[0]))
    rows = 1 if len(panels) <= IN_ONE_ROW else 2
    columns = math.ceil(len(panels) / rows)
    figure = new_figure(1.4 + 3.5 * columns, 0.7 + 4.4 * rows, note, survey)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shown_axes = list(grid.flat)[: len(panels)]
    for empty in list(grid.flat)[len(panels) :]:
        empty.remove()
    each = zip(shown_axes, panels, others, _titles(panels), training, strict=True)
    for axes, table, more, title, iron in each:
        axes.set_title(title)
        points = _draw_panel(axes, table, [table, *more])
        if iron is not None and iron.size:
            _draw_training(axes, iron)
    grid[0, 0].set(xlim=RANGE, ylim=RANGE, xticks=[-2, -1, 0])
    grid[0, 0].set_yticks(np.arange(-2, 0.6, 0.5))
    # A panel above an empty place of the last row is the lowest of its column.
    for axes in shown_axes[-columns:]:
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("Predicted [Fe/H]")
    figure.supxlabel("Actual [Fe/H]")
    shown = {
        f"{fact['spectra'].capitalize()} Spectra, {windows_text(fact['windows'])}" for fact in facts
    }
    figure.suptitle(f"[Fe/H] Predictions on {'; '.join(sorted(shown))}")
    bar = figure.colorbar(points, ax=shown_axes, extend="max", pad=0.01, aspect=28 * rows)
    bar.set_ticks([0, 0.1, 0.2, 0.3], labels=["0.00", "0.10", "0.20", "> 0.30"])
    bar.set_label("Predicted Error (dex)")
    return figure


def _titles(panels: Sequence[pd.DataFrame]) -> list[str]:
    """Title of each panel, in lines: network, training, training stars, windows."""
    titles = []
    for table in panels:
        trained = table.attrs["trained"]
        how = training_name(trained)
        lines = [
            architecture_name(trained),
            how[0].upper() + how[1:],
            training_details(trained),
            windows_text(trained["windows"]),
        ]
        if note := selection_note(trained):
            lines.append(note)
        titles.append("\n".join(filter(None, lines)))
    return distinct_names(titles, panels)


def _draw_panel(axes: Axes, table: pd.DataFrame, repeats: Sequence[pd.DataFrame]) -> PathCollection:
    actual, predicted, sigma = values_of(table, "FE_H")
    shown = np.isfinite(actual) & np.isfinite(predicted)
    points = axes.scatter(
        actual[shown],
        predicted[shown],
        c=sigma[shown],
        s=point_area(int(shown.sum())),
        lw=0,
        vmin=0,
        vmax=BRIGHTEST,
        rasterized=True,
    )
    one_to_one(axes, *RANGE, width=0.9)
    axes.text(
        0.04, 0.96, _score_text(repeats), transform=axes.transAxes, va="top"
    ).set_path_effects(outlined())
    outside = int(np.sum(shown & ~(_in_range(actual) & _in_range(predicted))))
    if outside:
        axes.text(
            0.04,
            0.79,
            f"{outside} outside",
            transform=axes.transAxes,
            va="top",
            fontsize=10,
            color=FAINT,
        )
    return points


def _in_range(iron: np.ndarray) -> np.ndarray:
    return (iron >= RANGE[0]) & (iron <= RANGE[1])


def _score_text(repeats: Sequence[pd.DataFrame]) -> str:
    """RMSE of all and of iron-poor stars; of several repeats median, range and number."""
    rows = [row_of(table, "FE_H") for table in repeats]
    lines = []
    for group, name in (("all", "RMSE"), ("poor", "iron-poor")):
        values = [row[f"rmse_{group}"] for row in rows]
        if None in values:
            lines.append(f"{name}: no stars")
        elif len(values) == 1:
            lines.append(f"{name} = {values[0]:.3f}")
        else:
            lines.append(f"{name} = {spread(values)}")
    if len(repeats) > 1:
        lines[0] += f" of {len(repeats)}"
    return "\n".join(lines)


def _draw_training(axes: Axes, iron: np.ndarray) -> None:
    """Draw a histogram of the training stars' [Fe/H] along the bottom of a panel."""
    counts = axes.twinx()
    heights, _, _ = counts.hist(iron, bins=10, color=TRAINING, alpha=0.5)
    counts.set_ylim(0, iron.size)
    counts.set_yticks([])
    counts.minorticks_off()
    counts.text(
        np.median(iron),
        heights.max() + 0.03 * iron.size,
        f"{iron.size:,} star\ntraining set",
        color=TRAINING,
        ha="center",
        va="bottom",
    )
