"""Calibrated intervals: a model's ``calibration.json``, fitted on validation stars.

Each label has a temperature T, which makes the predicted sigmas right on average, and at each level
a quantile q of abs(predicted - actual) / (T sigma) of all stars. Stars are grouped by what is known
of a new star: its predicted temperature, [Fe/H] and log g, and the signal-to-noise ratio of its
spectrum. Each group has a factor, and the interval is predicted +- q f1 f2 f3 f4 T sigma, with the
factors of the star's four groups. They are chosen such that of the stars of each group, of every
grouping, the stated share lies within, so that the errors of faint, iron-poor giants follow from
those of faint, of iron-poor and of giant stars: too few are all three.

By split conformal prediction a quantile of n stars holds the stated share of new stars of the kind
that it was fitted on, whatever the distribution of their errors; of other stars it promises
nothing. The file comes with the model and is untrusted.

Shapes: n stars, R labels, G groupings.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.labels import CONDITION, DWARF_ABOVE, GIANT_BELOW, IRON_POOR, LabelName
from spectrafm.reading import Untrusted, problem_in
from spectrafm.spectra import Kind, Window

#: Name of the file in a model's folder.
CALIBRATION = "calibration.json"

#: Shares of stars that intervals hold, percent.
LEVELS = (68, 90, 95)

#: Uncertainties on both sides that hold a share of Gaussian errors, by level.
GAUSSIAN = {level: NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS}

#: Stars of a group that has factors of its own; those of a smaller one are 1.
SMALLEST_GROUP = 50

#: Largest number of groups of as many stars each.
MOST_PARTS = 5

#: Rounds in which the factors of the groupings are fitted to each other; a few suffice.
ROUNDS = 20

#: Stars below which a label is not calibrated: the 95 % quantile needs 19.
FEWEST = 20

#: Beginning of the flags of rows for which a calibration does not hold.
DOES_NOT_HOLD = "calibration does not hold"

Name = Annotated[LabelName, Field(max_length=64)]
#: Smallest and largest temperature and quantile.
NUMBERS = (1e-9, 1e9)

Positive = Annotated[float, Field(ge=NUMBERS[0], le=NUMBERS[1])]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


def _rising(edges: list[float]) -> list[float]:
    if edges != sorted(edges):
        raise ValueError("edges do not rise")
    return edges


class FittedOn(Untrusted):
    """The stars that a calibration was fitted on."""

    kind: Literal["observed", "synthetic", "painted"]  # of their spectra
    spectra: (
        Kind  # that the calibration is for: observed ones, where painted spectra stand for them
    )
    split: Annotated[str, Field(max_length=16)] = "validation"
    where: Annotated[str, Field(pattern=CONDITION, max_length=64)] | None = None
    count: Count
    windows: Annotated[list[Window], Field(min_length=1, max_length=1000)]
    combine: Annotated[str, Field(max_length=64)] = "inverse_variance"


class Grouping(Untrusted):
    """Division of stars by a predicted label, or by ``snr``, at some edges."""

    by: Name
    edges: Annotated[list[float], Field(min_length=1, max_length=10), AfterValidator(_rising)]

    def bins(self, values: np.ndarray) -> np.ndarray:
        """Number of the bin of each value, shape (n,); -1 where it is not finite."""
        return np.where(np.isfinite(values), np.digitize(values, self.edges), -1)

    def names(self) -> list[str]:
        """Names of the bins, such as ``-0.5 <= FE_H < -0.1``."""
        edges = [f"{edge:.3g}" for edge in self.edges]
        inner = [f"{low} <= {self.by} < {high}" for low, high in itertools.pairwise(edges)]
        return [f"{self.by} < {edges[0]}", *inner, f"{self.by} >= {edges[-1]}"]


Quantiles = Annotated[list[Positive], Field(min_length=len(LEVELS), max_length=len(LEVELS))]
Shares = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(min_length=len(LEVELS), max_length=len(LEVELS)),
]


class LabelCalibration(Untrusted):
    """Calibration of one label."""

    temperature: Positive
    count: Count
    range: tuple[float, float]  # of the label among the stars, in its unit
    quantiles: Quantiles  # of abs(r) / (T sigma) of all stars, by level
    factors: Annotated[
        list[Annotated[list[Quantiles], Field(min_length=2, max_length=11)]], Field(max_length=10)
    ]  # of each bin of each grouping, by level
    coverage: Shares | None = None
    # Share of the stars within intervals that were fitted on the other half of them, by level.

    def half_widths(self, place: np.ndarray) -> np.ndarray:
        """Half the width of each star's intervals in units of its sigma, shape (levels, n).

        Parameters
        ----------
        place : numpy.ndarray, shape (n, G)
            Bin of each star in each grouping; -1 where it is not known.
        """
        width = np.repeat(np.array(self.quantiles)[:, None], len(place), axis=1)
        for bins, factors in zip(place.T, self.factors, strict=True):
            width *= np.where(bins < 0, 1.0, np.array(factors)[bins].T)
        # The factors of a wider level may be smaller.
        return np.maximum.accumulate(width, axis=0) * self.temperature


class Calibration(Untrusted):
    """A fitted calibration; as text, a sentence on what it holds for."""

    levels: tuple[Literal[68], Literal[90], Literal[95]] = LEVELS
    fitted_on: FittedOn
    groupings: Annotated[list[Grouping], Field(max_length=10)] = Field([])
    labels: Annotated[dict[Name, LabelCalibration], Field(max_length=1000)] = Field({})
    note: Annotated[str, Field(max_length=1000)] = ""

    @model_validator(mode="after")
    def _factors_follow_the_groupings(self):
        bins = [len(part.edges) + 1 for part in self.groupings]
        for name, label in self.labels.items():
            if [len(part) for part in label.factors] != bins:
                raise ValueError(f"labels.{name}: factors of other groups than there are")
        return self

    def __str__(self) -> str:
        fitted = self.fitted_on
        condition = f" with {fitted.where}" if fitted.where else ""
        note = f" ({self.note})" if self.note else ""
        stars = f"{fitted.count} {fitted.kind} spectra of the {fitted.split} split{condition}"
        if not self.labels:
            return f"There are no calibrated intervals: {stars}{note}."
        return (
            f"Calibrated intervals of {', '.join(self.labels)} are fitted on {stars}{note}; they "
            "hold for such stars only."
        )

    def half_widths(
        self, label: str, sigma: np.ndarray, features: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Half the width of a label's intervals.

        Parameters
        ----------
        label : str
            One of ``labels``.
        sigma : numpy.ndarray, shape (n,)
            Predicted one-sigma uncertainties, in the label's unit.
        features : mapping of str to numpy.ndarray, shape (n,)
            Predicted labels, and ``snr``, by name. A star without one of them has no factor of its
            groups.

        Returns
        -------
        numpy.ndarray, shape (levels, n)
            In the label's unit, in the order of `LEVELS`.
        """
        return self.labels[label].half_widths(self.places(features, len(sigma))) * sigma

    def places(self, features: Mapping[str, np.ndarray], stars: int) -> np.ndarray:
        """Bin of each star in each grouping, shape (n, G); -1 where it is not known."""
        unknown = np.full(stars, np.nan)
        bins = [part.bins(np.asarray(features.get(part.by, unknown))) for part in self.groupings]
        return np.stack(bins, axis=1) if bins else np.empty((stars, 0), int)

    def outside(self, label: str, predicted: np.ndarray) -> np.ndarray:
        """Mask of predictions outside the range of the label that the calibration was fitted on."""
        low, high = self.labels[label].range
        return (predicted < low) | (predicted > high)

    def doubts(self, spectra: str, windows: Sequence[Sequence[float]], combine: str) -> list[str]:
        """Flags of a prediction that is of another kind than the stars of the fit."""
        fitted = self.fitted_on
        found = []
        if spectra != fitted.spectra:
            found.append(f"fitted on {fitted.spectra} spectra")
        if {tuple(window) for window in windows} != set(fitted.windows):
            found.append("fitted on other windows")
        if combine != fitted.combine:
            found.append(f"fitted with chunks combined by {fitted.combine}")
        return [f"{DOES_NOT_HOLD}: {reason}" for reason in found]

    def of_labels(self, labels: Sequence[str]) -> Calibration:
        """The calibration of some of the labels."""
        kept = {name: self.labels[name] for name in labels if name in self.labels}
        return self.model_copy(update={"labels": kept})


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write ``calibration.json`` into a model's folder, of which it becomes a part."""
    content = calibration.model_dump(mode="json")
    files.write_json(Path(folder) / CALIBRATION, files.provenance(**content))


