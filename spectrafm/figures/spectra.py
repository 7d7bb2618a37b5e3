"""Lines of spectra that stop at the gaps between detectors."""

from __future__ import annotations

import numpy as np


def gaps(wavelength: np.ndarray) -> list[tuple[float, float]]:
    """Find ranges without pixels, such as those between detectors, Angstrom.

    Parameters
    ----------
    wavelength : numpy.ndarray, shape (P,)
        Increasing, Angstrom.
    """
    steps = np.diff(wavelength)
    wide = np.flatnonzero(steps > 3 * np.median(steps)) if steps.size else []
    return [(wavelength[i], wavelength[i + 1]) for i in wide]


def with_gaps(wavelength: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Insert a NaN in each gap, so that a plotted line does not cross it.

    Parameters
    ----------
    wavelength, values : numpy.ndarray, shape (P,)

    Returns
    -------
    tuple of numpy.ndarray, shape (P + gaps,)
    """
    middles = [(start + stop) / 2 for start, stop in gaps(wavelength)]
    places = np.searchsorted(wavelength, middles)
    return np.insert(wavelength, places, middles), np.insert(values, places, np.nan)
