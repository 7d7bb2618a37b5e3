"""The command ``learning_curve``: tables/learning_curve.csv -> figures/learning_curve.{png,pdf}."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from spectrafm.evaluation.scores import GROUPS
from spectrafm.evaluation.wording import survey_of, unit_text
from spectrafm.figures.style import check_output, new_figure, save, styled
from spectrafm.figures.tables import PANELS, read_rows, stars_of

#: Columns of the table that hold text, and those that hold numbers.
TEXT = ("stage", "symbol", "unit", "survey")
NUMBERS = (
    "stars",
    "draws",
    *(f"{what}_{group}" for group in GROUPS for what in ("n", "rmse", "low", "high")),
)

#: Markers and lines of the curves, after each round of colours another one.
MARKERS, LINES = "os^Dv", ("-", "--", ":", "-.", (0, (1, 3)))
#: Numbers of stars closer than this factor share a tick, that of the smaller one.
APART = 1.4


def learning_curve(table: Path, *, output: Path) -> None:
    """RMSE against the number of stars that each stage learned from, of iron-poor and other stars.

    Bars hold 95 % of bootstrap samples of test stars and draws. At 0 stars stands the model that a
    stage starts from.

    Parameters
    ----------
    table : pathlib.Path
        CSV file of table-learning-curve, tables/learning_curve.csv.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.

    Examples
    --------
    $ spectrafm learning_curve results/demo/tables/learning_curve.csv \
--output results/demo/figures/learning_curve.png
    """
    check_output(output)
    rows = read_curve(table)
    save(draw(rows), output, f"{rows['stage'].nunique()} stages, {len(rows)} points", [table])


def read_curve(table: Path) -> pd.DataFrame:
    """Read ``tables/learning_curve.csv``.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.
    """
    return read_rows(table, "table-learning-curve", TEXT, NUMBERS, at_least=("stars", 0))


@styled()
def draw(rows: pd.DataFrame) -> Figure:
    """Draw one panel a group of stars, one curve a stage.

    Parameters
    ----------
    rows : pandas.DataFrame
        As from `read_curve`.
    """
    figure = new_figure(14, 6.4, stars_of(rows), survey_of(rows))
    panels = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
    for axes, (group, title) in zip(panels, PANELS.items(), strict=True):
        _draw_panel(axes, rows, group)
        axes.set_title(title)
    # 0 stars stand beside the logarithmic part of the axis.
    smallest = rows["stars"][rows["stars"] > 0].min() if (rows["stars"] > 0).any() else 1
    panels[0].set_xscale("symlog", linthresh=smallest, linscale=0.6)
    ticks = []
    for count in sorted(set(rows["stars"])):
        if not ticks or count > APART * ticks[-1]:
            ticks.append(count)
    panels[0].set_xticks(ticks, labels=[f"{count:g}" for count in ticks])
    for axes in panels:
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0].set_yscale("log")
    symbol, unit = rows["symbol"].iloc[0], unit_text(rows["unit"].iloc[0])
    panels[0].set_ylabel(f"RMSE in {symbol} ({unit})")
    figure.supxlabel("Number of training stars")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=12)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, group: str) -> None:
    stages = list(dict.fromkeys(rows["stage"]))
    for number, stage in enumerate(stages):
        curve = rows[rows["stage"] == stage].sort_values("stars")
        value, low, high = (curve[f"{what}_{group}"] for what in ("rmse", "low", "high"))
        bars = np.clip([value - low, high - value], 0, None)
        axes.errorbar(
            curve["stars"],
            value,
            yerr=bars,
            label=stage,
            color=f"C{number % 10}",
            marker=MARKERS[number // 10 % len(MARKERS)],
            ls=LINES[number // 10 % len(LINES)],
            ms=5,
            lw=1.5,
            elinewidth=0.8,
            capsize=2,
        )
