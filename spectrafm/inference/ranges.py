"""Pairs of labels that training stars have together: their convex hulls."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from spectrafm.labels import LabelName
from spectrafm.reading import Untrusted

#: Labels whose pairs have a hull, the first of them: five labels have ten pairs.
MOST_LABELS = 5

#: Distance from a hull, relative to the labels' ranges, up to which a pair counts as inside: an
#: estimate scatters about the star's own labels.
MARGIN = 0.05

Corner = tuple[
    Annotated[float, Field(ge=-1e30, le=1e30)], Annotated[float, Field(ge=-1e30, le=1e30)]
]
Name = Annotated[LabelName, Field(max_length=64)]


class Hull(Untrusted):
    """The convex hull of two labels of the training stars, counter-clockwise."""

    labels: tuple[Name, Name]
    corners: Annotated[list[Corner], Field(min_length=3, max_length=10_000)]


def hulls_of(
    labels: Mapping[str, np.ndarray], ranges: Mapping[str, tuple[float, float]]
) -> list[Hull]:
    """Hulls of the pairs of the first `MOST_LABELS` labels.

    Parameters
    ----------
    labels : mapping of str to numpy.ndarray, shape (n,)
        NaN where unknown.
    ranges : mapping of str to (float, float)
        Of the labels that have a value; a pair without an area has no hull.
    """
    found = []
    names = [name for name, (low, high) in ranges.items() if high > low][:MOST_LABELS]
    for pair in itertools.combinations(names, 2):
        points = np.stack([labels[name] for name in pair], axis=1).astype(np.float64)
        corners = convex_hull(points[np.isfinite(points).all(axis=1)])
        if len(corners) > 2:
            found.append(Hull(labels=pair, corners=[tuple(map(float, c)) for c in corners]))
    return found


def convex_hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of points, shape (n, 2), counter-clockwise (monotone chain)."""
    points = np.unique(points, axis=0)

    def chain(some: np.ndarray) -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        for point in some:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return np.array(chain(points) + chain(points[::-1])) if len(points) > 2 else points


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Twice the area of a triangle, positive where it turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def beyond_hulls(
    hull: Hull, values: Mapping[str, np.ndarray], ranges: Mapping[str, tuple[float, float]]
) -> np.ndarray:
    """Mask of the stars whose two labels are farther than `MARGIN` outside a hull, shape (n,).

    A star without one of the labels is inside.
    """
    scale = np.array([max(np.ptp(ranges[name]), 1e-12) for name in hull.labels])
    corners = np.array(hull.corners) / scale
    points = np.stack([values[name] for name in hull.labels], axis=1) / scale
    along = np.roll(corners, -1, axis=0) - corners
    length = np.maximum(np.hypot(*along.T), 1e-12)
    outward = np.stack([along[:, 1], -along[:, 0]], axis=1) / length[:, None]
    away = points @ outward.T - (outward * corners).sum(axis=1)
    return away.max(axis=1) > MARGIN
