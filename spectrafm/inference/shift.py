"""Shift of a spectrum's lines against those of the training spectra, in km/s."""

from __future__ import annotations

import numpy as np

from spectrafm.inference.components import Components

#: Speed of light, km/s.
LIGHT = 299_792.458

#: Velocities that are tried, km/s: up to `FASTEST` in steps of `STEP`, or two pixels where these
#: are wider. Spectra with pixels wider than `WIDEST` have no shift that could be measured.
FASTEST, STEP, WIDEST = 300.0, 10.0, 100.0

#: Share of the variance that is left after the shift, at most, for it to count as one.
LEFT = 0.7


def measurable(components: Components) -> bool:
    """Whether the pixels are narrow enough to show the velocity of a star."""
    return components.step() * LIGHT <= WIDEST


def shifts_of(components: Components, wavelength: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Velocity at which the components describe each spectrum best; 0 where none does clearly.

    Parameters
    ----------
    components : Components
    wavelength : numpy.ndarray, shape (P,), Angstrom
    flux : numpy.ndarray, shape (n, P)
        NaN where missing.

    Returns
    -------
    numpy.ndarray, shape (n,)
        km/s, positive where the lines are at longer wavelengths than in training.
    """
    if not len(flux) or not measurable(components):
        return np.zeros(len(flux))
    step = max(STEP, 2 * components.step() * LIGHT)
    velocities = np.arange(-(FASTEST // step), FASTEST // step + 1) * step
    left = np.stack([_left(components.at(wavelength / (1 + v / LIGHT)), flux) for v in velocities])
    best = left.argmin(axis=0)
    found = velocities[best]
    lowest = left[best, np.arange(len(flux))]
    unshifted = left[len(velocities) // 2]
    # A neighbouring velocity may describe noise a little better.
    clear = (np.abs(found) > 1.5 * step) & (lowest < LEFT * unshifted)
    # At the end of the range the best velocity is none.
    return np.where(clear & (np.abs(found) < velocities[-1]), found, 0.0)


def _left(components: Components, flux: np.ndarray) -> np.ndarray:
    """Variance about the reconstruction, shape (n,); a missing pixel counts as the mean."""
    covered = np.isfinite(components.mean)
    known = np.nan_to_num(flux[:, covered] - components.mean[covered]).astype(np.float32)
    basis = components.components[:, covered]
    moment = known @ basis.T
    normal = basis @ basis.T + components.noise**2 * np.eye(len(basis))
    described = (moment * np.linalg.solve(normal, moment.T).T).sum(axis=1)
    return (np.square(known).sum(axis=1) - described) / max(covered.sum(), 1)
