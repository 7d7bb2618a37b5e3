"""Putting a spectrum on other wavelengths, such as those of a store."""

from __future__ import annotations

import numpy as np

from spectrafm.spectra.spectrum import Spectrum

#: Relative difference below which wavelengths are the same.
SAME = 1e-7

#: A step between good pixels by more than so many typical ones is a gap, not to be bridged.
GAP = 4.0


def on_grid(one: Spectrum, grid: np.ndarray) -> Spectrum:
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
    spectrafm.spectra.Spectrum
        Its flux and mask are the spectrum's own arrays if that has these wavelengths.
    """
    if len(one) == len(grid) and np.allclose(one.wavelength, grid, rtol=SAME, atol=0):
        return one.replace(wavelength=grid)
    none = one.flux_error is None
    error = np.zeros(len(one)) if none else one.flux_error.astype(np.float64)
    flux, error, bad = _between(one, error, grid)
    flux, error = (np.where(bad, 0, values).astype(np.float32) for values in (flux, error))
    return one.replace(
        wavelength=grid, flux=flux, flux_error=None if none else error, mask=bad, channels={}
    )


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