def read_calibration(folder: Path) -> Calibration | None:
    """Read the calibration of a model; None for a model without one, as of older versions.

    The model's checksums are checked elsewhere, when its weights are loaded.

    Raises
    ------
    SpectraFMError
        When the file holds a value of the wrong type or range, or is not JSON.
    """
    path = Path(folder) / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        raise SpectraFMError(f"{path}: not a calibration ({problem_in(error)})") from None


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
    found, few = {}, []
    for i, name in enumerate(labels):
        used = np.isfinite(predicted[:, i] + sigma[:, i] + actual[:, i]) & (sigma[:, i] > 0)
        if used.sum() < FEWEST:
            few.append(name)
            continue
        pull = np.abs(predicted[used, i] - actual[used, i]) / sigma[used, i]
        found[name] = _fit_label(pull, actual[used, i], place[used], bins).model_copy(
            update={"coverage": _coverage(pull, actual[used, i], place[used], bins)}
        )
    notes = [f"not calibrated, fewer than {FEWEST} stars: {', '.join(few)}"] if few else []
    if fitted_on.kind == "painted":
        notes.append("fitted on painted synthetic spectra, which stand for observed ones")
    return empty.model_copy(update={"labels": found, "note": "; ".join(notes)})


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


def _coverage(
    pull: np.ndarray, actual: np.ndarray, place: np.ndarray, bins: Sequence[int]
) -> list[float] | None:
    """Share of stars within intervals that were fitted on the other half; None for too few."""
    if len(pull) < 2 * FEWEST:
        return None
    halves = np.random.default_rng(0).permutation(len(pull)) % 2
    within = np.zeros((len(LEVELS), len(pull)), bool)
    for half in (0, 1):
        fitted, judged = halves != half, halves == half
        found = _fit_label(pull[fitted], actual[fitted], place[fitted], bins)
        within[:, judged] = pull[judged] <= found.half_widths(place[judged])
    return [float(share) for share in within.mean(axis=1)]


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
