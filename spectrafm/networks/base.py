"""Base classes of the networks: the interface that training, prediction and saving use.

Shapes: B stars, T pixels, P pixels of a grid, L labels known to the network, R requested labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label
from spectrafm.networks.channels import ERROR_SCALE, Channels
from spectrafm.networks.options import PLAIN, Reads
from spectrafm.options import Section
from spectrafm.spectra import pixels_in


class Answer(NamedTuple):
    """A network's answer in standardised label units: two tensors of shape (B, R)."""

    mean: Tensor
    log_variance: Tensor


class TrainingStars(Protocol):
    """What a network reads of the stars of its first training: a part of a ``StarSet``."""

    wavelength: np.ndarray  # (P,), Angstrom
    flux: np.ndarray  # (n, P), NaN = missing
    flux_error: np.ndarray | None  # (n, P)
    label: np.ndarray  # (n, L), NaN = missing
    labels: tuple[Label, ...]


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
    """

    #: Its key in `spectrafm.networks.NETWORKS`.
    architecture: ClassVar[str]
    #: Sizes that ``config.json`` holds, typed and bounded, since the file is untrusted.
    Sizes: ClassVar[type[Section]]
    #: Whether `forward` reads the errors of the flux.
    wants_errors: bool = False
    #: Whether `forward` reads all pixels of a window at once, in the order of the grid.
    reads_whole: bool = False

    def __init__(self, labels: Sequence[Label]):
        super().__init__()
        self.label_table = tuple(labels)
        self.register_buffer("label_centre", torch.zeros(len(self.label_table)))
        self.register_buffer("label_scale", torch.ones(len(self.label_table)))

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

    # Pixels.

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


class GridSizes(Section):
    """Sizes of a network that is bound to a wavelength grid."""

    pixels: int = Field(ge=1, le=1_000_000, description="pixels that the network reads")
    reads: Reads = Field(PLAIN, description="what the network reads of them")


class GridNetwork(Network):
    """A network bound to the pixels of its first training, all of which it reads at once.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The only grid that the network can read, Angstrom.
    labels : sequence of Label
    reads : Reads
        What a network with `reads_more` reads of the pixels.
    """

    Sizes = GridSizes
    reads_whole = True
    #: Whether the constructor takes ``reads``: then `forward` reads `numbers` of the pixels.
    reads_more: ClassVar[bool] = False

    def __init__(self, wavelength: Tensor, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(labels)
        self.register_buffer("wavelength", wavelength.double())
        self.reads, self.channels = reads, Channels(reads)
        if reads.errors:
            self.wants_errors = True

    @classmethod
    def start(
        cls, model: Section, stars: TrainingStars, labels: Sequence[str], reads: Reads = PLAIN
    ) -> Self:
        column = [[label.name for label in stars.labels].index(name) for name in labels]
        network = cls._of(
            torch.from_numpy(stars.wavelength.copy()), [stars.labels[i] for i in column], reads
        )
        network.scale_labels(stars.label[:, column])
        flux, error = torch.from_numpy(stars.flux), stars.flux_error
        if reads != PLAIN:
            error = None if error is None else torch.from_numpy(error)
            position = network.encoding(network.wavelength)
            flux = network.numbers(flux, position, ~flux.isfinite(), error)
        network.standardise(flux)
        return network

    @classmethod
    def build(cls, sizes: GridSizes, labels: Sequence[Label]) -> Self:
        return cls._of(torch.zeros(sizes.pixels), labels, sizes.reads)

    @classmethod
    def _of(cls, wavelength: Tensor, labels: Sequence[Label], reads: Reads) -> Self:
        if reads == PLAIN:
            return cls(wavelength, labels)
        if not cls.reads_more:
            raise SpectraFMError(f"{cls.architecture} reads normalised flux alone: no normaliser")
        return cls(wavelength, labels, reads)

    def sizes(self) -> dict[str, Any]:
        return {"pixels": len(self.wavelength), "reads": self.reads.model_dump(mode="json")}

    @classmethod
    def reads_errors(cls, model: Section, reads: Reads) -> bool:
        return cls.wants_errors or reads.errors

    @property
    def width(self) -> int:
        """How many `numbers` of a star there are, I."""
        return len(self.wavelength) * (self.channels.count + self.reads.errors)

    def numbers(
        self, flux: Tensor, position: Any, missing: Tensor | None, error: Tensor | None
    ) -> Tensor:
        """What the network reads of each star: the channels of all pixels, then ln errors.

        A network that reads normalised flux alone has the flux itself.

        Parameters
        ----------
        flux, position, missing, error
            As in `Network.forward`.

        Returns
        -------
        Tensor, shape (B, I)
            NaN where missing or unknown.
        """
        if self.reads == PLAIN:
            return with_gaps(flux, missing)
        channels, error = self.channels(flux, position, missing, error)
        parts = [with_gaps(part, missing) for part in channels.unbind(-1)]
        if self.reads.errors:
            error = torch.full_like(flux, torch.nan) if error is None else error
            parts.append(with_gaps((error / ERROR_SCALE).clamp(0.05, 1e3).log(), missing))
        return torch.cat(parts, dim=-1)

    def standardise(self, flux: Tensor) -> None:
        """Compute the standardisation of the flux from the spectra of the first training.

        A fine-tune keeps this standardisation, since its starting weights were learned with it.

        Parameters
        ----------
        flux : Tensor, shape (n, T)
            NaN = missing.
        """

    def contexts(self, wavelength, windows, tokens) -> list[np.ndarray]:
        return [np.unique(np.concatenate(pixels_in(wavelength, windows)))]

    def encoding(self, wavelength: Tensor) -> Any:
        """Check that the wavelengths are those of the training.

        Returns
        -------
        Tensor, shape (T, 0), or Smoothing
            The weights of the normaliser, for a network that has one.

        Raises
        ------
        SpectraFMError
            When the wavelengths are not the network's own.
        """
        if wavelength.shape != self.wavelength.shape or not torch.allclose(
            wavelength.double(), self.wavelength, rtol=0, atol=1e-3
        ):
            raise SpectraFMError(
                f"{self.architecture} reads only its own {len(self.wavelength)} pixels, "
                f"{self.wavelength[0]:.1f}-{self.wavelength[-1]:.1f} Angstrom"
            )
        empty = self.label_scale.new_zeros(len(wavelength), 0)
        return self.channels.smoothing(wavelength) or empty


class Standardise(nn.Module):
    """``(flux - mean of the pixel) / spread of all pixels``, 0 where a pixel is missing.

    All pixels share one spread, so that neighbouring pixels stay comparable and a pixel that hardly
    varies among the training stars does not magnify the noise of other spectra.

    Parameters
    ----------
    pixels : int
    """

    def __init__(self, pixels: int):
        super().__init__()
        self.register_buffer("mean", torch.ones(pixels))
        self.register_buffer("spread", torch.ones(()))

    def learn(self, flux: Tensor) -> None:
        """Compute mean and spread from training spectra, shape (n, T), NaN = missing."""
        self.mean.copy_(flux.nanmean(dim=0).nan_to_num(1.0))
        spread = (flux - self.mean).square().nanmean().sqrt()
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, flux: Tensor) -> Tensor:
        return ((flux - self.mean) / self.spread).nan_to_num(0.0)


def with_gaps(flux: Tensor, missing: Tensor | None) -> Tensor:
    """Flux with NaN where a pixel is missing, shape (B, T)."""
    return flux if missing is None else flux.masked_fill(missing, torch.nan)


def requested(answer: Answer, request: Tensor | None) -> Answer:
    """Select the requested labels, shape (B, R), from an answer for all labels, shape (B, L)."""
    return answer if request is None else Answer(*(part[:, request] for part in answer))


def labels_of(facts: Mapping[str, Any]) -> tuple[Label, ...]:
    """Labels of a model's ``config.json``, with their units and symbols where it records them."""
    units, symbols = facts.get("units", {}), facts.get("symbols", {})
    return tuple(
        Label(name, units.get(name, "dex"), symbols.get(name, name)) for name in facts["labels"]
    )
