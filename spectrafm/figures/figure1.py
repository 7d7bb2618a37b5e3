"""The command ``figure1``: store.zarr -> figures/figure1.{png,pdf}."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

from spectrafm.evaluation.wording import survey_name
from spectrafm.figures.spectra import gaps, with_gaps
from spectrafm.figures.style import (
    FAINT,
    OBSERVED,
    SYNTHETIC,
    check_output,
    new_figure,
    outlined,
    save,
    styled,
)
from spectrafm.spectra import pixels_in
from spectrafm.store.star import Star, read_star

#: The close-up, Angstrom (as in the paper).
ZOOM = (16275.0, 16325.0)


def figure1(store: Path, *, star: str | None = None, output: Path) -> None:
    """An observed spectrum and the synthetic best fit of the same star, whole and close up.

    Parameters
    ----------
    store : pathlib.Path
        Store with the star, store.zarr.
    star : str, optional
        APOGEE_ID of the star; default: the first giant (log g < 3) of the test split.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When the store or the star is missing.

    Examples
    --------
    $ spectrafm figure1 results/demo/store.zarr --output results/demo/figures/figure1.png
    """
    check_output(output)
    shown = read_star(store, star)
    save(draw(shown), output, f"star {shown.apogee_id}, one of {shown.stars}", [store])


@styled()
def draw(star: Star, zoom: tuple[float, float] = ZOOM) -> Figure:
    """Draw observed and synthetic spectrum of a star: the whole above, a close-up below.

    Parameters
    ----------
    star : Star
    zoom : tuple of float
        Range of the close-up, Angstrom.
    """
    note = f"star {star.apogee_id}, one of {star.stars:,}"
    figure = new_figure(8, 5.8, note, survey_name(star._asdict()), strip=0.3)
    whole, close = figure.subplots(2, 1)
    figure.suptitle("Observed and Synthetic APOGEE Spectra")
    figure.supylabel("Normalized Flux", y=0.53)
    close.set_xlabel("Wavelength (Å)")

    for axes in (whole, close):
        _shade_missing(axes, star)
    whole.plot(*with_gaps(star.wavelength, star.observed), color=OBSERVED, lw=0.8)
    modelled = np.isfinite(star.synthetic).any()
    if modelled:
        whole.plot(*with_gaps(star.wavelength, star.synthetic), color=SYNTHETIC, lw=0.8, alpha=0.9)
    close.plot(*with_gaps(star.wavelength, star.observed), color=OBSERVED, lw=1.8, label="Observed")
    if modelled:
        close.plot(
            *with_gaps(star.wavelength, star.synthetic),
            color=SYNTHETIC,
            lw=2.2,
            ls=(0, (4, 1.6)),
            label="Synthetic",
        )
    whole.set_xlim(star.wavelength[0] - 20, star.wavelength[-1] + 20)
    whole.set_ylim(*_flux_range(star, np.arange(star.wavelength.size), room=0.25))
    close.set_xlim(*zoom)
    close.set_ylim(*_flux_range(star, pixels_in(star.wavelength, [zoom])[0], room=0.25))

    _name_gaps(whole, star)
    missing = int(np.isnan(star.observed).sum())
    whole.text(
        sum(zoom) / 2,
        0.04,
        f"Total pixels: {star.wavelength.size} ({missing} missing)",
        transform=whole.get_xaxis_transform(),
        ha="center",
        color=FAINT,
        fontsize=11,
    )
    close.legend(loc="lower center", ncols=3, handlelength=2.6)
    _connect(figure, whole, close)
    return figure


def _shade_missing(axes: Axes, star: Star) -> None:
    """Draw grey bands where the observed spectrum has no good pixel."""
    missing = np.concatenate([[False], np.isnan(star.observed), [False]])
    starts, stops = np.flatnonzero(missing[1:] != missing[:-1]).reshape(-1, 2).T
    half_pixel = np.median(np.diff(star.wavelength)) / 2
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        axes.axvspan(
            star.wavelength[start] - half_pixel,
            star.wavelength[stop - 1] + half_pixel,
            color="0.88",
            lw=0,
            zorder=0,
            label="Missing" if number == 0 else None,
        )


def _flux_range(star: Star, pixels: np.ndarray, room: float) -> tuple[float, float]:
    """Axis limits that hold both spectra and, below them, text of ``room`` times their range.

    The limits are 0.5 and 1.2 where there is no flux.
    """
    flux = np.concatenate([star.observed[pixels], star.synthetic[pixels]])
    flux = flux[np.isfinite(flux)]
    if flux.size == 0:
        return 0.5, 1.2
    span = np.ptp(flux)
    return flux.min() - room * span, flux.max() + 0.06 * span


def _name_gaps(axes: Axes, star: Star) -> None:
    for start, stop in gaps(star.wavelength):
        axes.text(
            (start + stop) / 2,
            0.68,
            "Detector gap",
            transform=axes.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="center",
            color=FAINT,
            fontsize=11,
        )


def _connect(figure: Figure, whole: Axes, close: Axes) -> None:
    """Mark the close-up's range in the whole spectrum; join the two panels by lines behind them."""
    (left, right), (bottom, top) = close.get_xlim(), close.get_ylim()
    whole.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=False, ec="0.35", lw=1, zorder=4)
    )
    for side in (left, right):
        figure.add_artist(
            ConnectionPatch(
                (side, bottom),
                (side, close.get_ylim()[1]),
                coordsA=whole.transData,
                coordsB=close.transData,
                color="0.35",
                lw=0.8,
                zorder=-1,
                in_layout=False,
            )
        )
    for axes in (whole, close):
        axes.patch.set_visible(False)
    for name in whole.get_xticklabels():
        name.set_path_effects(outlined())
