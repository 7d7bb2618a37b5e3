"""From emergent spectra to catalogued spectra: the instrument's part of the synthetic gap.

Every effect of the instrument that distinguishes an observed spectrum from a model spectrum is
scaled by ``gap``. At ``gap`` 0 an observed spectrum is its model plus noise and bad pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrafm.surveys.apogee.grid import CHIPS, GRID_WAVELENGTH, N_GRID
from spectrafm.surveys.mock.synthesis import FINE_STEP, OVERSAMPLING

#: Resolving power of the models' nominal line-spread function.
RESOLUTION = 22_500.0

PIXEL_VELOCITY = OVERSAMPLING * FINE_STEP / 1e5  # km/s
_LIGHT_SPEED = 299_792.458  # km/s
_FWHM = 2.3548  # full width at half maximum of a Gaussian of unit sigma

BAD_ERROR = 1e10  # error that the APOGEE pipeline gives to an unusable pixel
_BAD_FLUX = 1e-4  # flux that the APOGEE pipeline gives to an unusable pixel

# Periods of interference fringes and of the slower ripple that the flat field leaves, in pixels of
# the detector frame; each of the two has this rms.
_FRINGES = (170.0, 113.0, 73.0, 61.0, 47.0)
_RIPPLE = (640.0, 430.0, 290.0)
_WAVE_RMS = 0.006

# Airglow lines of OH, vacuum Angstrom in the observer's frame, from the APOGEE pipeline's list
# (sdss/apogee data/skylines/airglow.txt); the strongest ones are listed separately.
_AIRGLOW = np.array([
    15187.13, 15287.79, 15395.33, 15500.87, 15509.79, 15546.15, 15570.17, 15597.64, 15702.54,
    15868.40, 15870.21, 15972.61, 16079.77, 16194.64, 16317.16, 16341.77, 16350.63, 16351.94,
    16388.49, 16475.63, 16479.06, 16502.37, 16553.82, 16840.49, 16903.68,
])  # fmt: skip
_STRONG_AIRGLOW = np.array([15240.96, 15332.40, 16030.85, 16692.37])
_AIRGLOW_WIDTH = 0.35  # sigma, Angstrom

# Residual absorption by the Earth's atmosphere after the telluric correction: wavelengths and
# depths of the lines depend on the site and are the same for every star.
_TELLURIC_LINES = 130
_TELLURIC_WIDTH = 0.32  # sigma, Angstrom
_TELLURIC_DEPTH = 0.012
_TELLURIC_SEED = 20170


@dataclass(frozen=True)
class Exposure:
    """How one row of the catalogue was observed."""

    snr: float
    fibre: int
    shift: float  # km/s between the observer and the star, Earth's motion included
    persistence: bool  # the blue detector retains charge from an earlier, brighter exposure


def to_pixels(
    fine: np.ndarray, broadening: float, resolution: float = RESOLUTION, extra: float = 0.0
) -> np.ndarray:
    """Broaden a fine spectrum and bin it to APOGEE's pixels.

    Parameters
    ----------
    fine : numpy.ndarray
        Shape (3 * 8575,).
    broadening : float
        Full width at half maximum of macroturbulence and rotation, km/s.
    resolution : float
        Resolving power of the Gaussian line-spread function.
    extra : float
        Sigma of a further Gaussian, APOGEE pixels.

    Returns
    -------
    numpy.ndarray
        Shape (8575,).
    """
    width = np.hypot(_LIGHT_SPEED / resolution, broadening) / _FWHM  # sigma, km/s
    sigma = np.hypot(width / PIXEL_VELOCITY, extra) * OVERSAMPLING
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(fine.dtype)
    padded = np.pad(fine, reach, mode="edge")
    broadened = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    return broadened.reshape(N_GRID, OVERSAMPLING).mean(axis=1, dtype=float)


def _chip_bases() -> list[np.ndarray]:
    """Orthonormal fourth-order polynomials on the pixels of each detector."""
    bases = []
    for start, stop in CHIPS:
        position = np.linspace(-1, 1, stop - start)
        bases.append(np.linalg.qr(np.polynomial.legendre.legvander(position, 4))[0])
    return bases


_BASES = _chip_bases()


def normalise(flux: np.ndarray) -> np.ndarray:
    """Divide each detector by a fourth-order polynomial; zero between the detectors.

    ASPCAP does the same to observed and model spectra, with no clipping of lines, so that the
    continuum of a star with many lines comes to lie above one.
    """
    normalised = np.zeros(N_GRID)
    for (start, stop), basis in zip(CHIPS, _BASES, strict=True):
        chip = flux[start:stop]
        # Unlike a matrix product, einsum's sum does not depend on the number of threads.
        coefficients = np.einsum("pk,p->k", basis, chip)
        normalised[start:stop] = chip / np.einsum("pk,k->p", basis, coefficients)
    return normalised


def observe(
    fine: np.ndarray, broadening: float, exposure: Exposure, gap: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Observed, normalised spectrum of a star and its errors.

    Parameters
    ----------
    fine : numpy.ndarray
        Shape (3 * 8575,).
        Emergent flux over continuum.
    broadening : float
        Full width at half maximum of macroturbulence and rotation, km/s.
    exposure : Exposure
    gap : float
        Strength of the effects that the models do not include.
    rng : numpy.random.Generator

    Returns
    -------
    flux, error : numpy.ndarray
        Shape (8575,).
        Exactly zero between the detectors.
    """
    fibre_change = 0.06 * np.sin(exposure.fibre / 47) + 0.015 * rng.normal()
    resolution = RESOLUTION * (1 + gap * fibre_change)
    flux = to_pixels(fine, broadening, resolution, extra=0.62 * gap)
    flux = _with_stray_light(flux, exposure, gap, rng)
    flux = flux * _earth_atmosphere(exposure, gap, rng) * _waves(exposure, gap, rng)
    flux = flux + _sky_residuals(exposure, gap, rng)
    return _with_noise(normalise(flux), exposure, rng)


