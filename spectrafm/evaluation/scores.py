"""Scores of predicted labels against the catalogue's: scatter, bias, coverage of uncertainties.

Every score is computed for all stars, and separately for iron-rich ([Fe/H] >= -1) and iron-poor
([Fe/H] < -1) stars, since the paper asks how a network performs on stars unlike its training stars.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.stats import mad_std

from spectrafm.labels import IRON_POOR

#: Keys of the result of `scores`, in the order of tables, with their headings.
HEADINGS = {
    "n": "n",
    "rmse": "RMSE",
    "median_abs": "median |r|",
    "mad_std": "mad_std",
    "bias": "bias (mean)",
    "median_bias": "bias (median)",
    "coverage_1sigma": "within 1 sigma",
    "coverage_2sigma": "within 2 sigma",
}

GROUPS = {
    "all": "all",
    "rich": f"rich ([Fe/H] >= {IRON_POOR:g})",
    "poor": f"poor ([Fe/H] < {IRON_POOR:g})",
}


def scores(
    actual: np.ndarray, predicted: np.ndarray, uncertainty: np.ndarray | None = None
) -> dict[str, Any]:
    """Score the residuals r = predicted - actual of the pairs in which both are finite.

    Parameters
    ----------
    actual, predicted : numpy.ndarray, shape (n,)
        In the label's unit.
    uncertainty : numpy.ndarray, shape (n,), optional
        Predicted one-sigma uncertainty, same unit. A star without a finite uncertainty counts in
        every score except the coverages.

    Returns
    -------
    dict
        ``n``; ``rmse``; ``median_abs``, the median of abs(r); ``mad_std``, 1.4826 times the
        median of abs(r - median(r)), which is what Table 1 of the paper holds (its caption
        describes ``median_abs``); ``bias``, the mean of r, which reproduces the biases of the
        published Figure 4; ``median_bias``, the median of r, which ``mad_std`` leaves out;
        ``coverage_1sigma`` and ``coverage_2sigma``, the share of stars with abs(r) below one and
        two uncertainties (0.68 and 0.95 where uncertainties are correct and Gaussian). A score
        that is undefined (no star, no uncertainty) is None.
    """
    actual = np.asarray(actual, dtype=np.float64)
    predicted = np.asarray(predicted, dtype=np.float64)
    paired = np.isfinite(actual) & np.isfinite(predicted)
    residual = (predicted - actual)[paired]
    found: dict[str, Any] = dict.fromkeys(HEADINGS)
    found["n"] = int(residual.size)
    if residual.size == 0:
        return found
    median = np.median(residual)
    found["rmse"] = float(np.sqrt(np.mean(residual**2)))
    found["median_abs"] = float(np.median(np.abs(residual)))
    found["mad_std"] = float(mad_std(residual))
    found["bias"] = float(np.mean(residual))
    found["median_bias"] = float(median)
    if uncertainty is not None:
        sigma = np.asarray(uncertainty, dtype=np.float64)[paired]
        known = np.isfinite(sigma)
        if known.any():
            within = np.abs(residual[known]) / np.array([[1.0], [2.0]]) < sigma[known]
            found["coverage_1sigma"], found["coverage_2sigma"] = map(float, within.mean(axis=1))
    return found


def grouped_scores(
    actual: np.ndarray,
    predicted: np.ndarray,
    uncertainty: np.ndarray | None,
    iron: np.ndarray | None,
) -> dict[str, dict[str, Any]]:
    """Compute `scores` of all, iron-rich and iron-poor stars, by their catalogue [Fe/H].

    Parameters
    ----------
    actual, predicted : numpy.ndarray, shape (n,)
    uncertainty : numpy.ndarray, shape (n,), or None
    iron : numpy.ndarray, shape (n,), or None
        Catalogue [Fe/H], dex. A star without [Fe/H] is in neither group; None: every star is in
        neither.

    Returns
    -------
    dict
        ``{"all": {...}, "rich": {...}, "poor": {...}}``, each as from `scores`.
    """
    iron = np.full(len(actual), np.nan) if iron is None else np.asarray(iron, dtype=np.float64)
    chosen = {
        "all": np.ones(len(actual), dtype=bool),
        "rich": iron >= IRON_POOR,
        "poor": iron < IRON_POOR,
    }
    return {
        group: scores(
            actual[stars],
            predicted[stars],
            None if uncertainty is None else uncertainty[stars],
        )
        for group, stars in chosen.items()
    }
