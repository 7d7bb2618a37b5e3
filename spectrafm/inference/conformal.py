"""Fitting calibrated intervals: split-conformal quantiles, and factors of groups of stars.

By split conformal prediction a quantile of n stars holds the stated share of new stars of the kind
that it was fitted on, whatever the distribution of their errors.

Shapes: n stars, R labels, G groupings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spectrafm.inference.calibration import (
    LEVELS,
    NUMBERS,
    Calibration,
    FittedOn,
    Grouping,
    LabelCalibration,
)
from spectrafm.labels import DWARF_ABOVE, GIANT_BELOW, IRON_POOR

#: Stars of a group that has factors of its own; those of a smaller one are 1.
SMALLEST_GROUP = 50

#: Largest number of groups of as many stars each.
MOST_PARTS = 5

#: Rounds in which the factors of the groupings are fitted to each other; a few suffice.
ROUNDS = 20

#: Stars below which a label is not calibrated: the 95 % quantile needs 19.
FEWEST = 20


def fit_calibration(
    labels: Sequence[str],
    predicted: np.ndarray,
    sigma: np.ndarray,
    actual: np.ndarray,
    snr: np.ndarray | None,
    fitted_on: FittedOn,
) -> Calibration:
    """Fit a calibration.

    Parameters
    ----------
    labels : sequence of str
        R names.
    predicted, sigma, actual : numpy.ndarray, shape (n, R)
        Predicted values, their uncertainties and the catalogue's values, in the labels' units. A
        star with a value that is not finite does not count for that label.
    snr : numpy.ndarray, shape (n,), or None
        Signal-to-noise ratio of the spectra; None: unknown, or without a meaning for them.
    fitted_on : FittedOn

    Returns
    -------
    Calibration
        Without the labels of which there are too few stars; ``note`` names them.
    """
    features = {name: predicted[:, i] for i, name in enumerate(labels)}
    features |= {} if snr is None else {"snr": snr}
    groupings = _groupings(features)
    empty = Calibration(fitted_on=fitted_on, groupings=groupings)
    place, bins = empty.places(features, len(predicted)), [len(g.edges) + 1 for g in groupings]
    iron_poor = actual[:, labels.index("FE_H")] < IRON_POOR if "FE_H" in labels else None
    found, few = {}, []
    for i, name in enumerate(labels):
        used = np.isfinite(predicted[:, i] + sigma[:, i] + actual[:, i]) & (sigma[:, i] > 0)
        if used.sum() < FEWEST:
            few.append(name)
            continue
        pull = np.abs(predicted[used, i] - actual[used, i]) / sigma[used, i]
        label = _fit_label(pull, actual[used, i], place[used], bins)
        if iron_poor is not None:
            label = _hold_iron_poor(label, groupings, pull, place[used], iron_poor[used])
        found[name] = label
    notes = [f"not calibrated, fewer than {FEWEST} stars: {', '.join(few)}"] if few else []
    if fitted_on.kind == "painted":
        notes.append("fitted on painted synthetic spectra, which stand for observed ones")
    return empty.model_copy(update={"labels": found, "note": "; ".join(notes)})


def cross_fitted_widths(
    labels: Sequence[str],
    predicted: np.ndarray,
    sigma: np.ndarray,
    actual: np.ndarray,
    snr: np.ndarray | None,
    fitted_on: FittedOn,
    part: np.ndarray,
) -> np.ndarray:
    """Half the width of each star's intervals, fitted on the stars of the other parts.

    Parameters
    ----------
    labels, predicted, sigma, actual, snr, fitted_on
        As for `fit_calibration`.
    part : numpy.ndarray, shape (n,), int
        Part of each star; below 0 for stars that only others are fitted on.

    Returns
    -------
    numpy.ndarray, shape (R, levels, n)
        In the labels' units; NaN where there is no interval.
    """
    width = np.full((len(labels), len(LEVELS), len(actual)), np.nan)
    for number in np.unique(part[part >= 0]):
        judged, fit = part == number, part != number
        known = None if snr is None else snr[fit]
        found = fit_calibration(labels, predicted[fit], sigma[fit], actual[fit], known, fitted_on)
        features = dict(zip(labels, predicted[judged].T, strict=True))
        features |= {} if snr is None else {"snr": snr[judged]}
        for i, label in enumerate(labels):
            if label in found.labels:
                width[i][:, judged] = found.half_widths(label, sigma[judged, i], features)
    return width


def _fit_label(
    pull: np.ndarray, actual: np.ndarray, place: np.ndarray, bins: Sequence[int]
) -> LabelCalibration:
    """Fit one label from abs(r) / sigma, the label, and the groups of its stars, shape (n, G)."""
    # Residuals of zero would give no number to divide by, and intervals without a width.
    temperature = float(np.sqrt(np.mean(pull**2)).clip(*NUMBERS))
    score = (pull / temperature).clip(*NUMBERS)
    quantiles, factors = _fit_factors(score, place, bins)
    return LabelCalibration(
        temperature=temperature,
        count=len(pull),
        range=(float(actual.min()), float(actual.max())),
        quantiles=quantiles.tolist(),
        factors=[part.tolist() for part in factors],
    )


def _fit_factors(
    score: np.ndarray, place: np.ndarray, bins: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Quantiles of all stars, and the factors by which those of each group differ.

    Each group's factor in turn is set such that the share of its stars is right, given the factors
    of the other groupings, until nothing changes.

    Parameters
    ----------
    score : numpy.ndarray, shape (n,)
    place : numpy.ndarray, shape (n, G)
        Bin of each star in each grouping; -1 where it is not known.
    bins : sequence of int
        Number of bins of each grouping.

    Returns
    -------
    quantiles : numpy.ndarray, shape (levels,)
    factors : list of numpy.ndarray, shape (bins, levels)
        One a grouping.
    """
    quantiles = np.array(conformal_quantiles(score))
    factors = [np.ones((count, len(LEVELS))) for count in bins]
    inside = [
        [part == number for number in range(count)]
        for part, count in zip(place.T, bins, strict=True)
    ]
    for level in range(len(LEVELS)):
        left = score / quantiles[level]
        for _ in range(ROUNDS):
            for number, groups in enumerate(inside):
                for which, stars in enumerate(groups):
                    if stars.sum() >= SMALLEST_GROUP:
                        change = conformal_quantiles(left[stars])[level]
                        factors[number][which, level] *= change
                        left[stars] /= change
            change = conformal_quantiles(left)[level]
            quantiles[level] *= change
            left /= change
    return quantiles.clip(*NUMBERS), [part.clip(*NUMBERS) for part in factors]


