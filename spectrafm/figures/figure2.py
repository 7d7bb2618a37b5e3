"""The command ``figure2``: store.zarr, models/<stage> -> figures/figure2.{png,pdf}."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrafm.evaluation.wording import survey_name, windows_text
from spectrafm.figures.models import facts_of
from spectrafm.figures.spectra import with_gaps
from spectrafm.figures.style import (
    SPECTRA_COLOURS,
    SYNTHETIC,
    check_output,
    new_figure,
    save,
    styled,
)
from spectrafm.spectra import pixels_in
from spectrafm.store.star import Star, read_star

#: The two Fe I lines that made the authors choose the iron window, vacuum Angstrom (Smith et al.
#: 2013 give 16153.247 and 16165.032 in air).
IRON_LINES = (16157.66, 16169.45)


def figure2(store: Path, models: Sequence[Path], *, star: str | None = None, output: Path) -> None:
    """The spectra and wavelengths that each stage of the training sees.

    Parameters
    ----------
    store : pathlib.Path
        Store with the star, store.zarr.
    models : sequence of pathlib.Path
        Folders of the stages' models, models/<stage>, one row each, in this order.
    star : str, optional
        APOGEE_ID of the star; default: the first giant (log g < 3) of the test split.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When the store, the star or a model is missing or damaged.

    Examples
    --------
    $ spectrafm figure2 results/demo/store.zarr results/demo/models/pretrain \
--output results/demo/figures/figure2.png
    """
    check_output(output)
    stages = [facts_of(Path(model))["stage"] for model in models]
    shown = read_star(store, star)
    text = f"{len(stages)} stages, star {shown.apogee_id}"
    save(draw(shown, stages), output, text, [store, *models])


@styled()
def draw(star: Star, stages: Sequence[dict[str, Any]]) -> Figure:
    """Draw one row a stage: the whole synthetic spectrum, faint, and the stage's part of it.

    Parameters
    ----------
    star : Star
    stages : sequence of dict
        Options of each stage: ``spectra``, ``windows`` (Angstrom), ``labels``, ``start_from``,
        ``stars``.
    """
    note = f"star {star.apogee_id}, one of {star.stars:,}"
    figure = new_figure(13, 0.7 + 1.75 * len(stages), note, survey_name(star._asdict()))
    rows = figure.subplots(len(stages), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, stage in zip(rows, stages, strict=True):
        _draw_stage(axes, star, stage)
    micron = star.wavelength / 1e4
    padding = 0.01 * (micron[-1] - micron[0])
    rows[0].set_xlim(micron[0] - padding, micron[-1] + padding)
    flux = np.concatenate([star.observed, star.synthetic])
    if np.isfinite(flux).any():
        # Room for the windows, which are written below the spectrum.
        lowest, highest = np.nanmin(flux), np.nanmax(flux)
        span = highest - lowest
        rows[0].set_ylim(lowest - 0.4 * span, highest + 0.08 * span)
    figure.supylabel("Normalized Flux")
    figure.supxlabel("Wavelength (µm)")
    return figure


def _draw_stage(axes: Axes, star: Star, stage: dict[str, Any]) -> None:
    axes.set_title(stage_title(stage), fontsize=16)
    whole = star.synthetic if np.isfinite(star.synthetic).any() else star.observed
    wavelength, ghost = with_gaps(star.wavelength, whole)
    axes.plot(wavelength / 1e4, ghost, color=SYNTHETIC, lw=0.9, alpha=0.18)

    flux = np.full(star.wavelength.size, np.nan)
    seen = np.concatenate(pixels_in(star.wavelength, stage["windows"]))
    flux[seen] = getattr(star, stage["spectra"])[seen]
    wavelength, flux = with_gaps(star.wavelength, flux)
    axes.plot(wavelength / 1e4, flux, color=SPECTRA_COLOURS[stage["spectra"]], lw=0.9)

    edges = [edge for window in stage["windows"] for edge in window]
    axes.text(
        (min(edges) + max(edges)) / 2e4,
        0.05,
        windows_text(stage["windows"]),
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=14,
    )
    if stage["labels"] == ["FE_H"]:
        for line in IRON_LINES:
            axes.plot(
                [line / 1e4] * 2,
                [0.24, 1],
                transform=axes.get_xaxis_transform(),
                color="black",
                ls="--",
                lw=0.8,
            )


def stage_title(stage: dict[str, Any]) -> str:
    """Describe a stage, its spectra in bold: Fine-tuning on **Observed Iron-Rich** Spectra."""
    if stage["start_from"] is not None:
        step = "Fine-tuning"
    else:
        step = "Pre-training" if stage["spectra"] == "synthetic" else "Training"
    words = [stage["spectra"].capitalize()]
    where = (stage["stars"].get("where") or "").replace(" ", "")
    if where.startswith("FE_H>"):
        words.append("Iron‐Rich")
    elif where.startswith("FE_H<"):
        words.append("Iron‐Poor")
    count = stage["stars"].get("count")
    bold = " ".join(rf"$\mathbf{{{word}}}$" for word in words)
    return f"{step} on {f'{count:,} ' if count else ''}{bold} Spectra"
