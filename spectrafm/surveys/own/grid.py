"""Putting a spectrum on the wavelengths of a store."""

from __future__ import annotations

import numpy as np

from spectrafm.spectra.spectrum import Spectrum

#: Range of wavelengths that windows of a configuration may have, Angstrom: that of any instrument.
RANGE = (2000.0, 300_000.0)

#: Relative difference below which wavelengths are the same.
SAME = 1e-7

#: A step between good pixels by more than so many typical ones is a gap, not to be bridged.
GAP = 4.0


def even_grid(first: float, last: float, pixels: int) -> np.ndarray:
    """Wavelengths, Angstrom, that are even in their logarithm."""
    return np.geomspace(first, last, pixels)


def on_grid(one: Spectrum, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """A spectrum on other wavelengths.

    Between pixels flux is interpolated linearly, and so are errors in quadrature. A pixel of the
    grid is bad beyond the spectrum, in a gap of it, and beside a bad pixel.

    Parameters
    ----------
    one : spectrafm.spectra.Spectrum
    grid : numpy.ndarray
        Shape (P,): Angstrom, vacuum, increasing.

    Returns
    -------
    flux, flux_error : numpy.ndarray
        float32, shape (P,); NaN where bad, errors also where the spectrum has none.
    mask : numpy.ndarray
        bool, shape (P,): bad pixels.
    interpolated : bool
        Whether the spectrum has other wavelengths than the grid.
    """
    error = np.full(len(one), np.nan) if one.flux_error is None else one.flux_error
    if len(one) == len(grid) and np.allclose(one.wavelength, grid, rtol=SAME, atol=0):
        flux, error, mask = one.flux, error, one.mask
        interpolated = False
    else:
        flux, error, mask = _between(one, error.astype(np.float64), grid)
        interpolated = True
    flux = np.where(mask, np.nan, flux).astype(np.float32)
    error = np.where(mask, np.nan, error).astype(np.float32)
    return flux, error, np.array(mask), interpolated


def _between(
    one: Spectrum, error: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = one.wavelength
    if len(place) < 2:
        return np.zeros(len(grid)), np.zeros(len(grid)), np.ones(len(grid), bool)
    right = np.searchsorted(place, grid).clip(1, len(place) - 1)
    left = right - 1
    step = place[right] - place[left]
    share = (grid - place[left]) / step
    outside = (share < -SAME) | (share > 1 + SAME)
    share = share.clip(0, 1)
    relative = np.diff(np.log(place))
    gap = step / place[left] > GAP * np.median(relative)
    on_pixel = (share == 0) | (share == 1)
    bad = outside | (gap & ~on_pixel)
    bad |= (one.mask[left] & (share < 1)) | (one.mask[right] & (share > 0))
    flux = (1 - share) * one.flux[left] + share * one.flux[right]
    errors = np.hypot((1 - share) * error[left], share * error[right])
    return flux, errors, bad