def _hold_iron_poor(
    label: LabelCalibration,
    groupings: Sequence[Grouping],
    pull: np.ndarray,
    place: np.ndarray,
    iron_poor: np.ndarray,
) -> LabelCalibration:
    """Widen the intervals of stars predicted iron-poor until iron-poor ones are within theirs.

    An iron-poor star that is predicted iron-rich is far outside its interval and in a group that
    it does not change. Of the stars that the catalogue calls iron-poor fewer than stated are
    therefore within, unless the others of them make up for it. They do so for at most half of the
    stars outside: no width can make up for many.

    Parameters
    ----------
    label : LabelCalibration
        As fitted to groups by prediction.
    pull : numpy.ndarray, shape (n,)
        abs(r) / sigma.
    place : numpy.ndarray, shape (n, G)
    iron_poor : numpy.ndarray, shape (n,), bool
        By the catalogue.
    """
    number = next(
        (i for i, one in enumerate(groupings) if one.by == "FE_H" and IRON_POOR in one.edges), None
    )
    if number is None:
        return label
    poor_bins = groupings[number].edges.index(IRON_POOR) + 1
    predicted_so = (place[:, number] >= 0) & (place[:, number] < poor_bins)
    found, missed = iron_poor & predicted_so, iron_poor & ~predicted_so
    if found.sum() < SMALLEST_GROUP:
        return label
    relative = pull / label.half_widths(place)
    factors = [np.array(part) for part in label.factors]
    for level, share in enumerate(np.array(LEVELS) / 100):
        within = (relative[level, missed] <= 1).sum()
        wanted = np.ceil((iron_poor.sum() + 1) * share) - within
        most = np.ceil((found.sum() + 1) * (1 + share) / 2)
        ordered = np.sort(relative[level, found])
        widest = ordered[int(np.clip(min(wanted, most), 1, found.sum())) - 1]
        factors[number][:poor_bins, level] *= max(1.0, widest)
    kept = [part.clip(*NUMBERS).tolist() for part in factors]
    return label.model_copy(update={"factors": kept})


def conformal_quantiles(score: np.ndarray) -> list[float]:
    """Quantiles of scores of n >= 19 stars, by level.

    A new star's score is below the k-th smallest of n with a probability of at least k / (n + 1),
    so that k = ceil((n + 1) level).
    """
    ordered, n = np.sort(score), len(score)
    return [float(ordered[-(-(n + 1) * level // 100) - 1]) for level in LEVELS]


def _groupings(features: Mapping[str, np.ndarray]) -> list[Grouping]:
    """Divide stars by predicted temperature, [Fe/H] and log g, and by S/N.

    By log g there are giants, dwarfs, and those between them; by the others up to `MOST_PARTS`
    groups of as many stars, and the iron-poor stars where they are enough.
    """
    found = []
    for by in ("TEFF", "FE_H", "LOGG", "snr"):
        known = features.get(by, np.empty(0))
        known = known[np.isfinite(known)]
        parts = min(MOST_PARTS, len(known) // (2 * SMALLEST_GROUP))
        edges = (
            set(np.quantile(known, np.arange(1, parts) / parts).tolist()) if parts > 1 else set()
        )
        if by == "LOGG" and len(known):
            edges = {GIANT_BELOW, DWARF_ABOVE}
        elif by == "FE_H" and (known < IRON_POOR).sum() >= SMALLEST_GROUP:
            edges.add(IRON_POOR)
        if edges:
            found.append(Grouping(by=by, edges=sorted(edges)))
    return found
