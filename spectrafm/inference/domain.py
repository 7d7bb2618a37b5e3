"""What a model learned from: its ``domain.json``, and flags for stars outside it.

The file holds ranges of the training stars (labels, wavelengths, signal-to-noise ratio) and how
unlike them a spectrum may be. ``domain.safetensors`` holds the principal components of the training
spectra, and the axes of their features where the network has any. A spectrum is compared with
validation spectra in three numbers: what the components leave of it, in the worst window; its
scores along the components; and the distance of its feature, where it covers what the network
learned from. Its score is the larger of the first two, or with the third the root of the sum of
squares. A score of 1 is exceeded by 1 % of the validation spectra.

Both files come with the model and are untrusted. Shapes: n stars, P pixels, K components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field, ValidationError

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference import flags
from spectrafm.inference.components import Components
from spectrafm.inference.features import Features
from spectrafm.inference.ranges import Hull, beyond_hulls
from spectrafm.inference.shift import shifts_of
from spectrafm.labels import LabelName
from spectrafm.networks.saved import read_weights, write_weights
from spectrafm.reading import Untrusted, problem_in, read_untrusted_json
from spectrafm.spectra import Kind, Window, pixels_in

#: Names of the files in a model's folder.
DOMAIN = "domain.json"
COMPONENTS = "domain.safetensors"

#: Largest size of each file, bytes; largest number of pixels and of components.
LARGEST = 8 << 20
MOST_PIXELS, MOST_COMPONENTS, MOST_FEATURES = 1_000_000, 64, 4096

#: Share of the validation spectra with a score below 1.
QUANTILE = 0.99

#: Share of the covered wavelengths, relative to training spectra, from which features count: those
#: of fewer pixels are others.
COMPLETE = 0.9

#: Share of the covered wavelengths, relative to training spectra, below which pixels are few.
FEW = 0.5

#: Signal-to-noise ratio that counts as low for a model whose training spectra have none recorded.
LOW_SNR = 20.0

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Scale = Annotated[float, Field(ge=1e-12, le=1e12)]
Range = tuple[Number, Number]
Name = Annotated[LabelName, Field(max_length=64)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Score(Untrusted):
    """How the score of a spectrum is computed from what the components say of it."""

    noise: Scale  # of a typical training spectrum about its reconstruction
    parts: Annotated[list[Range], Field(min_length=1, max_length=1000)]  # Angstrom, both included
    residual: Annotated[list[Scale], Field(min_length=1, max_length=1000)]  # of each part
    distance: Scale
    feature: Scale | None = None  # of the distance of features; None: the network has none
    both: Scale = 1.0  # of the root of the sum of squares, with features
    quantile: Annotated[float, Field(gt=0, le=1)] = QUANTILE
    fitted_on: Count  # training spectra
    validated_on: Count


class Facts(Untrusted):
    """The content of ``domain.json``."""

    spectra: Kind
    windows: Annotated[list[Window], Field(min_length=1, max_length=1000)]
    wavelengths: Range  # first and last with a good pixel, Angstrom, vacuum
    labels: Annotated[dict[Name, Range], Field(max_length=1000)]  # ranges, in the labels' units
    hulls: Annotated[list[Hull], Field(max_length=100)] = Field([])
    snr: Range | None = None  # 1 % quantile and largest; None: without noise, or unknown
    resolution: Scale | None = None
    coverage: Annotated[float, Field(ge=0, le=1)]  # median share of good pixels
    score: Score


class Judgement(NamedTuple):
    """What a domain says of some spectra and the labels predicted from them."""

    score: np.ndarray  # (n,), 1 = unusual; NaN without a good pixel
    coverage: np.ndarray  # (n,), share of the model's wavelengths with a good pixel
    flags: list[list[str]]  # of each spectrum


@dataclass(frozen=True)
class Domain:
    """The domain of a model.

    Attributes
    ----------
    facts : Facts
    components : Components
    features : Features or None
        None for a network without features, and for a model made before they were compared.
    """

    facts: Facts
    components: Components
    features: Features | None = None

    def __str__(self) -> str:
        low, high = self.facts.wavelengths
        ranges = ", ".join(f"{k} {a:.4g} to {b:.4g}" for k, (a, b) in self.facts.labels.items())
        return (
            f"{self.facts.spectra} spectra, {low:.1f}-{high:.1f} Angstrom; {ranges}; a score above "
            f"1, which {1 - self.facts.score.quantile:.0%} of {self.facts.score.validated_on} "
            "validation spectra have, is flagged"
        )

    def judge(
        self,
        wavelength: np.ndarray,
        flux: np.ndarray,
        predicted: Mapping[str, np.ndarray],
        snr: np.ndarray | None = None,
        feature: np.ndarray | None = None,
    ) -> Judgement:
        """Flag spectra, and labels predicted from them, that the model did not learn from.

        Parameters
        ----------
        wavelength : numpy.ndarray, shape (P,), Angstrom, vacuum, rest frame
        flux : numpy.ndarray, shape (n, P)
            As the network reads it; NaN where missing.
        predicted : mapping of str to numpy.ndarray, shape (n,)
            Predicted labels by name.
        snr : numpy.ndarray, shape (n,), optional
            Signal-to-noise ratios; NaN where unknown.
        feature : numpy.ndarray, shape (n, F), optional
            Of the network's prediction; None: the components alone judge the spectra.
        """
        score, coverage = self.scores(wavelength, flux, feature)
        found: list[list[str]] = [[] for _ in range(len(flux))]
        for row, details in enumerate(self.outside(predicted)):
            if details:
                found[row].append(flags.flag(flags.OUT_OF_LABEL_RANGE, details))
        unlike = np.flatnonzero(score > 1)
        for row in unlike:
            found[row].append(flags.flag(flags.OUT_OF_DISTRIBUTION, [f"{score[row]:.3g}"]))
        few = (coverage > 0) & (coverage < FEW * self.facts.coverage)
        for row in np.flatnonzero(few):
            found[row].append(flags.flag(flags.FEW_PIXELS, [f"{coverage[row]:.0%}"]))
        if snr is not None:
            lowest = LOW_SNR if self.facts.snr is None else self.facts.snr[0]
            for row in np.flatnonzero(np.asarray(snr) < lowest):
                found[row].append(flags.flag(flags.LOW_SNR, [f"{snr[row]:.3g}"]))
        velocity = shifts_of(self.components, wavelength, flux[unlike])
        for row, shift in zip(unlike, velocity, strict=True):
            if shift:
                found[row].append(flags.flag(flags.SHIFTED, [f"{shift:+.0f} km/s"]))
        return Judgement(score, coverage, found)

    def scores(
        self, wavelength: np.ndarray, flux: np.ndarray, feature: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score of each spectrum, and the share of the model's wavelengths that it covers.

        Returns
        -------
        score : numpy.ndarray, shape (n,)
            Infinite where all good pixels are outside the model's wavelengths; NaN where there is
            no good pixel at all.
        coverage : numpy.ndarray, shape (n,)
        """
        here = self.components.at(wavelength)
        limit = self.facts.score
        inside = pixels_in(wavelength, limit.parts)
        score = np.empty(len(flux))
        for rows, distance, residual in here.describe(flux):
            parts = [distance / limit.distance]
            for pixels, scale in zip(inside, limit.residual, strict=True):
                parts.append(root_mean_square(residual[:, pixels]) / scale)
            score[rows] = np.max(parts, axis=0)
        coverage = self._coverage(wavelength, np.isfinite(flux) & np.isfinite(here.mean))
        if feature is not None and self.features is not None:
            far = self.features.distance(feature) / limit.feature
            counts = (coverage >= COMPLETE * self.facts.coverage) & np.isfinite(far)
            score[counts] = np.hypot(score, far)[counts] / limit.both
        readable = np.isfinite(flux).any(axis=1)
        score[coverage == 0] = np.inf
        score[~readable] = np.nan
        return score, coverage

    def _coverage(self, wavelength: np.ndarray, good: np.ndarray) -> np.ndarray:
        """Share of the training spectra's wavelengths that lie beside a good pixel."""
        own = self.components.wavelength
        if np.array_equal(own, wavelength):
            return good.mean(axis=1)
        if not len(wavelength):
            return np.zeros(len(good))
        # Each own pixel is covered where the nearest pixel of the other grid is good, and near.
        order = np.argsort(wavelength)
        sorted_ = wavelength[order]
        right = np.searchsorted(sorted_, own).clip(1, max(len(sorted_) - 1, 1))
        pair = np.stack([right - 1, np.minimum(right, len(sorted_) - 1)], axis=1)
        gap = np.abs(np.log(sorted_[pair] / own[:, None]))
        step = np.median(np.diff(np.log(sorted_))) if len(sorted_) > 1 else 0.0
        nearest = order[pair[np.arange(len(own)), gap.argmin(axis=1)]]
        near = gap.min(axis=1) <= 0.75 * max(step, self.components.step())
        return (good[:, nearest] & near).mean(axis=1)

    def outside(self, predicted: Mapping[str, np.ndarray]) -> list[list[str]]:
        """Names of the labels, or pairs of labels, of each star that are outside the training's."""
        stars = len(next(iter(predicted.values()), ()))
        found: list[list[str]] = [[] for _ in range(stars)]
        beyond = {}
        for name, (low, high) in self.facts.labels.items():
            if name in predicted:
                beyond[name] = (predicted[name] < low) | (predicted[name] > high)
                for row in np.flatnonzero(beyond[name]):
                    found[row].append(name)
        for hull in self.facts.hulls:
            if all(name in predicted for name in hull.labels):
                rows = beyond_hulls(hull, predicted, self.facts.labels)
                rows &= ~np.any([beyond[name] for name in hull.labels], axis=0)
                for row in np.flatnonzero(rows):
                    found[row].append(" with ".join(hull.labels))
        return found


