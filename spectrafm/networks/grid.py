"""Networks bound to a wavelength grid, all of whose pixels they read at once.

Shapes: B stars, T pixels, I numbers read of each star, L labels known to the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label
from spectrafm.networks.base import Network, TrainingStars, with_gaps
from spectrafm.networks.channels import ERROR_SCALE, Channels
from spectrafm.networks.options import PLAIN, Reads
from spectrafm.options import Section
from spectrafm.spectra import pixels_in


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
        super().__init__(labels, reads)
        self.register_buffer("wavelength", wavelength.double())
        self.channels = Channels(reads)
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
            network.scale_inputs(stars.columns)
            error = None if error is None else torch.from_numpy(error)
            position = network.encoding(network.wavelength)
            inputs = network.inputs_of(stars.columns, len(flux))
            flux = network.numbers(flux, position, ~flux.isfinite(), error, inputs)
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
        pixels = len(self.wavelength) * (self.channels.count + self.reads.errors)
        return pixels + 2 * len(self.reads.inputs)

    def numbers(
        self,
        flux: Tensor,
        position: Any,
        missing: Tensor | None,
        error: Tensor | None,
        inputs: Tensor | None = None,
    ) -> Tensor:
        """What the network reads of each star: channels of all pixels, ln errors, inputs.

        Behind each input comes a number that says whether the star has it.

        A network that reads normalised flux alone has the flux itself.

        Parameters
        ----------
        flux, position, missing, error, inputs
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
        if self.reads.inputs:
            if inputs is None:
                inputs = flux.new_full((len(flux), len(self.reads.inputs)), torch.nan)
            parts += [inputs, inputs.isfinite().to(flux.dtype)]
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
