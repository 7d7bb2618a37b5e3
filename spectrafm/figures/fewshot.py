"""The command ``fewshot``: tables/draws.csv -> figures/fewshot.{png,pdf}."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectrafm.evaluation.scores import GROUPS
from spectrafm.evaluation.wording import survey_of
from spectrafm.figures.style import check_output, new_figure, save, styled
from spectrafm.figures.tables import PANELS, read_rows, stars_of

#: Columns of the table that hold text, and those that hold numbers.
TEXT = ("stage", "survey")
NUMBERS = tuple(f"{what}_{group}" for group in GROUPS for what in ("rmse", "n"))

#: Height between the dots of a stage's first and last repeat, in units of the distance of stages.
SPREAD = 0.5


def fewshot(table: Path, *, output: Path) -> None:
    """RMSE of every draw of the training stars and every seed, a row a stage.

    Dots are the trainings, the same draw and seed at the same height in each row; bars are medians,
    written beside each row.

    Parameters
    ----------
    table : pathlib.Path
        CSV file of table-draws, tables/draws.csv.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.

    Examples
    --------
    $ spectrafm fewshot results/demo/tables/draws.csv --output results/demo/figures/fewshot.png
    """
    check_output(output)
    rows = read_draws(table)
    save(draw(rows), output, f"{rows['stage'].nunique()} stages, {len(rows)} trainings", [table])


def read_draws(table: Path) -> pd.DataFrame:
    """Read ``tables/draws.csv``.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.
    """
    return read_rows(table, "table-draws", TEXT, NUMBERS, at_least=("n_all", 1))


@styled()
def draw(rows: pd.DataFrame) -> Figure:
    """Draw one panel a group of stars, one row a stage.

    Parameters
    ----------
    rows : pandas.DataFrame
        As from `read_draws`.
    """
    stages = list(dict.fromkeys(rows["stage"]))
    height = 2.2 + 0.55 * len(stages)
    figure = new_figure(13, height, stars_of(rows), survey_of(rows), strip=0.3)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (group, title) in zip(panels, PANELS.items(), strict=True):
        for place, stage in enumerate(stages):
            _draw_stage(axes, rows.loc[rows["stage"] == stage, f"rmse_{group}"], place)
        axes.set_title(title)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", color="0.9", lw=0.8)
        axes.tick_params(axis="y", which="minor", left=False, right=False)
    names = [f"{stage} ({(rows['stage'] == stage).sum()})" for stage in stages]
    panels[0].set_yticks(range(len(stages)), labels=names, fontsize=12)
    panels[0].set_ylim(len(stages) - 0.4, -0.6)
    figure.supxlabel("RMSE (dex)")
    return figure


def _draw_stage(axes: Axes, rmse: pd.Series, place: int) -> None:
    """Draw a dot a training, and a bar at their median with its value beside the panel."""
    count = len(rmse)
    heights = [place + SPREAD * ((i + 0.5) / count - 0.5) for i in range(count)]
    axes.plot(rmse, heights, "o", ms=5, color=f"C{place % 10}", alpha=0.75, mew=0)
    median, beside = rmse.median(), axes.get_yaxis_transform()
    axes.plot([median] * 2, [place - 0.36, place + 0.36], color="black", lw=2)
    axes.text(1.01, place, f"{median:.3f}", transform=beside, va="center", fontsize=11)
