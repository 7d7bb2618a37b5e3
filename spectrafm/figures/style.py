"""Style that all figures share, their note on the stars shown, and saving."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import matplotlib.style
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.wording import MOCK_SURVEY
from spectrafm.files import atomic_path, require_suffix
from spectrafm.integrity import MADE_WITH, hashes_beside
from spectrafm.reading import problem_in

logger = logging.getLogger(__name__)

#: Decorator and context that applies ``spectrafm.mplstyle``: ``@styled()``.
styled = functools.partial(matplotlib.style.context, Path(__file__).with_name("spectrafm.mplstyle"))

OBSERVED = "#4B7BE5"
SYNTHETIC = "#FF8C38"
SPECTRA_COLOURS = {"observed": OBSERVED, "synthetic": SYNTHETIC}
FAINT = "0.45"
MOCK = "#B00020"


def new_figure(width: float, height: float, note: str, survey: str, strip: float = 0) -> Figure:
    """Create an empty figure with a note at its lower right.

    Parameters
    ----------
    width, height : float
        Inches.
    note : str
        Which stars the figure shows, and how many.
    survey : str
        Name of the stars' survey, with which the note begins; that of the mock survey makes it red.
    strip : float
        Inches kept free at the bottom, where the note would otherwise overlap the axis label.
    """
    mock = survey == MOCK_SURVEY
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, strip / height, 1, 1 - strip / height))
    figure.text(
        1 - 0.1 / width,
        0.08 / height,
        f"{survey} · {note}",
        ha="right",
        va="bottom",
        fontsize=11,
        color=MOCK if mock else FAINT,
        weight="bold" if mock else "normal",
        in_layout=False,
    )
    return figure


def point_area(stars: int) -> float:
    """Marker area, points squared, for a number of stars between hundreds and ten thousands."""
    return min(14.0, max(1.5, 14.0 * (400 / max(stars, 1)) ** 0.5))


def outlined() -> list:
    """Path effects that keep text readable where a line passes behind it."""
    return [patheffects.withStroke(linewidth=3, foreground="white")]


def one_to_one(axes: Axes, lowest: float, highest: float, width: float = 1.2) -> None:
    """Draw a dashed red line where predicted equals actual."""
    axes.plot([lowest, highest], [lowest, highest], color="red", ls="--", lw=width, zorder=3)


@styled()
def save(figure: Figure, output: str | Path, shown: str, made_with: Iterable[Path]) -> None:
    """Write a figure as PNG and as PDF, each atomically, with the SHA-256 of its inputs inside.

    The files hold nothing that changes from run to run (dates, versions), so that the same data
    gives the same bytes. The hashes are JSON, by path relative to the figure's folder: in the
    PNG's text `MADE_WITH` and the PDF's keywords.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    output : str or pathlib.Path
        Name of either file; the other is written beside it.
    shown : str
        What the figure shows, with its counts, for the log.
    made_with : iterable of pathlib.Path
        Files and folders that the figure was made from.
    """
    check_output(output)
    inputs = json.dumps(hashes_beside(Path(output).parent, made_with))
    metadata_of = {
        ".png": {"Software": None, MADE_WITH: inputs},
        ".pdf": {"CreationDate": None, "Producer": None, "Keywords": inputs},
    }
    for suffix, metadata in metadata_of.items():
        with atomic_path(Path(output).with_suffix(suffix)) as temporary:
            try:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)
            except ValueError as error:
                # Symbols of labels are mathtext, which may not be well formed.
                raise SpectraFMError(f"{output}: cannot be drawn ({problem_in(error)})") from None
    logger.info("%s: %s", output, shown)


def check_output(output: str | Path) -> None:
    """Check that a file's name ends in ``.png`` or ``.pdf``.

    Raises
    ------
    SpectraFMError
        When the name has another suffix.
    """
    require_suffix(output, ".png", ".pdf")
