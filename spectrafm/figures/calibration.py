"""The command ``calibration``: tables/calibration.csv -> figures/calibration.{png,pdf}."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spectrafm.evaluation.table_calibration import KINDS
from spectrafm.evaluation.wording import survey_of
from spectrafm.figures.style import (
    FAINT,
    OBSERVED,
    SYNTHETIC,
    check_output,
    new_figure,
    save,
    styled,
)
from spectrafm.figures.tables import read_rows
from spectrafm.inference.calibration import LEVELS

#: Largest number of panels in one row.
IN_ONE_ROW = 3

#: Stars of a group that is drawn; smaller ones are in the table only.
FEWEST = 10

#: Colour, marker, and height above the middle of a group's line, by kind of errors.
DRAWN = {"gaussian": (SYNTHETIC, "o", 0.17), "calibrated": (OBSERVED, "s", -0.17)}

#: Columns of the table that hold text, and those that hold numbers in every row.
TEXT = ("prediction", "label", "symbol", "survey", "group", "by")
NUMBERS = ("n", "repeats", "pull_mean", "pull_sd", *(f"gaussian_{level}" for level in LEVELS))


def calibration(table: Path, *, output: Path) -> None:
    """Share of stars within the predicted errors, achieved against nominal, by group of stars.

    Bars are the standard deviation of a share of so few stars; groups of fewer than ten stars, and
    those by which the calibration divides stars, are in the table only. On the right of each panel:
    number of stars, and mean and standard deviation of (predicted - actual) / sigma.

    Parameters
    ----------
    table : pathlib.Path
        CSV file of table-calibration, tables/calibration.csv.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.

    Examples
    --------
    $ spectrafm calibration results/demo/tables/calibration.csv \
--output results/demo/figures/calibration.png
    """
    check_output(output)
    rows = read_coverage(table)
    panels = rows.groupby(["prediction", "label"], sort=False).ngroups
    save(draw(rows), output, f"{panels} labels of predictions, {len(rows)} groups", [table])


def read_coverage(table: Path) -> pd.DataFrame:
    """Read ``tables/calibration.csv``.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.
    """
    return read_rows(
        table, "table-calibration", TEXT, NUMBERS, at_least=("n", 1), further="calibrated_"
    )


@styled()
def draw(rows: pd.DataFrame) -> Figure:
    """Draw one panel a label of a prediction, one line a group.

    Parameters
    ----------
    rows : pandas.DataFrame
        As ``tables/calibration.csv``.
    """
    rows = rows[rows["by"] != "prediction"]
    rows = rows[(rows["n"] >= FEWEST) | (rows["n"] == rows["n"].max())]
    panels = [found for _, found in rows.groupby(["prediction", "label"], sort=False)]
    columns = min(IN_ONE_ROW, len(panels))
    lines = math.ceil(len(panels) / columns)
    most = max(map(len, panels))
    note = f"{rows['n'].max():,.0f} stars at most"
    figure = new_figure(
        6.8 * columns, 1.2 + (1.4 + 0.36 * most) * lines, note, survey_of(rows), strip=0.3
    )
    # Between a panel's numbers and the names of the next one's groups.
    figure.get_layout_engine().set(w_pad=0.2)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for empty in grid[len(panels) :]:
        empty.remove()
    shares = rows[
        [f"{kind}_{level}" for kind in KINDS for level in LEVELS if f"{kind}_{level}" in rows]
    ]
    lowest = max(-3.0, 100 * float(shares.min().min()) - 10)
    for axes, found in zip(grid, panels, strict=False):
        _draw_panel(axes, found, lowest)
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="", label=KINDS[kind])
        for kind, (colour, marker, _) in DRAWN.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    figure.supxlabel("Stars within the predicted error (%); dashed: as it should be")
    return figure


def _draw_panel(axes: Axes, found: pd.DataFrame, lowest: float) -> None:
    """Draw the groups of a label, with an axis from the share ``lowest`` on, percent."""
    place = np.arange(len(found))[::-1]
    count = found["n"].to_numpy(np.float64)
    for level in LEVELS:
        axes.axvline(level, color=FAINT, ls="--", lw=1, zorder=0)
        for kind, (colour, marker, offset) in DRAWN.items():
            if f"{kind}_{level}" not in found:
                continue
            share = found[f"{kind}_{level}"].to_numpy(np.float64)
            spread = np.sqrt(level / 100 * (1 - level / 100) / count)
            axes.errorbar(
                100 * share, place + offset, xerr=100 * spread,
                color=colour, marker=marker, ls="", ms=5, lw=1,
            )  # fmt: skip
    axes.set(xlim=(lowest, 103), ylim=(-0.6, len(found) - 0.4))
    axes.set_yticks(place, labels=list(found["group"]))
    axes.tick_params(axis="y", labelsize=11)
    axes.set_xticks(LEVELS)
    for text, side in zip(axes.get_xticklabels(), ("center", "right", "left"), strict=True):
        text.set_horizontalalignment(side)
    axes.tick_params(axis="x", labelsize=10)
    axes.minorticks_off()
    told = axes.secondary_yaxis("right")
    texts = [
        f"{n:,.0f}; {mean:+.2f} ± {sd:.2f}"
        for n, mean, sd in zip(found["n"], found["pull_mean"], found["pull_sd"], strict=True)
    ]
    told.set_yticks(place, labels=texts)
    told.tick_params(axis="y", labelsize=10, length=0)
    told.minorticks_off()
    axes.text(1.03, -0.02, "n; pull", transform=axes.transAxes, va="top", fontsize=10)
    title = f"{found['prediction'].iloc[0]}: {found['symbol'].iloc[0]}"
    repeats = int(found["repeats"].iloc[0])
    if repeats > 1:
        title += f"\n(median of {repeats} trainings)"
    axes.set_title(title, fontsize=13)
