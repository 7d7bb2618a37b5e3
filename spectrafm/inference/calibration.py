"""Calibrated intervals: a model's ``calibration.json``, fitted on validation stars.

Each label has a temperature T, which makes the predicted sigmas right on average, and at each level
a quantile q of abs(predicted - actual) / (T sigma) of all stars. Stars are grouped by what is known
of a new star: its predicted temperature, [Fe/H] and log g, and the signal-to-noise ratio of its
spectrum. Each group has a factor, and the interval is predicted +- q f1 f2 f3 f4 T sigma, with the
factors of the star's four groups. They are chosen such that of the stars of each group, of every
grouping, the stated share lies within, so that the errors of faint, iron-poor giants follow from
those of faint, of iron-poor and of giant stars: too few are all three. Stars predicted iron-poor
have wider intervals than that, so that the catalogue's iron-poor stars are held, some of which are
predicted iron-rich.

The calibration holds for stars of the kind that it was fitted on; of other stars it promises
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
from spectrafm.labels import CONDITION, LabelName
from spectrafm.reading import Untrusted, problem_in, read_untrusted_json
from spectrafm.spectra import Kind, Window

#: Name of the file in a model's folder.
CALIBRATION = "calibration.json"

#: Shares of stars that intervals hold, percent.
LEVELS = (68, 90, 95)

#: Uncertainties on both sides that hold a share of Gaussian errors, by level.
GAUSSIAN = {level: NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS}

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
    list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=len(LEVELS), max_length=len(LEVELS))
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
        return Calibration.model_validate_json(read_untrusted_json(path), strict=True)
    except (OSError, ValidationError) as error:
        raise SpectraFMError(f"{path}: not a calibration ({problem_in(error)})") from None
