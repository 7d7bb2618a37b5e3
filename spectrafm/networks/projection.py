"""A plain network on any pixels: a multilayer perceptron whose first layer is made by wavelength.

A layer of a network that is bound to a grid has a weight for each pixel. Here the weight is a
function of the pixel's wavelength: within a cell of the spectrum a sum of cosines, and from cell to
cell a sum of functions that a small network makes of the encoding of the cell's wavelength. A
spectrum on any grid thus gives the same numbers, which two layers and one linear output of each
label follow. All labels share these layers.

Shapes: B stars, T pixels, C cells, N numbers of each cell, K functions of wavelength, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from spectrafm.labels import Label
from spectrafm.networks.base import Answer, TrainingStars, requested
from spectrafm.networks.binding import Cells, Contents
from spectrafm.networks.options import PLAIN, Model, Reads, Token
from spectrafm.networks.tokens import TokenNetwork

#: Widths of the two layers, those of the plain `spectrafm.networks.mlp.MLP`.
WIDTHS = (512, 512)

#: Number of functions of wavelength, K, and width of the layer that makes them.
FUNCTIONS, HIDDEN = 32, 128

#: Cells where the model's tokens hold one pixel: of 16 pixels of APOGEE.
CELL = Token(width=2.2e-4)

#: Number of training stars by which the functions are scaled.
SCALED_BY = 1000


class Projection(TokenNetwork):
    """Pixels, by wavelength -> 512 -> 512 -> (mean, ln variance) of each label, with GELU.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
        Of which ``dimension``, ``encoding``, ``token`` and ``flux_scale`` count. The cells are the
        tokens, where these hold several pixels.
    labels : sequence of Label
    reads : Reads
    """

    architecture = "projection"
    reads_whole = True

    def __init__(self, options: Model, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(options, labels, reads)
        self.token = options.token if options.token.width else CELL
        self.contents = Contents(self.token, self.channels.count)
        self.functions = nn.Sequential(
            nn.Linear(options.dimension, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, FUNCTIONS)
        )
        numbers = FUNCTIONS * self.contents.count + 2 * len(reads.inputs)
        self.dense = nn.Sequential(
            nn.Linear(numbers, WIDTHS[0]), nn.GELU(), nn.Linear(*WIDTHS), nn.GELU()
        )
        self.mean = nn.Linear(WIDTHS[-1], len(self.labels))
        self.log_variance = nn.Linear(WIDTHS[-1], len(self.labels))

    @classmethod
    def start(
        cls, model: Model, stars: TrainingStars, labels: Sequence[str], reads: Reads = PLAIN
    ) -> Self:
        network = super().start(model, stars, labels, reads)
        network.scale_functions(stars)
        return network

    @torch.no_grad()
    def scale_functions(self, stars: TrainingStars) -> None:
        """Scale the functions of wavelength so that their sums vary by one from star to star."""
        flux = torch.from_numpy(stars.flux[:SCALED_BY])
        cells = self.encoding(torch.from_numpy(stars.wavelength.copy()))
        spread = self.eval().sums(flux, cells, ~flux.isfinite(), None).std(dim=0)
        spread = spread.square().mean().sqrt()
        if spread > 0:
            self.functions[-1].weight.div_(spread)
            self.functions[-1].bias.div_(spread)

    def join(self, new: Self) -> None:
        for name in ("mean", "log_variance"):
            own, added = getattr(self, name), getattr(new, name)
            both = nn.Linear(own.in_features, own.out_features + added.out_features)
            for kind in ("weight", "bias"):
                parts = [getattr(part, kind).detach() for part in (own, added)]
                setattr(both, kind, nn.Parameter(torch.cat(parts)))
            setattr(self, name, both)

    @classmethod
    def reads_errors(cls, model: Model, reads: Reads) -> bool:
        return not reads.ignore_errors

    def encoding(self, wavelength: Tensor) -> Cells:
        """Divide the pixels into cells, with the encoding of each."""
        return self.cells(wavelength, self.token)

    def sums(
        self, flux: Tensor, cells: Cells, missing: Tensor | None, error: Tensor | None
    ) -> Tensor:
        """Sums of the cells' contents, weighted with each function of wavelength: (B, K N)."""
        channels, error = self.channels(flux, cells.smoothing, missing, error)
        content, empty = self.contents(channels, cells, missing, error)
        # An empty cell adds nothing. The root keeps the variance of white noise for any grid.
        content = content.masked_fill(empty[..., None], 0.0) / math.sqrt(content.shape[1])
        weight = self.functions(cells.encoding)
        return torch.einsum("bcn,ck->bkn", content, weight).flatten(1)

    def forward(
        self, flux, position, missing=None, request=None, known=None, error=None, inputs=None
    ) -> Answer:
        numbers = [self.sums(flux, position, missing, error)]
        if self.reads.inputs:
            if inputs is None:
                inputs = flux.new_full((len(flux), len(self.reads.inputs)), torch.nan)
            numbers += [inputs.nan_to_num(), inputs.isfinite().to(flux.dtype)]
        x = self.dense(torch.cat(numbers, dim=-1))
        feature = None if self.training else x
        return requested(Answer(self.mean(x), self.log_variance(x), feature), request)