def root_mean_square(values: np.ndarray) -> np.ndarray:
    """Root mean square of each row's finite values; 0 for a row without any."""
    known = np.isfinite(values)
    total = np.square(np.where(known, values, 0.0)).sum(axis=1, dtype=np.float64)
    return np.sqrt(total / np.maximum(known.sum(axis=1), 1))


def write_domain(folder: Path, domain: Domain) -> None:
    """Write ``domain.json`` and ``domain.safetensors`` into a model's folder."""
    content = domain.facts.model_dump(mode="json")
    files.write_json(Path(folder) / DOMAIN, files.provenance(**content))
    arrays = {name: getattr(domain.components, name) for name in _TYPES}
    if domain.features is not None:
        own = (domain.features.mean, domain.features.axes)
        arrays |= dict(zip(_FEATURE_TYPES, own, strict=True))
    write_weights(
        Path(folder) / COMPONENTS, {name: torch.from_numpy(a) for name, a in arrays.items()}
    )


#: Arrays of ``domain.safetensors`` and their types, and those of a network with features.
_TYPES = {"wavelength": torch.float64, "mean": torch.float32, "components": torch.float32}
_FEATURE_TYPES = {"feature_mean": torch.float32, "feature_axes": torch.float32}


def read_domain(folder: Path) -> Domain | None:
    """Read the domain of a model; None for a model without one, as of older versions.

    The model's checksums are checked elsewhere, when its weights are loaded.

    Raises
    ------
    SpectraFMError
        When a file is missing or too large, or holds a value of the wrong type, size or range.
    """
    path, arrays = Path(folder) / DOMAIN, Path(folder) / COMPONENTS
    if not path.exists():
        return None
    try:
        for file in (path, arrays):
            if (size := file.stat().st_size) > LARGEST:
                raise SpectraFMError(f"{file}: {size:,} bytes are more than a domain has")
        facts = Facts.model_validate_json(read_untrusted_json(path), strict=True)
    except (OSError, ValidationError) as error:
        raise SpectraFMError(f"{path}: not a domain ({problem_in(error)})") from None
    if len(facts.score.residual) != len(facts.score.parts):
        raise SpectraFMError(f"{path}: not a domain (score.residual: not one a part)")
    if any(name not in facts.labels for hull in facts.hulls for name in hull.labels):
        raise SpectraFMError(f"{path}: not a domain (hulls: of a label without a range)")
    found = read_weights(arrays)
    types = _TYPES if facts.score.feature is None else _TYPES | _FEATURE_TYPES
    if set(found) != set(types) or any(found[name].dtype != kind for name, kind in types.items()):
        raise SpectraFMError(f"{arrays}: not the arrays of a domain")
    wavelength, mean, components = (found[name].numpy() for name in _TYPES)
    pixels = len(wavelength) if wavelength.ndim == 1 else 0
    fits = mean.shape == (pixels,) and components.shape == (len(components), pixels)
    if not (fits and 0 < pixels <= MOST_PIXELS and 0 < len(components) <= MOST_COMPONENTS):
        raise SpectraFMError(f"{arrays}: arrays of a domain do not fit each other")
    rising = wavelength[0] > 0 and (np.diff(wavelength) > 0).all()
    if not (rising and all(np.isfinite(part).all() for part in (wavelength, mean, components))):
        raise SpectraFMError(f"{arrays}: not finite, or wavelengths do not rise")
    features = None if facts.score.feature is None else _features_of(arrays, found)
    return Domain(facts, Components(wavelength, mean, components, facts.score.noise), features)


def _features_of(file: Path, found: Mapping[str, torch.Tensor]) -> Features:
    mean, axes = (found[name].numpy() for name in _FEATURE_TYPES)
    size = len(mean) if mean.ndim == 1 else 0
    if not (
        0 < size <= MOST_FEATURES and axes.shape == (len(axes), size) and 0 < len(axes) <= size
    ):
        raise SpectraFMError(f"{file}: arrays of features do not fit each other")
    if not (np.isfinite(mean).all() and np.isfinite(axes).all()):
        raise SpectraFMError(f"{file}: features are not finite")
    return Features(mean, axes)
