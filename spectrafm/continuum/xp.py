"""The local pseudo-continuum of a Gaia XP spectrum, and its broad shape.

The continuum of a pixel is the mean of the flux around it, weighted by a Gaussian of 50 nm. Each
arm of the spectrograph has a continuum of its own, so that nothing of one leaks into the other.
"""

from __future__ import annotations

import numpy as np

from spectrafm.continuum.dividing import divided
from spectrafm.spectra.spectrum import Spectrum

#: One sigma of the Gaussian, Angstrom.
SIGMA = 500.0

#: First wavelength of the red arm (RP), Angstrom; the blue arm (BP) ends before it.
RED_FROM = 6405.0

#: The scale of a spectrum is its mean flux within these wavelengths, Angstrom.
SCALE_WITHIN = (4000.0, 9000.0)

#: Smallest continuum in units of the scale: below it the flux of XP spectra is noise.
FAINTEST = 0.02

#: The shape is asinh(flux / SHAPE_SCALE) - SHAPE_CENTRE, with flux in units of the scale: linear in
#: the noise about 0, logarithmic in what is bright; 0 at the mean.
SHAPE_SCALE = 0.1
SHAPE_CENTRE = 3.0


def smoothing(wavelength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights that make the continuum and the scale of a spectrum, for any wavelength grid.

    Parameters
    ----------
    wavelength : numpy.ndarray, shape (P,)
        Angstrom, in any order.

    Returns
    -------
    continuum : numpy.ndarray, shape (P, P)
        Weight of each pixel (column) in the continuum of each pixel (row), not normalised.
    scale : numpy.ndarray, shape (P,)
        Weight of each pixel in the scale, not normalised; where no pixel lies within
        `SCALE_WITHIN`, all have one.
    """
    wavelength = np.asarray(wavelength, np.float64)
    order = np.argsort(wavelength, kind="stable")
    width = np.ones_like(wavelength)
    if len(wavelength) > 1:
        width[order] = np.gradient(wavelength[order])
    red = wavelength >= RED_FROM
    distance = (wavelength[:, None] - wavelength) / SIGMA
    continuum = np.exp(-0.5 * distance**2) * width * (red[:, None] == red)
    inside = (wavelength >= SCALE_WITHIN[0]) & (wavelength <= SCALE_WITHIN[1])
    return continuum, width * (inside if inside.any() else 1.0)


def xp(spectrum: Spectrum) -> Spectrum:
    """Divide by the pseudo-continuum; the channel ``shape`` holds what this takes away.

    Networks for XP spectra do the same themselves (`spectrafm.networks.channels`), so that they
    read flux as observed.
    """
    scale, level = continuum(spectrum.wavelength, spectrum.flux, spectrum.mask)
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = np.arcsinh(spectrum.flux / scale / SHAPE_SCALE) - SHAPE_CENTRE
    made = divided(spectrum, level, "xp")
    shape = np.where(made.mask, 0.0, shape).astype(np.float32)
    return made.replace(channels={**made.channels, "shape": shape})


def continuum(
    wavelength: np.ndarray, flux: np.ndarray, mask: np.ndarray
) -> tuple[float, np.ndarray]:
    """Scale and pseudo-continuum of one spectrum.

    Parameters
    ----------
    wavelength : numpy.ndarray, shape (P,), Angstrom
    flux : numpy.ndarray, shape (P,)
        In any unit; a negative flux is noise and counts.
    mask : numpy.ndarray, shape (P,), bool
        True where a pixel is bad; a bad pixel does not count.

    Returns
    -------
    scale : float
        Mean flux within `SCALE_WITHIN`, in the unit of the flux.
    level : numpy.ndarray, shape (P,)
        In the unit of the flux; NaN where no pixel of the arm is good.
    """
    weight, of_scale = smoothing(wavelength)
    good = ~mask & np.isfinite(flux)
    shown = np.where(good, flux, 0.0)
    with np.errstate(invalid="ignore"):
        level = (weight @ shown) / (weight @ good)
        scale = (of_scale @ shown) / (of_scale @ good)
    return float(scale), np.maximum(level, FAINTEST * scale)
