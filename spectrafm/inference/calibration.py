"""Calibrated intervals: a model's ``calibration.json``, fitted on validation stars.

Each label has a temperature T, which makes the predicted sigmas right on average, and for groups
of stars the quantiles q of abs(predicted - actual) / (T sigma) at each level. The interval is
predicted - q T sigma to predicted + q T sigma. By split conformal prediction it holds the stated
share of new stars of the kind that it was fitted on, whatever the distribution of their errors;
of other stars it promises nothing.

Groups follow what is known of a new star: its predicted [Fe/H] and log g and the signal-to-noise
ratio of its spectrum, each within the one before. The file comes with the model and is untrusted.

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
from spectrafm.labels import CONDITION, DWARF_ABOVE, GIANT_BELOW, LabelName
from spectrafm.reading import Untrusted, problem_in
from spectrafm.spectra import Kind, Window

#: Name of the file in a model's folder.
CALIBRATION = "calibration.json"

#: Shares of stars that intervals hold, percent.
LEVELS = (68, 90, 95)

#: Uncertainties on both sides that hold a share of Gaussian errors, by level.
GAUSSIAN = {level: NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS}

#: Stars of a group that has quantiles of its own; a smaller one takes those of the group it is in.
SMALLEST_GROUP = 50

#: Stars below which a label is not calibrated: the 95 % quantile needs 19.
FEWEST = 20

#: Beginning of the flags of rows for which a calibration does not hold.
DOES_NOT_HOLD = "calibration does not hold"

Name = Annotated[LabelName, Field(max_length=64)]
#: Smallest and largest temperature and quantile.
NUMBERS = (1e-9, 1e9)

Positive = Annotated[float, Field(ge=NUMBERS[0], le=NUMBERS[1])]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Shares = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(min_length=len(LEVELS), max_length=len(LEVELS)),
]


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


class Group(Untrusted):
    """Quantiles of a group of stars."""

    place: Annotated[list[Annotated[int, Field(ge=0, le=10)]], Field(max_length=10)]
    # The bin of each grouping, from the first one on; empty: all stars.
    count: Count
    quantiles: Annotated[list[Positive], Field(min_length=len(LEVELS), max_length=len(LEVELS))]
    # Of abs(r) / (T sigma), by level.


class LabelCalibration(Untrusted):
    """Calibration of one label."""

    temperature: Positive
    count: Count
    range: tuple[float, float]  # of the label among the stars, in its unit
    groups: Annotated[list[Group], Field(min_length=1, max_length=10_000)]
    coverage: Shares | None = None
    # Share of the stars within intervals that were fitted on the other half of them, by level.

    @model_validator(mode="after")
    def _holds_for_every_star(self):
        if not any(group.place == [] for group in self.groups):
            raise ValueError("no group holds all stars")
        return self

    def factors(self, place: np.ndarray) -> np.ndarray:
        """Half the width of each star's intervals in units of its sigma, shape (levels, n).

        Parameters
        ----------
        place : numpy.ndarray, shape (n, G)
            Bin of each star in each grouping; -1 where it is not known.
        """
        factor = np.full((len(LEVELS), len(place)), np.nan)
        for group in sorted(self.groups, key=lambda group: len(group.place)):
            inside = (place[:, : len(group.place)] == group.place).all(axis=1)
            factor[:, inside] = np.array(group.quantiles)[:, None]
        return factor * self.temperature


class Calibration(Untrusted):
    """A fitted calibration; as text, a sentence on what it holds for."""

    levels: tuple[Literal[68], Literal[90], Literal[95]] = LEVELS
    fitted_on: FittedOn
    groupings: Annotated[list[Grouping], Field(max_length=10)] = Field([])
    labels: Annotated[dict[Name, LabelCalibration], Field(max_length=1000)] = Field({})
    note: Annotated[str, Field(max_length=1000)] = ""

    @model_validator(mode="after")
    def _groups_follow_the_groupings(self):
        for name, label in self.labels.items():
            if any(len(group.place) > len(self.groupings) for group in label.groups):
                raise ValueError(f"labels.{name}: a group of a grouping that is not there")
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
            Predicted labels, and ``snr``, by name. A star without one of them is in the smallest
            group that can be told without it.

        Returns
        -------
        numpy.ndarray, shape (levels, n)
            In the label's unit, in the order of `LEVELS`.
        """
        return self.labels[label].factors(self.places(features, len(sigma))) * sigma

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
    place = empty.places(features, len(predicted))
    found, few = {}, []
    for i, name in enumerate(labels):
        used = np.isfinite(predicted[:, i] + sigma[:, i] + actual[:, i]) & (sigma[:, i] > 0)
        if used.sum() < FEWEST:
            few.append(name)
            continue
        pull = np.abs(predicted[used, i] - actual[used, i]) / sigma[used, i]
        found[name] = _fit_label(pull, actual[used, i], place[used]).model_copy(
            update={"coverage": _coverage(pull, actual[used, i], place[used])}
        )
    notes = [f"not calibrated, fewer than {FEWEST} stars: {', '.join(few)}"] if few else []
    if fitted_on.kind == "painted":
        notes.append("fitted on painted synthetic spectra, which stand for observed ones")
    return empty.model_copy(update={"labels": found, "note": "; ".join(notes)})


