"""Base classes of the networks: the interface that training, prediction and saving use.

Shapes: B stars, T pixels, P pixels of a grid, L labels known to the network, R requested labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label
from spectrafm.networks.options import PLAIN, Reads
from spectrafm.options import Section


class Answer(NamedTuple):
    """A network's answer in standardised label units: two tensors of shape (B, R).

    Outside training a network may add its feature of each spectrum, shape (B, F): by it a spectrum
    unlike those of training is told (`spectrafm.inference.features`).
    """

    mean: Tensor
    log_variance: Tensor
    feature: Tensor | None = None


class Extrapolation(NamedTuple):
    """A correction of a label's answers: centre + factor x (answer - centre)."""

    label: str
    centre: float  # mean of the stage's stars, in the label's unit
    factor: float  # at least 1


class TrainingStars(Protocol):
    """What a network reads of the stars of its first training: a part of a ``StarSet``."""

    wavelength: np.ndarray  # (P,), Angstrom
    flux: np.ndarray  # (n, P), NaN = missing
    flux_error: np.ndarray | None  # (n, P)
    label: np.ndarray  # (n, L), NaN = missing
    labels: tuple[Label, ...]
    columns: Mapping[str, np.ndarray]  # (n,) each, those of ``Reads.inputs`` among them


