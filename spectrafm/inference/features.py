"""Features: what a network makes of a spectrum before it answers, and how unusual that is.

The feature of a spectrum is the mean of its encoded tokens. A star of a kind that the network never
saw may look like noise of a familiar one to the principal components of spectra, and still be
encoded as nothing that it learned from: the distance of Mahalanobis (1936), with the covariance of
the training spectra's features, sees this (Lee et al. 2018, NeurIPS, judge features so).

Shapes: n spectra, F numbers a feature, K axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.inference.components import STARS_EACH

#: Smallest standard deviation along an axis, relative to the largest: less is rounding.
LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Features:
    """Mean and principal axes of the features of training spectra.

    Attributes
    ----------
    mean : numpy.ndarray, shape (F,), float32
    axes : numpy.ndarray, shape (K, F), float32
        Scaled so that the scores of training spectra have unit variance.
    """

    mean: np.ndarray
    axes: np.ndarray

    def distance(self, feature: np.ndarray) -> np.ndarray:
        """Root mean square of each feature's scores, shape (n,); NaN for one that is not finite.

        Parameters
        ----------
        feature : numpy.ndarray, shape (n, F)

        Raises
        ------
        SpectraFMError
            When the features are not of F numbers, so that they are another network's.
        """
        if feature.shape[1:] != self.mean.shape:
            raise SpectraFMError(
                f"domain: features of {len(self.mean)} numbers, but the network's have "
                f"{feature.shape[1]}"
            )
        known = np.isfinite(feature).all(axis=1)
        left = np.where(known[:, None], feature - self.mean, 0.0).astype(np.float64)
        # Not a matrix product, whose last bits depend on the number of spectra.
        scores = np.einsum("nf,kf->nk", left, self.axes.astype(np.float64))
        return np.where(known, np.sqrt(np.square(scores).mean(axis=1)), np.nan)


def fit_features(feature: np.ndarray) -> Features:
    """Fit the axes to features of training spectra: one for each `STARS_EACH` spectra at most.

    Parameters
    ----------
    feature : numpy.ndarray, shape (n, F)
        A spectrum whose feature is not finite is left out.
    """
    known = feature[np.isfinite(feature).all(axis=1)].astype(np.float64)
    mean = known.mean(axis=0)
    _, length, directions = np.linalg.svd(known - mean, full_matrices=False)
    spread = length / np.sqrt(len(known))
    most = max(len(known) // STARS_EACH, 1)
    kept = np.flatnonzero(spread > LEAST_SPREAD * spread[0])[:most]
    axes = directions[kept] / spread[kept, None]
    return Features(mean.astype(np.float32), axes.astype(np.float32))
