"""The command ``figure5``: attention/<stage>.zarr -> figures/figure5.{png,pdf}."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrafm.evaluation.wording import survey_name
from spectrafm.figures.spectra import gaps, with_gaps
from spectrafm.figures.style import check_output, new_figure, save, styled
from spectrafm.inference.attention_maps import read_maps

#: Wavelength axis, Angstrom: all three detectors.
RANGE = (15130.0, 16965.0)

#: Smallest gap that breaks the axis, Angstrom: gaps between detectors are smaller, gaps between the
#: windows of a small run are larger.
BREAK = 150.0

#: Free space at either end of a broken axis, Angstrom.
MARGIN = 4.0

#: Depth of an attention curve's deepest peak, and height of a gradient's, in units of the distance
#: between labels; depth where a map of an older version has no gradients.
DEPTH, HEIGHT = 0.5, 0.42
DEPTH_ALONE = 0.9

#: Height of a label's line, inch, with gradients and without.
LINE, LINE_ALONE = 0.95, 0.64

#: Height of the mean spectrum by flux, and the most room that it takes, in units of the distance
#: between labels.
STEEPEST, ROOM = 1.8, 0.9

SPECTRUM_COLOUR = "C5"


def figure5(attention: Path, *, output: Path) -> None:
    """Where the network looks for each label, in dwarfs and in giants, beside what it answers from.

    Downward its attention, upward the size of the label's gradient with respect to the flux, each
    relative to its highest peak. Ticks between them are the tenth of the pixels whose flux changes
    most with the label, the others fixed, in spectra of the training split.

    Parameters
    ----------
    attention : pathlib.Path
        Zarr group of map-attention, attention/<stage>.zarr.
    output : pathlib.Path
        PNG to write; the PDF is written beside it.

    Raises
    ------
    SpectraFMError
        When the attention maps or a part of them are missing or damaged.

    Examples
    --------
    $ spectrafm figure5 results/demo/attention/pretrain.zarr \
