"""A running upper quantile of the flux, for spectra of any instrument."""

from __future__ import annotations

import numpy as np

from spectrafm.continuum.dividing import FEWEST, divided
from spectrafm.spectra.spectrum import Spectrum

#: Width of the running window in the natural logarithm of wavelength: 2 per cent of the wavelength.
WIDTH = 0.02

#: The share of a window's pixels that lies below the continuum.
QUANTILE = 0.9

#: Passes; each removes the slope that the continuum before it left within a window.
PASSES = 3

#: Nodes for each width of the window; between nodes the continuum is interpolated.
NODES = 4


def running(spectrum: Spectrum) -> Spectrum:
    """Divide by a running 90 % quantile of the flux in windows of 2 % in wavelength.

    A window that holds fewer than `FEWEST` good pixels is widened to the nearest `FEWEST` ones, as
    in spectra of low resolution.

    Parameters
    ----------
    spectrum : spectrafm.spectra.Spectrum

    Returns
    -------
    spectrafm.spectra.Spectrum
        All pixels are masked if fewer than `FEWEST` are good.
    """
    good = spectrum.good
    if np.count_nonzero(good) < FEWEST:
        return divided(spectrum, np.full(len(spectrum), np.nan), "running")
    place, flux = np.log(spectrum.wavelength[good]), spectrum.flux[good].astype(np.float64)
    steps = min(int((place[-1] - place[0]) / WIDTH * NODES) + 2, len(place))
    nodes = np.linspace(place[0], place[-1], steps)
    # Nodes in a gap between detectors, far from all pixels, would repeat those at its ends.
    nearest = np.searchsorted(place, nodes).clip(1, len(place) - 1)
    away = np.minimum(np.abs(nodes - place[nearest]), np.abs(nodes - place[nearest - 1]))
    nodes = np.unique(np.concatenate([nodes[away <= WIDTH / 2], place[[0, -1]]]))
    continuum = np.ones(len(spectrum))
    for _ in range(PASSES):
        levels = _levels(place, flux / continuum[good], nodes)
        continuum *= np.interp(np.log(spectrum.wavelength), nodes, levels)
        if not (continuum > 0).all():
            continuum = np.where(continuum > 0, continuum, np.nan)
            break
    return divided(spectrum, continuum, "running")


def _levels(place: np.ndarray, flux: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Quantile of the flux around each node."""
    levels = []
    for node in nodes:
        first, last = np.searchsorted(place, [node - WIDTH / 2, node + WIDTH / 2])
        if last - first < FEWEST:
            # The nearest pixels lie in a row of FEWEST that holds the node.
            middle = np.searchsorted(place, node)
            first = min(max(middle - FEWEST // 2, 0), len(place) - FEWEST)
            last = first + FEWEST
        levels.append(np.quantile(flux[first:last], QUANTILE))
    return np.array(levels)
