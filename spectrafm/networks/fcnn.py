"""The paper's baseline: a fully connected network (paper section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spectrafm.labels import Label
from spectrafm.networks.base import Answer, requested
from spectrafm.networks.grid import GridNetwork
from spectrafm.networks.options import PLAIN, Reads

WIDTHS = (2048, 1280, 1024)
DROPOUT = 0.1


class FCNN(GridNetwork):
    """512 -> 2048 -> 1280 -> 1024 -> (mean, ln variance): 4,987,138 parameters with one label.

    ReLU; dropout 10 % after the first two hidden layers, as in the authors' code (in the paper's
    text after all). A missing pixel reads 1.0, and each pixel's mean over the training stars is
    subtracted.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The only grid that the network can read, Angstrom.
    labels : sequence of Label
    reads : Reads
    """

    reads_more = True
    architecture = "fcnn"

    def __init__(self, wavelength: Tensor, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(wavelength, labels, reads)
        self.register_buffer("flux_mean", torch.ones(self.width))
        first, second, third = WIDTHS
        self.dense = nn.Sequential(
            nn.Linear(self.width, first),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(second, third),
            nn.ReLU(),
        )
        self.mean = nn.Linear(third, len(self.labels))
        self.log_variance = nn.Linear(third, len(self.labels))

    def standardise(self, flux: Tensor) -> None:
        self.flux_mean.copy_(flux.nan_to_num(1.0).mean(dim=0))

    def forward(
        self, flux, position, missing=None, request=None, known=None, error=None, inputs=None
    ) -> Answer:
        numbers = self.numbers(flux, position, missing, error, inputs)
        x = self.dense(numbers.masked_fill(numbers.isnan(), 1.0) - self.flux_mean)
        return requested(Answer(self.mean(x), self.log_variance(x)), request)
