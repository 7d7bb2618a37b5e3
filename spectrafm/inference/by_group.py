"""Errors and coverage of a model by group of validation stars, for its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from astropy.stats import mad_std

from spectrafm.inference.calibration import LEVELS, FittedOn
from spectrafm.inference.conformal import fit_calibration
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
    within = _within(labels, predicted, sigma, actual, snr, fitted_on)
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


def _within(
    labels: Sequence[str],
    predicted: np.ndarray,
    sigma: np.ndarray,
    actual: np.ndarray,
    snr: np.ndarray | None,
    fitted_on: FittedOn,
) -> np.ndarray:
    """Whether each star is within its intervals, shape (R, levels, n); NaN where there are none."""
    within = np.full((len(labels), len(LEVELS), len(actual)), np.nan)
    for fit, judge in _halves(len(actual)):
        known = None if snr is None else snr[fit]
        found = fit_calibration(labels, predicted[fit], sigma[fit], actual[fit], known, fitted_on)
        features = dict(zip(labels, predicted[judge].T, strict=True))
        features |= {} if snr is None else {"snr": snr[judge]}
        for number, label in enumerate(labels):
            if label in found.labels:
                width = found.half_widths(label, sigma[judge, number], features)
                off = np.abs(predicted[judge, number] - actual[judge, number])
                within[number][:, judge] = off <= width
    return within


def _halves(stars: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks of the stars that intervals are fitted on and of those that judge them, both ways."""
    half = np.random.default_rng(0).permutation(stars) % 2 == 0
    yield ~half, half
    yield half, ~half
