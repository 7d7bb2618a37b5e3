"""The velocity of a star from the lines of its spectrum: were the wavelengths at rest and right?

The spectrum is cross-correlated with the strong lines of late-type stars: a list in the optical and
the line list of the mock survey in the H band. About -83 km/s of a spectrum that should be at rest
means that wavelengths in air were taken for wavelengths in vacuum.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import NamedTuple

import numpy as np

from spectrafm.continuum import normalise
from spectrafm.spectra.medium import air_to_vacuum
from spectrafm.spectra.spectrum import LIGHT, Spectrum
from spectrafm.surveys.mock.lines import read_lines

#: km/s: velocities that are tried on either side of zero.
LARGEST = 600.0

#: km/s: finest step of the correlation.
STEP = 3.0

#: A line's FWHM beyond the instrument's, km/s.
LINE_WIDTH = 12.0

#: Height of the peak over the scatter of the correlation below which no velocity is stated.
FAINTEST = 5.0

#: km/s: the shift between air and vacuum, and how close to it an offset must be.
AIR_SHIFT, AIR_WITHIN = 83.0, 12.0

#: Fewest lines, and coarsest pixels (km/s), from which a velocity can be measured.
FEWEST_LINES, COARSEST = 5, 400.0


class Velocity(NamedTuple):
    """A measured velocity offset.

    Attributes
    ----------
    offset : float
        km/s; positive when lines lie at longer wavelengths than at rest.
    uncertainty : float
        km/s: about one standard deviation, half a pixel at least.
    significance : float
        Height of the correlation's peak over its scatter.
    """

    offset: float
    uncertainty: float
    significance: float


@functools.cache
def _lines() -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths, Angstrom in vacuum and increasing, and weights."""
    text = resources.files(__package__).joinpath("lines.csv").read_text("utf-8")
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")][1:]
    optical = air_to_vacuum(np.array([float(row[1]) for row in rows]))
    infrared = read_lines()
    wavelength = np.concatenate([optical, infrared.wavelength])
    weight = np.concatenate(
        [[float(row[2]) for row in rows], infrared.giant / (1 + infrared.giant)]
    )
    order = np.argsort(wavelength)
    return wavelength[order], weight[order]


def measure_velocity(spectrum: Spectrum) -> Velocity | None:
    """Measure the velocity offset of a spectrum.

    Parameters
    ----------
    spectrum : spectrafm.spectra.Spectrum
        Normalised or as observed.

    Returns
    -------
    Velocity or None
        None if the spectrum holds too few lines, its pixels are too coarse, or no velocity stands
        out.
    """
    one = normalise(spectrum, "running") if spectrum.normalisation in (None, "none") else spectrum
    good = one.good
    if np.count_nonzero(good) < 50:
        return None
    place = np.log(one.wavelength[good])
    pixel = float(np.median(np.diff(place))) * LIGHT
    lines, weights = _lines()
    inside = (lines > one.wavelength[good][0]) & (lines < one.wavelength[good][-1])
    if pixel > COARSEST or np.count_nonzero(inside) < FEWEST_LINES:
        return None
    step = max(STEP, pixel / 2) / LIGHT
    grid = np.arange(place[0], place[-1], step)
    depth = np.interp(grid, place, np.clip(1 - one.flux[good], -0.2, 1.0).astype(np.float64))
    # Where no good pixel is near, there is no depth.
    nearest = np.searchsorted(place, grid).clip(1, len(place) - 1)
    away = np.minimum(np.abs(grid - place[nearest]), np.abs(grid - place[nearest - 1]))
    seen = away < 3 * pixel / LIGHT
    depth -= depth[seen].mean() if seen.any() else 0.0
    depth[~seen] = 0.0
    width = np.hypot(LINE_WIDTH, LIGHT / (one.resolution or LIGHT / (2.5 * pixel)))
    template = _template(grid, np.log(lines[inside]), weights[inside], width / 2.355 / LIGHT)
    template[~seen] = 0.0
    return _peak(depth, template, step * LIGHT, width)


def _template(grid: np.ndarray, lines: np.ndarray, weights: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian lines on a grid of ln(wavelength), less their mean."""
    template = np.zeros(len(grid))
    for line, weight in zip(lines, weights, strict=True):
        first, last = np.searchsorted(grid, [line - 5 * sigma, line + 5 * sigma])
        near = grid[first:last]
        template[first:last] += weight * np.exp(-0.5 * ((near - line) / sigma) ** 2)
    template = np.minimum(template, 1.0)
    return template - template.mean()


def _peak(depth: np.ndarray, template: np.ndarray, step: float, width: float) -> Velocity | None:
    """The highest peak of the correlation, and its height over the scatter elsewhere."""
    most = int(LARGEST / step)
    size = 1 << int(np.ceil(np.log2(len(depth) + 2 * most)))
    product = np.fft.rfft(depth, size) * np.conj(np.fft.rfft(template, size))
    correlation = np.fft.irfft(product, size)
    correlation = np.concatenate([correlation[-most:], correlation[: most + 1]])
    best = int(np.argmax(correlation))
    apart = np.abs(np.arange(len(correlation)) - best) * step > 2 * width
    if best in (0, len(correlation) - 1) or apart.sum() < 10:
        return None
    elsewhere = correlation[apart]
    scatter = 1.4826 * np.median(np.abs(elsewhere - np.median(elsewhere)))
    if not scatter > 0:
        return None
    significance = float((correlation[best] - np.median(elsewhere)) / scatter)
    if significance < FAINTEST:
        return None
    before, at, after = correlation[best - 1 : best + 2]
    curve = before - 2 * at + after
    shift = 0.5 * (before - after) / curve if curve < 0 else 0.0
    offset = (best - most + shift) * step
    return Velocity(float(offset), float(max(step / 2, width / significance)), significance)


def meaning_of(velocity: Velocity, frame: str | None) -> str:
    """What a velocity offset says about the wavelengths.

    Parameters
    ----------
    velocity : Velocity
    frame : {"rest", "barycentric"} or None
        Frame that the spectrum is said to have.
    """
    close = max(AIR_WITHIN, 2 * velocity.uncertainty)
    if frame == "barycentric":
        return "the star's radial velocity, or another shift: wavelengths are not at rest"
    if abs(velocity.offset) <= max(10.0, 3 * velocity.uncertainty):
        return "at rest within its uncertainty"
    if abs(velocity.offset + AIR_SHIFT) < close:
        return "as of wavelengths in air that were taken for vacuum: give medium='air'"
    if abs(velocity.offset - AIR_SHIFT) < close:
        return "as of wavelengths in vacuum that were taken for air: give medium='vacuum'"
    return "as if the star's radial velocity was not removed"
