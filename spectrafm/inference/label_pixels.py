"""Pixels that tell a label: those whose flux changes most with it, all other labels fixed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.store.read import StarSet

logger = logging.getLogger(__name__)

#: Share of the pixels that count as a label's own.
SHARE = 0.1

#: Most stars that the changes are fitted to.
FITTED = 4096


def changes(stars: StarSet, labels: Sequence[str]) -> np.ndarray:
    """Mean absolute change of the flux with each label, the others fixed, shape (R, P).

    The derivative is that of a quadratic model of each pixel, in units of the labels' spread, at
    the labels of each star.

    Raises
    ------
    SpectraFMError
        When there are fewer stars with all labels than the model has coefficients.
    """
    names = [label.name for label in stars.labels]
    label = stars.label[:, [names.index(name) for name in labels]].astype(np.float64)
    known = np.isfinite(label).all(axis=1)
    z = (label[known] - label[known].mean(axis=0)) / label[known].std(axis=0).clip(1e-9)
    upper = np.triu_indices(len(labels))
    design = np.column_stack([np.ones(len(z)), z, z[:, upper[0]] * z[:, upper[1]]])
    if len(z) <= design.shape[1]:
        raise SpectraFMError(
            f"{len(z)} stars with {', '.join(labels)} are too few to tell how spectra change"
        )
    flux = np.nan_to_num(stars.flux[known].astype(np.float64), nan=1.0)
    fit = np.linalg.lstsq(design, flux, rcond=None)[0]
    linear, square = fit[1 : 1 + len(labels)], fit[1 + len(labels) :]
    found = []
    for number in range(len(labels)):
        # d (z_i z_j) / d z_k = z_j where i = k, plus z_i where j = k.
        factor = (upper[0] == number) * z[:, upper[1]] + (upper[1] == number) * z[:, upper[0]]
        found.append(np.abs(linear[number] + factor @ square).mean(axis=0))
    return np.stack(found)


def own_pixels(change: np.ndarray) -> np.ndarray:
    """Mask of the pixels whose flux changes most with each label: (R, P) -> (R, P)."""
    return change >= np.quantile(change, 1 - SHARE, axis=1, keepdims=True)


def pixels_of_labels(stars: StarSet, labels: Sequence[str]) -> np.ndarray:
    """Mask of the pixels that tell each label, shape (R, P).

    None for a label that the stars do not have, and for all labels, with a warning, where the stars
    are too few.
    """
    known = [label for label in labels if label in {has.name for has in stars.labels}]
    found = np.zeros((len(labels), len(stars.wavelength)), dtype=bool)
    if not known:
        return found
    try:
        change = changes(stars, known)
    except SpectraFMError as error:
        logger.warning("%s: none is marked", error)
        return found
    found[[list(labels).index(label) for label in known]] = own_pixels(change)
    return found
