"""A small multilayer perceptron: the plain baseline of the Transformer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spectrafm.labels import Label
from spectrafm.networks.base import Answer, requested
from spectrafm.networks.grid import GridNetwork, Standardise
from spectrafm.networks.options import PLAIN, Reads

WIDTHS = (512, 512)


class MLP(GridNetwork):
    """Pixels -> 512 -> 512 -> (mean, ln variance) of each label, with GELU.

    Flux minus each pixel's mean is divided by one spread of all pixels, both learned from the
    spectra of the first training; a missing pixel then reads 0.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The only grid that the network can read, Angstrom.
    labels : sequence of Label
    reads : Reads
    """

    reads_more = True
    architecture = "mlp"

    def __init__(self, wavelength: Tensor, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(wavelength, labels, reads)
        self.pixels = Standardise(self.width)
        layers: list[nn.Module] = []
        for before, after in zip((self.width, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.dense = nn.Sequential(*layers)
        self.mean = nn.Linear(WIDTHS[-1], len(self.labels))
        self.log_variance = nn.Linear(WIDTHS[-1], len(self.labels))

    def standardise(self, flux: Tensor) -> None:
        self.pixels.learn(flux)

    def forward(
        self, flux, position, missing=None, request=None, known=None, error=None, inputs=None
    ) -> Answer:
        x = self.dense(self.pixels(self.numbers(flux, position, missing, error, inputs)))
        return requested(Answer(self.mean(x), self.log_variance(x)), request)
