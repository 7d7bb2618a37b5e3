"""Figure 5: where the last decoder block looks for each label, in dwarfs and in giants.

attention/<stage>.zarr  ->  draw_figure5  ->  figures/figure5.{png,pdf}
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrafm.figures.spectra import open_zarr, with_gaps
from spectrafm.figures.style import new_figure, save, styled
from spectrafm.labels import SYMBOLS

#: Wavelength axis, Angstrom: all three detectors.
RANGE = (15130.0, 16965.0)

#: Depth of a curve's deepest peak, in units of the distance between curves.
AMPLITUDE = 0.9

SPECTRUM_COLOUR = "C5"


def draw_figure5(attention: Path, output_stem: Path) -> None:
    """Draw Figure 5 from attention maps.

    Parameters
    ----------
    attention : path
        ``attention/<stage>.zarr``.
    output_stem : path
        ``<output_stem>.png`` and ``.pdf`` are written.

    Raises
    ------
    SpectraFMError
        When the maps are missing.
    """
    save(figure5(open_zarr(attention).load(), read_lines()), output_stem)


def read_lines() -> pandas.DataFrame:
    """The lines marked in the figure: vacuum wavelength (Angstrom), element, row of its name."""
    return pandas.read_csv(Path(__file__).with_name("lines.csv"), comment="#")


@styled()
def figure5(maps: xarray.Dataset, lines: pandas.DataFrame) -> Figure:
    """One panel a population: the curves of each label, inverted, below the mean spectrum.

    Parameters
    ----------
    maps : xarray.Dataset
        ``attention`` (population, request, wavelength) relative to uniform attention, NaN where
        there is no pixel; ``spectrum`` (population, wavelength); ``n_stars`` (population).
    lines : pandas.DataFrame
        As from `read_lines`.
    """
    populations = [str(name) for name in maps["population"].values]
    counts = [int(n) for n in maps["n_stars"].values]
    note = ", ".join(f"{n:,} {name}" for n, name in zip(counts, populations, strict=True))
    figure = new_figure(13, 1 + 4.7 * len(populations), note, bool(maps.attrs["mock"]))
    panels = figure.subplots(len(populations), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name, count in zip(panels, populations, counts, strict=True):
        _draw_population(axes, maps.sel(population=name), lines)
        axes.set_title(f"{name.capitalize()} ({count:,} stars)", loc="right", weight="bold")
    _name_lines(panels[0], lines)
    panels[0].set_xlim(*RANGE)
    figure.supxlabel("Wavelength (Å)")
    figure.supylabel("Normalized Attention")
    figure.suptitle("SpectraFM Attention (Inverted)")
    return figure


def _draw_population(axes: Axes, maps: xarray.Dataset, lines: pandas.DataFrame) -> None:
    wavelength = maps["wavelength"].values
    requests = [str(name) for name in maps["request"].values]
    names = {}
    for number, request in enumerate(requests):
        attention = maps["attention"].sel(request=request).values
        offset = number + 0.5
        names[offset] = SYMBOLS[request], f"C{number}"
        if np.isfinite(attention).any():
            curve = offset - AMPLITUDE * attention / np.nanmax(attention)
            axes.plot(*with_gaps(wavelength, curve), color=f"C{number}", lw=1.3)
    continuum = len(requests) + 0.4
    names[continuum] = "Spectrum", SPECTRUM_COLOUR
    spectrum = continuum + 1.8 * (maps["spectrum"].values - 1)
    axes.plot(*with_gaps(wavelength, spectrum), color=SPECTRUM_COLOUR, lw=0.8)

    for line in lines["wavelength"]:
        axes.axvline(line, color="0.6", ls="--", lw=1, zorder=0)
    for height, (name, colour) in names.items():
        axes.text(
            1.008,
            height,
            name,
            transform=axes.get_yaxis_transform(),
            va="center",
            color=colour,
            fontsize=14,
        )
    axes.set_ylim(-0.5, continuum + 0.6)
    axes.set_yticks([])
    axes.minorticks_on()
    axes.tick_params(axis="y", which="both", left=False)


def _name_lines(axes: Axes, lines: pandas.DataFrame) -> None:
    """Element names below a panel, in two rows so that neighbours do not touch."""
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
