"""What figures of one prediction share: reading it, the note on its stars, saving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.repeated import groups_of_repeats
from spectrafm.evaluation.wording import stars_text
from spectrafm.figures.style import check_output, save


def draw_first(
    predictions: Sequence[Path], draw: Callable[[pd.DataFrame, str], Figure], output: Path
) -> None:
    """Draw a prediction; of several repeats of a stage the first, which the figure says.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet files of predict: one, or the repeats of one stage in one evaluation.
    draw : callable
        Makes the figure from the table of `spectrafm.inference.predictions.read_predictions` and
        the note on its stars.
    output : pathlib.Path
        PNG or PDF to write; the other is written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, or they are no repeats of one stage.
    """
    check_output(output)
    groups = groups_of_repeats(predictions)
    if len(groups) > 1:
        raise SpectraFMError(f"{predictions[-1]}: is no repeat of the prediction {predictions[0]}")
    first, *others = groups[0]
    note = stars_text(first)
    if others:
        note += f", the first of {len(others) + 1} trainings of {first.attrs['stage']}"
    save(draw(first, note), output, f"{note}, {len(first.attrs['labels'])} labels", predictions)