def _with_stray_light(
    flux: np.ndarray, exposure: Exposure, gap: float, rng: np.random.Generator
) -> np.ndarray:
    """Add scattered light and, on the blue detector, persistence: both make lines shallower."""
    pedestal = np.full(N_GRID, gap * 0.035 * max(1 + 0.3 * rng.normal(), 0))
    remembered = rng.uniform(0, 0.06)
    if exposure.persistence:
        pedestal[slice(*CHIPS[0])] += gap * remembered
    return (flux + pedestal) / (1 + pedestal)


def _waves(exposure: Exposure, gap: float, rng: np.random.Generator) -> np.ndarray:
    """Fringes and ripple: fixed on the detector, hence shifted in the star's rest frame."""
    pixel = np.arange(N_GRID) + exposure.shift / PIXEL_VELOCITY
    pattern = np.zeros(N_GRID)
    for periods in (_FRINGES, _RIPPLE):
        amplitude = _WAVE_RMS * np.sqrt(2 / len(periods))
        for period in periods:
            phase = pixel / period + rng.random()
            pattern += amplitude * rng.normal() * np.sin(2 * np.pi * phase)
    return 1 + gap * pattern


def _telluric_lines() -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (Angstrom, observer's frame) and depths of the telluric lines."""
    site = np.random.default_rng(_TELLURIC_SEED)
    wavelength = site.uniform(GRID_WAVELENGTH[0], GRID_WAVELENGTH[-1], _TELLURIC_LINES)
    return wavelength, site.exponential(_TELLURIC_DEPTH, _TELLURIC_LINES)


_TELLURIC_WAVELENGTH, _TELLURIC_STRENGTH = _telluric_lines()


def _earth_atmosphere(exposure: Exposure, gap: float, rng: np.random.Generator) -> np.ndarray:
    """Residuals of an imperfect telluric correction: absorption, or emission if overcorrected."""
    left = rng.normal(0, 0.5) * _TELLURIC_STRENGTH
    return 1 - gap * _gaussians(_TELLURIC_WAVELENGTH, left, _TELLURIC_WIDTH, exposure.shift)


def _sky_residuals(exposure: Exposure, gap: float, rng: np.random.Generator) -> np.ndarray:
    """Residuals of an imperfect subtraction of the airglow, stronger for fainter stars."""
    amplitude = 8 / exposure.snr
    weak = 0.5 * amplitude * rng.standard_t(3, _AIRGLOW.size)
    strong = amplitude * rng.standard_t(3, _STRONG_AIRGLOW.size)
    return gap * (
        _gaussians(_AIRGLOW, weak, _AIRGLOW_WIDTH, exposure.shift)
        + _gaussians(_STRONG_AIRGLOW, strong, _AIRGLOW_WIDTH, exposure.shift)
    )


def _gaussians(observed: np.ndarray, height: np.ndarray, sigma: float, shift: float) -> np.ndarray:
    """Sum of Gaussians at wavelengths in the observer's frame, on the star's rest-frame grid."""
    wavelength = observed / (1 + shift / _LIGHT_SPEED)
    centre = np.searchsorted(GRID_WAVELENGTH, wavelength)
    pixel = np.clip(centre[:, None] + np.arange(-8, 9), 0, N_GRID - 1)
    distance = (GRID_WAVELENGTH[pixel] - wavelength[:, None]) / sigma
    sum_of_lines = np.zeros(N_GRID)
    np.add.at(sum_of_lines, pixel, height[:, None] * np.exp(-0.5 * distance**2))
    return sum_of_lines


def _with_noise(
    flux: np.ndarray, exposure: Exposure, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Add photon noise and bad pixels, after normalisation so that they do not affect its fit."""
    error = np.zeros(N_GRID)
    for start, stop in CHIPS:
        # The throughput falls towards the ends of a detector; the flat field leaves 0.4 %.
        position = np.linspace(-1, 1, stop - start)
        error[start:stop] = max(1 / exposure.snr, 0.004) * (1 + 0.35 * position**2)
    noisy = flux + error * rng.normal(size=N_GRID)
    bad = (error > 0) & (rng.random(N_GRID) < 0.002)
    dead = rng.random(N_GRID) < 0.7  # the others are hot, or hit by a cosmic ray
    noisy[bad] = np.where(dead[bad], _BAD_FLUX, 1.2 + rng.exponential(0.3, bad.sum()))
    error[bad] = BAD_ERROR
    return noisy, error
