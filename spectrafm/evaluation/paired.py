"""Bootstrap of scores over stars and repeats: intervals of an RMSE, and of a paired difference.

Stars are drawn with replacement, the same ones for all models, and so are repeats: draws of the
training stars, seeds. An interval therefore holds what other test stars and other draws would
change.

Shapes: n stars, K repeats, B bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

#: Bootstrap samples, and the share of them that an interval holds.
SAMPLES = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and its bootstrap interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Samples of stars and repeats, the same for every model that is compared.

    Parameters
    ----------
    stars : int
        Number of stars, n.
    seed : int
    """

    def __init__(self, stars: int, seed: int = 0):
        self._generator = np.random.default_rng(seed)
        self._counts = self._generator.multinomial(
            stars, np.full(stars, 1 / stars), SAMPLES
        ).T.astype(np.float32)
        self._repeats: dict[int, np.ndarray] = {}

    def rmse(self, residual: np.ndarray, group: np.ndarray) -> Interval | None:
        """Median over repeats of a group's RMSE, with its interval.

        Parameters
        ----------
        residual : numpy.ndarray, shape (K, n)
            Predicted minus actual; NaN where there is none.
        group : numpy.ndarray, shape (n,), bool

        Returns
        -------
        Interval or None
            None for a group without stars.
        """
        if not group.any():
            return None
        return _interval(np.median(_rmse(residual, group)), self._medians(residual, group))

    def difference(
        self, residual: np.ndarray, reference: np.ndarray, group: np.ndarray
    ) -> Interval | None:
        """Difference of two models' `rmse` on the same stars; negative: better than the reference.

        Parameters
        ----------
        residual, reference : numpy.ndarray, shapes (K, n) and (K', n)
            Where K' = K the repeats belong together.
        group : numpy.ndarray, shape (n,), bool
        """
        group = group & np.isfinite(residual).all(axis=0) & np.isfinite(reference).all(axis=0)
        if not group.any():
            return None
        own, other = (np.median(_rmse(part, group)) for part in (residual, reference))
        samples = self._medians(residual, group) - self._medians(reference, group)
        return _interval(own - other, samples)

    def _medians(self, residual: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Median over sampled repeats of the RMSE of each sample of stars, shape (B,)."""
        each = _rmse(residual, group, self._counts[group])
        repeats = len(residual)
        if repeats not in self._repeats:
            size = (repeats, SAMPLES)
            self._repeats[repeats] = self._generator.integers(repeats, size=size)
        return np.median(np.take_along_axis(each, self._repeats[repeats], axis=0), axis=0)


def _rmse(residual: np.ndarray, group: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """RMSE of each repeat, shape (K,); with counts of each star (n', B), shape (K, B)."""
    square = np.square(residual[:, group])
    known = np.isfinite(square)
    if counts is None:
        counts = np.ones((square.shape[1], 1))
    with np.errstate(invalid="ignore"):  # a sample may hold no star of a small group
        found = np.sqrt(np.where(known, square, 0.0) @ counts / (known.astype(float) @ counts))
    return found[:, 0] if counts.shape[1] == 1 else found


def resampled(
    measure: Callable[[np.ndarray], float],
    residual: np.ndarray,
    other: np.ndarray | None = None,
    compare: Callable[[float, float], float] | None = None,
    seed: int = 0,
) -> Interval:
    """Median over repeats of any measure of residuals, or its comparison with another model's.

    Parameters
    ----------
    measure : callable
        From residuals, shape (n,), to a number.
    residual : numpy.ndarray, shape (K, n)
        Without missing values.
    other : numpy.ndarray, shape (K', n), optional
        Of the same stars.
    compare : callable, optional
        From both medians to a number, such as `numpy.divide`.
    seed : int
    """
    generator = np.random.default_rng(seed)

    def value(stars: np.ndarray | slice, draw: bool) -> float:
        medians = []
        for part in (residual, other) if other is not None else (residual,):
            repeats = generator.integers(len(part), size=len(part)) if draw else range(len(part))
            medians.append(np.median([measure(part[repeat, stars]) for repeat in repeats]))
        return medians[0] if compare is None else compare(*medians)

    n = residual.shape[1]
    samples = [value(generator.integers(n, size=n), draw=True) for _ in range(SAMPLES)]
    return _interval(value(slice(None), draw=False), np.array(samples))


def _interval(value: float, samples: np.ndarray) -> Interval:
    ends = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), *map(float, ends))
