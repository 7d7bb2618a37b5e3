"""A small multilayer perceptron: the plain network that the transformer is to be measured by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spectrafm.labels import Label
from spectrafm.networks.base import Answer, GridNetwork, requested, with_gaps

WIDTHS = (512, 512)
#: No pixel's spread counts as less than this share of the median pixel's: a pixel that never
#: varies in the first training must not magnify the noise of spectra seen later.
SMALLEST_SPREAD = 0.1


class Standardise(nn.Module):
    """``(flux - mean) / spread`` of each pixel, 0 where it is missing.

    Both are learned once, from the spectra of the first training; a fine-tuning keeps them, since
    the weights that it starts from were learned with them.

    Parameters
    ----------
    pixels : int
    """

    def __init__(self, pixels: int):
        super().__init__()
        self.register_buffer("mean", torch.ones(pixels))
        self.register_buffer("spread", torch.ones(pixels))

    def learn(self, flux: Tensor) -> None:
        """Set mean and spread from training spectra, shape (n, T), NaN = missing."""
        good = flux.isfinite()
        count = good.sum(dim=0).clamp(min=1)
        mean = flux.nan_to_num(0.0).sum(dim=0) / count
        spread = ((flux - mean).nan_to_num(0.0).square().sum(dim=0) / count).sqrt()
        least = SMALLEST_SPREAD * spread.median()
        self.mean.copy_(torch.where(good.any(dim=0), mean, 1.0))
        self.spread.copy_(spread.clamp(min=least) if least > 0 else torch.ones_like(spread))

    def forward(self, flux: Tensor) -> Tensor:
        return ((flux - self.mean) / self.spread).nan_to_num(0.0)


class MLP(GridNetwork):
    """Pixels -> 512 -> 512 -> (mean, ln variance) of each label, with GELU.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The one grid it can read, Angstrom.
    labels : sequence of Label
    """

    architecture = "mlp"

    def __init__(self, wavelength: Tensor, labels: Sequence[Label]):
        super().__init__(wavelength, labels)
        self.pixels = Standardise(len(wavelength))
        layers: list[nn.Module] = []
        for before, after in zip((len(wavelength), *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.dense = nn.Sequential(*layers)
        self.mean = nn.Linear(WIDTHS[-1], len(self.labels))
        self.log_variance = nn.Linear(WIDTHS[-1], len(self.labels))

    def standardise(self, flux: Tensor) -> None:
        self.pixels.learn(flux)

    def forward(self, flux, position, missing=None, request=None, known=None, error=None) -> Answer:
        x = self.dense(self.pixels(with_gaps(flux, missing)))
        return requested(Answer(self.mean(x), self.log_variance(x)), request)
