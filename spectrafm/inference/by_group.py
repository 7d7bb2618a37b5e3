"""Errors and coverage of a model by group of validation stars, for its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from astropy.stats import mad_std

from spectrafm.inference.calibration import FittedOn
from spectrafm.inference.conformal import cross_fitted_widths
from spectrafm.labels import DWARF_ABOVE, GIANT_BELOW, IRON_POOR

#: Stars of a group below which its numbers say nothing.
FEWEST = 30

#: Name of the group of all stars.
EVERY_STAR = "all"


class GroupScore(NamedTuple):
    """How well one label of a group of stars is predicted."""

    label: str
    group: str
    count: int
    scatter: float  # mad_std of predicted - actual
    rmse: float
    coverage: tuple[float, ...]  # share within the intervals, by level; empty: not calibrated


def by_group(
    labels: Sequence[str],
    predicted: np.ndarray,
    sigma: np.ndarray,
    actual: np.ndarray,
    snr: np.ndarray | None,
    fitted_on: FittedOn,
) -> list[GroupScore]:
    """Score each label in each group of stars that has enough of them.

    The intervals of each half of the stars are fitted on the other half, so that no star is judged
    by intervals that it has helped to fit.

    Parameters
    ----------
    labels, predicted, sigma, actual, snr, fitted_on
        As for `spectrafm.inference.conformal.fit_calibration`.
    """
    half = np.random.default_rng(0).permutation(len(actual)) % 2
    width = cross_fitted_widths(labels, predicted, sigma, actual, snr, fitted_on, half)
    distance = np.abs(predicted - actual).T[:, None]
    within = np.where(np.isnan(width), np.nan, distance <= width)
    catalogue = dict(zip(labels, actual.T, strict=True))
    found = []
    for group, members in _groups(catalogue, snr, len(actual)).items():
        for number, label in enumerate(labels):
            off = predicted[:, number] - actual[:, number]
            stars = members & np.isfinite(off)
            if stars.sum() < FEWEST:
                continue
            shares = within[number][:, stars]
            coverage = () if np.isnan(shares).any() else tuple(shares.mean(axis=1).tolist())
            scatter, rmse = mad_std(off[stars]), np.sqrt(np.mean(off[stars] ** 2))
            found.append(
                GroupScore(label, group, int(stars.sum()), float(scatter), float(rmse), coverage)
            )
    return found


def _groups(
    catalogue: Mapping[str, np.ndarray], snr: np.ndarray | None, stars: int
) -> dict[str, np.ndarray]:
    """Masks of the stars of each group, by the catalogue's labels and the spectra's S/N."""
    found = {EVERY_STAR: np.ones(stars, bool)}
    if "LOGG" in catalogue:
        logg = catalogue["LOGG"]
        found |= {"giants": logg < GIANT_BELOW, "dwarfs": logg > DWARF_ABOVE}
    if "FE_H" in catalogue:
        found["iron-poor"] = catalogue["FE_H"] < IRON_POOR
    if snr is not None and np.isfinite(snr).any():
        lowest = np.nanquantile(snr, 0.2)
        found[f"S/N below {lowest:.0f}"] = snr < lowest
    return found
