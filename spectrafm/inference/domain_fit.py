"""Fitting the domain of a model to the spectra and labels that it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spectrafm.inference.components import fit_components
from spectrafm.inference.domain import QUANTILE, Domain, Facts, Score, root_mean_square
from spectrafm.inference.features import fit_features
from spectrafm.inference.ranges import hulls_of
from spectrafm.spectra import Kind, pixels_in

#: Largest number of spectra that components and axes are fitted to and limits set by.
MOST_STARS = 2000

#: Steps between pixels that separate two parts of a spectrum; with more parts it counts as one.
GAP, MOST_PARTS = 20, 100


class Seen(NamedTuple):
    """Spectra as a network reads them, and what it makes of them."""

    flux: np.ndarray  # (n, P), NaN where missing
    feature: np.ndarray | None = None  # (n, F); None: the network has none


def some_of(count: int) -> np.ndarray:
    """Rows of at most `MOST_STARS` of so many spectra, at random, in order."""
    if count <= MOST_STARS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_STARS, replace=False))


def fit_domain(
    wavelength: np.ndarray,
    training: Seen,
    validation: Seen,
    labels: Mapping[str, np.ndarray],
    windows: Sequence[tuple[float, float]],
    spectra: Kind,
    snr: np.ndarray | None = None,
    resolution: float | None = None,
) -> Domain:
    """Describe the spectra and labels that a model learned from.

    Parameters
    ----------
    wavelength : numpy.ndarray, shape (P,), Angstrom
    training, validation : Seen
        Spectra that the network learned from, and others of their kind. Without validation spectra
        the training spectra set the limits, too narrow.
    labels : mapping of str to numpy.ndarray, shape (n,)
        Labels of the training stars by name; NaN where unknown.
    windows : sequence of (float, float), Angstrom
    spectra : {"observed", "synthetic"}
    snr : numpy.ndarray, optional
        Signal-to-noise ratios of stars of their kind; None: unknown, or without noise.
    resolution : float, optional
        Resolving power of their spectra; None: unknown, or several.
    """
    components = fit_components(training.flux, wavelength)
    kept = np.isin(wavelength, components.wavelength)
    judged = validation if np.isfinite(validation.flux).any() else training
    parts = _parts(components.wavelength)
    inside = pixels_in(components.wavelength, parts)
    count = len(judged.flux)
    distance, residual = np.empty(count), np.empty((count, len(parts)))
    for rows, far, left in components.describe(judged.flux[:, kept]):
        distance[rows] = far
        residual[rows] = np.stack([root_mean_square(left[:, pixels]) for pixels in inside], axis=1)
    scale = [max(_quantile(values), 1e-6) for values in (distance, *residual.T)]
    worst = np.max(np.column_stack([distance, residual]) / scale, axis=1)
    limit = max(_quantile(worst), 1e-6)
    features, feature, both = None, None, 1.0
    if training.feature is not None and np.isfinite(training.feature).all(axis=1).any():
        features = fit_features(training.feature)
        far = np.nan_to_num(features.distance(judged.feature))
        feature = max(_quantile(far), 1e-6)
        both = max(_quantile(np.hypot(worst / limit, far / feature)), 1e-6)
    known = {name: values[np.isfinite(values)] for name, values in labels.items()}
    ranges = {k: (float(v.min()), float(v.max())) for k, v in known.items() if len(v)}
    counted = None if snr is None else np.asarray(snr)[np.isfinite(snr)]
    facts = Facts(
        spectra=spectra,
        windows=[tuple(window) for window in windows],
        wavelengths=(float(components.wavelength[0]), float(components.wavelength[-1])),
        labels=ranges,
        hulls=hulls_of(labels, ranges),
        snr=None
        if counted is None or not len(counted)
        else (float(np.quantile(counted, 0.01)), float(counted.max())),
        resolution=resolution,
        coverage=float(np.median(np.isfinite(training.flux[:, kept]).mean(axis=1))),
        score=Score(
            noise=components.noise,
            parts=parts,
            residual=[value * limit for value in scale[1:]],
            distance=scale[0] * limit,
            feature=feature,
            both=both,
            fitted_on=len(training.flux),
            validated_on=count,
        ),
    )
    return Domain(facts, components, features)


def _parts(wavelength: np.ndarray) -> list[tuple[float, float]]:
    """First and last wavelength of each part that a gap of `GAP` steps separates from the next."""
    steps = np.diff(np.log(wavelength))
    ends = np.flatnonzero(steps > GAP * np.median(steps)) if len(steps) else np.empty(0, int)
    if len(ends) >= MOST_PARTS:
        ends = ends[:0]
    first, last = wavelength[[0, *(ends + 1)]], wavelength[[*ends, -1]]
    return [(float(low), float(high)) for low, high in zip(first, last, strict=True)]


def _quantile(values: np.ndarray) -> float:
    """Value that a new one stays below with a probability of `QUANTILE`, or the largest."""
    ordered = np.sort(values)
    place = int(np.ceil((len(ordered) + 1) * QUANTILE)) - 1
    return float(ordered[min(place, len(ordered) - 1)])