class Network(nn.Module):
    """A network that answers requests for labels.

    Parameters
    ----------
    labels : sequence of Label
        Labels that the network knows, in the order of its outputs.

    Attributes
    ----------
    label_table : tuple of Label
    label_centre, label_scale : Tensor, shape (L,)
        Labels are learned as (label - centre) / scale.
    reads : Reads
        What the network reads besides normalised flux; `scale_inputs` sets their centre and scale.
    """

    #: Its key in `spectrafm.networks.NETWORKS`.
    architecture: ClassVar[str]
    #: Sizes that ``config.json`` holds, typed and bounded, since the file is untrusted.
    Sizes: ClassVar[type[Section]]
    #: Whether `forward` reads the errors of the flux.
    wants_errors: bool = False
    #: Whether `forward` reads all pixels of a window at once, in the order of the grid.
    reads_whole: bool = False

    def __init__(self, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__()
        self.label_table, self.reads = tuple(labels), reads
        self.register_buffer("label_centre", torch.zeros(len(self.label_table)))
        self.register_buffer("label_scale", torch.ones(len(self.label_table)))
        if reads.inputs:
            self.register_buffer("input_centre", torch.zeros(len(reads.inputs)))
            self.register_buffer("input_scale", torch.ones(len(reads.inputs)))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that the network knows."""
        return tuple(label.name for label in self.label_table)

    # Construction.

    @classmethod
    def start(
        cls, model: Section, stars: TrainingStars, labels: Sequence[str], reads: Reads = PLAIN
    ) -> Self:
        """Create a network with fresh weights for the training stars of a stage.

        Parameters
        ----------
        model : spectrafm.networks.options.Model
            Sizes, for an architecture that has a choice of them.
        stars : TrainingStars
        labels : sequence of str
            Names of the labels that the stage trains.
        reads : Reads
            What the network reads.

        Returns
        -------
        Network
        """
        raise TypeError(f"{cls.__name__} does not implement start()")

    @classmethod
    def reads_errors(cls, model: Section, reads: Reads) -> bool:
        """Whether a network that `start` creates with these options has `wants_errors`."""
        return cls.wants_errors

    @classmethod
    def build(cls, sizes: Section, labels: Sequence[Label]) -> Self:
        """Create a network of given sizes, to load weights into."""
        raise TypeError(f"{cls.__name__} does not implement build()")

    def sizes(self) -> dict[str, Any]:
        """Sizes that `build` takes, as ``config.json`` holds them."""
        raise TypeError(f"{type(self).__name__} does not implement sizes()")

    def scale_labels(self, label: np.ndarray) -> None:
        """Set centre and scale of the labels from the training stars, shape (n, L)."""
        centre, scale = self.label_scaling(torch.from_numpy(label))
        # A label without values, or with one value for all stars, cannot be scaled.
        usable = centre.isfinite() & scale.isfinite() & (scale > 0)
        self.label_centre.copy_(centre.where(usable, 0.0))
        self.label_scale.copy_(scale.where(usable, 1.0))

    @staticmethod
    def label_scaling(label: Tensor) -> tuple[Tensor, Tensor]:
        """Compute centre and scale of each label: mean and standard deviation.

        Parameters
        ----------
        label : Tensor, shape (n, L)
            NaN = missing.

        Returns
        -------
        centre, scale : Tensor, shape (L,)
        """
        centre = label.nanmean(dim=0)
        return centre, (label - centre).square().nanmean(dim=0).sqrt()

    def scale_inputs(self, columns: Mapping[str, np.ndarray]) -> None:
        """Set centre and scale of the inputs from columns of the training stars.

        Raises
        ------
        SpectraFMError
            When no star has one of the inputs.
        """
        for place, name in enumerate(self.reads.inputs):
            values = np.asarray(columns.get(name, []), np.float64)
            known = values[np.isfinite(values)]
            if not len(known) or not known.std() > 0:
                raise SpectraFMError(
                    f"inputs: the training stars have no {name}, or one value of it"
                )
            self.input_centre[place], self.input_scale[place] = known.mean(), known.std()

    def inputs_of(self, columns: Mapping[str, np.ndarray], stars: int) -> Tensor | None:
        """Standardised inputs of some stars, shape (stars, I), from columns by name.

        NaN where a star, or all of them, lack an input; None for a network without inputs.
        """
        if not self.reads.inputs:
            return None
        unknown = np.full(stars, np.nan)
        values = [np.asarray(columns.get(name, unknown), "f4") for name in self.reads.inputs]
        device = self.input_centre.device
        every = torch.from_numpy(np.stack(values, axis=1)).float().to(device)
        every = every.masked_fill(~every.isfinite(), torch.nan)
        return (every - self.input_centre) / self.input_scale

    def add_labels(self, labels: Sequence[Label], label: np.ndarray) -> None:
        """Add labels to the network; the weights of the labels that it knows do not change.

        Parameters
        ----------
        labels : sequence of Label
        label : numpy.ndarray, shape (n, len(labels))
            Values of the training stars, which set centre and scale; NaN = missing.

        Raises
        ------
        SpectraFMError
            When the architecture has a fixed number of outputs.
        """
        names = ", ".join(label.name for label in labels)
        raise SpectraFMError(
            f"labels: {names}: a {self.architecture} network cannot learn labels that its start "
            f"does not know; it knows {', '.join(self.labels)}"
        )

    # Labels.

    def request_of(self, names: Sequence[str]) -> Tensor:
        """Indices of labels among those that the network knows, shape (R,).

        Raises
        ------
        SpectraFMError
            When the network does not know one of them.
        """
        for name in names:
            if name not in self.labels:
                raise SpectraFMError(
                    f"labels: the network does not know {name}; it knows {', '.join(self.labels)}"
                )
        return torch.tensor([self.labels.index(name) for name in names], dtype=torch.long)

    def to_standard(
        self, label: Tensor, label_error: Tensor, request: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Convert labels and their errors, shape (n, R), from their units to standardised ones."""
        scale = self.label_scale[request]
        return (label - self.label_centre[request]) / scale, label_error / scale

    def in_units(self, mean: Tensor, sigma: Tensor, request: Tensor) -> tuple[Tensor, Tensor]:
        """Convert answers and one-sigma uncertainties, shape (n, R), to the labels' units."""
        scale = self.label_scale[request].to(mean)
        return mean * scale + self.label_centre[request].to(mean), sigma * scale

    def extrapolate(self, by: Extrapolation) -> None:
        """Multiply the distance of a label's answers from a value, and their uncertainty."""
        place = self.labels.index(by.label)
        self.label_centre[place] = by.centre + by.factor * (self.label_centre[place] - by.centre)
        self.label_scale[place] *= by.factor

    # Pixels.

    def scaled(self, wavelength: np.ndarray, flux: np.ndarray) -> np.ndarray:
        """Flux, shape (n, P), in the unit in which spectra are compared with training spectra.

        Parameters
        ----------
        wavelength : numpy.ndarray, shape (P,), Angstrom
        flux : numpy.ndarray, shape (n, P)
            As the network reads it; NaN where missing.
        """
        channels = getattr(self, "channels", None)
        return flux if channels is None else channels.scaled(wavelength, flux)

    def contexts(
        self, wavelength: np.ndarray, windows: Sequence[tuple[float, float]], tokens: int
    ) -> list[np.ndarray]:
        """Divide the pixels of the windows into disjoint sets, each read in one forward pass.

        Parameters
        ----------
        wavelength : numpy.ndarray, shape (P,), Angstrom
        windows : sequence of (float, float), Angstrom
        tokens : int
            Pixels per star in training.

        Returns
        -------
        list of numpy.ndarray of int
            Indices into ``wavelength``.
        """
        raise TypeError(f"{type(self).__name__} does not implement contexts()")

    def encoding(self, wavelength: Tensor) -> Any:
        """Encode wavelengths, Angstrom, shape (T,), as the ``position`` of `forward`.

        Returns
        -------
        Tensor, shape (T, D)
            Where the network has `reads_whole`, anything that its `forward` understands.
        """
        raise TypeError(f"{type(self).__name__} does not implement encoding()")

    def forward(
        self,
        flux: Tensor,
        position: Any,
        missing: Tensor | None = None,
        request: Tensor | None = None,
        known: Tensor | None = None,
        error: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> Answer:
        """Answer requests about stars.

        Parameters
        ----------
        flux : Tensor, shape (B, T)
            Continuum-normalised flux; where ``missing``, any value, NaN too.
        position : Tensor, shape (B, T, D) or (T, D)
            `encoding` of the pixels' wavelengths.
        missing : Tensor, shape (B, T), bool, optional
            True where a pixel is bad. None: all are good.
        request : Tensor, shape (R,), int, optional
            Indices into ``labels``. Default: all labels.
        known : Tensor, shape (B, L), optional
            Standardised values of labels given as input; NaN where not given.
        error : Tensor, shape (B, T), optional
            One-sigma errors of the flux, for networks that read them.
        inputs : Tensor, shape (B, I), optional
            From `inputs_of`, for networks that read inputs; NaN where a star has none.

        Returns
        -------
        Answer
        """
        raise TypeError(f"{type(self).__name__} does not implement forward()")


class ClosedForm(Network):
    """A network whose weights are computed in closed form, without training steps."""

    def fit(self, stars: Any, request: Tensor, noise: float = 0.0) -> None:
        """Compute the weights from training stars; a fine-tune starts from the present weights.

        Parameters
        ----------
        stars : spectrafm.training.stars.DeviceStars
        request : Tensor, shape (R,), int
            The network's labels that the stage trains.
        noise : float
            One-sigma flux noise that observed spectra have beyond that of the training spectra.
        """
        raise TypeError(f"{type(self).__name__} does not implement fit()")


def with_gaps(flux: Tensor, missing: Tensor | None) -> Tensor:
    """Flux with NaN where a pixel is missing, shape (B, T)."""
    return flux if missing is None else flux.masked_fill(missing, torch.nan)


def requested(answer: Answer, request: Tensor | None) -> Answer:
    """Select the requested labels, shape (B, R), from an answer for all labels, shape (B, L)."""
    if request is None:
        return answer
    return Answer(answer.mean[:, request], answer.log_variance[:, request], answer.feature)


def labels_of(facts: Mapping[str, Any]) -> tuple[Label, ...]:
    """Labels of a model's ``config.json``, with their units and symbols where it records them."""
    units, symbols = facts.get("units", {}), facts.get("symbols", {})
    return tuple(
        Label(name, units.get(name, "dex"), symbols.get(name, name)) for name in facts["labels"]
    )