def _fit_label(pull: np.ndarray, actual: np.ndarray, place: np.ndarray) -> LabelCalibration:
    """Fit one label from abs(r) / sigma, the label, and the groups of its stars."""
    # Residuals of zero would give no number to divide by, and intervals without a width.
    temperature = float(np.sqrt(np.mean(pull**2)).clip(*NUMBERS))
    score = (pull / temperature).clip(*NUMBERS)
    groups = []
    for depth in range(place.shape[1] + 1):
        for own in sorted(set(map(tuple, place[:, :depth].tolist()))):
            inside = (place[:, :depth] == own).all(axis=1)
            # Of a star with an unknown feature only the larger groups are known.
            if -1 in own or (depth and inside.sum() < SMALLEST_GROUP):
                continue
            quantiles = conformal_quantiles(score[inside])
            groups.append(Group(place=list(own), count=int(inside.sum()), quantiles=quantiles))
    return LabelCalibration(
        temperature=temperature,
        count=len(pull),
        range=(float(actual.min()), float(actual.max())),
        groups=groups,
    )


def _coverage(pull: np.ndarray, actual: np.ndarray, place: np.ndarray) -> list[float] | None:
    """Share of stars within intervals that were fitted on the other half; None for too few."""
    if len(pull) < 2 * FEWEST:
        return None
    halves = np.random.default_rng(0).permutation(len(pull)) % 2
    within = np.zeros((len(LEVELS), len(pull)), bool)
    for half in (0, 1):
        fitted, judged = halves != half, halves == half
        found = _fit_label(pull[fitted], actual[fitted], place[fitted])
        within[:, judged] = pull[judged] <= found.factors(place[judged])
    return [float(share) for share in within.mean(axis=1)]


def conformal_quantiles(score: np.ndarray) -> list[float]:
    """Quantiles of scores of n >= 19 stars, by level.

    A new star's score is below the k-th smallest of n with a probability of at least k / (n + 1),
    so that k = ceil((n + 1) level).
    """
    ordered, n = np.sort(score), len(score)
    return [float(ordered[-(-(n + 1) * level // 100) - 1]) for level in LEVELS]


def _groupings(features: Mapping[str, np.ndarray]) -> list[Grouping]:
    """Divide stars into thirds by predicted [Fe/H], by log g, and at the median of S/N."""
    found = []
    for by, quantiles in (("FE_H", (1 / 3, 2 / 3)), ("LOGG", None), ("snr", (1 / 2,))):
        known = features.get(by, np.empty(0))
        known = known[np.isfinite(known)]
        if len(known):
            edges = (GIANT_BELOW, DWARF_ABOVE) if quantiles is None else known
            edges = edges if quantiles is None else np.quantile(known, quantiles)
            found.append(Grouping(by=by, edges=[float(edge) for edge in edges]))
    return found