--output results/demo/figures/figure5.png
    """
    check_output(output)
    maps = read_maps(attention)
    counts = zip(maps["n_stars"].values, maps["population"].values, strict=True)
    text = ", ".join(f"{n} {name}" for n, name in counts)
    lines = pd.concat([read_lines(), read_lines("features.csv")])
    save(draw(maps, lines), output, text, [attention])


def read_lines(file: str = "lines.csv") -> pd.DataFrame:
    """Read the spectral lines to mark: vacuum wavelength (Angstrom), element, row of its name."""
    return pd.read_csv(Path(__file__).with_name(file), comment="#")


@styled()
def draw(maps: xarray.Dataset, lines: pd.DataFrame) -> Figure:
    """Draw one panel a population: a curve for each label, inverted, below the mean spectrum.

    Parameters
    ----------
    maps : xarray.Dataset
        As from `spectrafm.inference.attention_maps.read_maps`.
    lines : pandas.DataFrame
        As from `read_lines`.
    """
    populations = [str(name) for name in maps["population"].values]
    counts = [int(n) for n in maps["n_stars"].values]
    note = ", ".join(f"{n:,} {name}" for n, name in zip(counts, populations, strict=True))
    beside = "gradient" in maps
    height = 1.5 + (LINE if beside else LINE_ALONE) * maps.sizes["request"]
    figure = new_figure(13, 1 + height * len(populations), note, survey_name(maps.attrs))
    stretches = stretches_of(maps["wavelength"].values)
    panels = figure.subplots(
        len(populations),
        len(stretches),
        sharex="col",
        sharey=True,
        squeeze=False,
        width_ratios=[longest - shortest for shortest, longest in stretches],
    )
    for row, name, count in zip(panels, populations, counts, strict=True):
        for axes, stretch in zip(row, stretches, strict=True):
            _draw_population(axes, maps.sel(population=name), lines)
            axes.set_xlim(*stretch)
        _name_curves(row[-1], [str(symbol) for symbol in maps["symbol"].values])
        _join(row)
        row[-1].set_title(f"{name.capitalize()} ({count:,} stars)", loc="right", weight="bold")
    for axes, (shortest, longest) in zip(panels[0], stretches, strict=True):
        _name_lines(axes, lines[lines["wavelength"].between(shortest, longest)])
    figure.supxlabel("Wavelength (Å)")
    if beside:
        figure.supylabel("Attention (downward), gradient (upward)")
        figure.suptitle(
            "SpectraFM Attention and Gradient of Each Label by Flux\n"
            "(ticks: pixels whose flux changes most with the label)"
        )
    else:
        figure.supylabel("Normalized Attention")
        figure.suptitle("SpectraFM Attention (Inverted)")
    return figure


def stretches_of(wavelength: np.ndarray) -> list[tuple[float, float]]:
    """Pieces of the wavelength axis: the whole range, or one for each group of distant windows.

    Parameters
    ----------
    wavelength : numpy.ndarray, shape (P,)
        Increasing, Angstrom.
    """
    broken = [gap for gap in gaps(wavelength) if gap[1] - gap[0] > BREAK]
    if not broken and RANGE[0] <= wavelength[0] <= wavelength[-1] <= RANGE[1]:
        return [RANGE]
    starts = [wavelength[0], *(after for _, after in broken)]
    ends = [*(before for before, _ in broken), wavelength[-1]]
    return [(start - MARGIN, end + MARGIN) for start, end in zip(starts, ends, strict=True)]


def _draw_population(axes: Axes, maps: xarray.Dataset, lines: pd.DataFrame) -> None:
    wavelength = maps["wavelength"].values
    requests = maps["request"].values
    depth = DEPTH if "gradient" in maps else DEPTH_ALONE
    for number, request in enumerate(requests):
        found, middle, colour = maps.sel(request=request), number + 0.5, _colour(number)
        curve = middle - depth * _of_peak(found["attention"].values)
        if np.isfinite(curve).any():
            axes.plot(*with_gaps(wavelength, curve), color=colour, lw=1.3)
        if "gradient" not in maps:
            continue
        curve = middle + HEIGHT * _of_peak(found["gradient"].values)
        axes.plot(*with_gaps(wavelength, curve), color=colour, lw=0.9, alpha=0.8)
        own = wavelength[found["own"].values == 1]
        axes.plot(
            own, np.full(own.size, middle), ls="", marker="|", ms=11, color=colour, alpha=0.35
        )
    continuum = _continuum(len(requests))
    spectrum = continuum + _below_continuum(maps["spectrum"].values)
    axes.plot(*with_gaps(wavelength, spectrum), color=SPECTRUM_COLOUR, lw=0.8)
    for line in lines["wavelength"]:
        axes.axvline(line, color="0.6", ls="--", lw=1, zorder=0)
    axes.set_ylim(-0.5, continuum + 0.6)
    axes.set_yticks([])
    axes.minorticks_on()
    axes.tick_params(axis="y", which="both", left=False)


def _below_continuum(flux: np.ndarray) -> np.ndarray:
    """Heights of the mean spectrum: 0 at a continuum of 1, or at the highest flux if that is more.

    Flux as observed, which has no continuum at 1, is drawn flatter, so that it stays in its room.
    """
    known = flux[np.isfinite(flux)]
    level = max(1.0, known.max()) if known.size else 1.0
    depth = level - known.min() if known.size else 0.0
    return (flux - level) * min(STEEPEST, ROOM / max(depth, 1e-9))


def _of_peak(values: np.ndarray) -> np.ndarray:
    """Values relative to the highest; NaN where there are none."""
    known = np.isfinite(values)
    return values / values[known].max() if known.any() else np.full(values.shape, np.nan)


def _colour(number: int) -> str:
    """Colour of a label's curve; no label has the colour of the spectrum."""
    return f"C{number if number < 5 else number + 1}"


def _continuum(requests: int) -> float:
    """Height of the mean spectrum's continuum, above the curves."""
    return requests + 0.4


def _name_curves(axes: Axes, symbols: list[str]) -> None:
    """Write the name of each curve at the right of a panel."""
    names = [(number + 0.5, symbol, _colour(number)) for number, symbol in enumerate(symbols)]
    names.append((_continuum(len(symbols)), "Spectrum", SPECTRUM_COLOUR))
    for height, name, colour in names:
        axes.annotate(
            name,
            (1, height),
            xycoords=axes.get_yaxis_transform(),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=14,
        )


def _join(row: Sequence[Axes]) -> None:
    """Draw dashed sides where the axis is broken."""
    for before, after in itertools.pairwise(row):
        for spine in (before.spines["right"], after.spines["left"]):
            spine.set(linestyle=(0, (1, 4)), color="0.6")


def _name_lines(axes: Axes, lines: pd.DataFrame) -> None:
    """Write element names below a panel, in two rows so that neighbours do not touch."""
    for line in lines.itertuples():
        axes.annotate(
            line.element,
            (line.wavelength, 0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, -10 - 17 * line.row),
            textcoords="offset points",
            ha="center",
            va="top",
        )
