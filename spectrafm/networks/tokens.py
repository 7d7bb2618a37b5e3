"""Networks that read any pixels by their wavelength: what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from spectrafm.labels import Label
from spectrafm.networks.base import Network, TrainingStars
from spectrafm.networks.binding import Cells, cells_of
from spectrafm.networks.channels import Channels
from spectrafm.networks.encoding import ENCODINGS
from spectrafm.networks.options import PLAIN, Model, Reads, Token
from spectrafm.options import Section
from spectrafm.spectra import pixels_in


class TokenSizes(Section):
    """Sizes of a network that reads pixels by their wavelength, in ``config.json``."""

    model: Model = Field(description="sizes of the network")
    reads: Reads = Field(PLAIN, description="what the network reads")


class TokenNetwork(Network):
    """A network that no pixel grid is part of, and that knows every label of its first store.

    Parameters
    ----------
    options : spectrafm.networks.options.Model
        Sizes.
    labels : sequence of Label
        Labels that the network knows, in the order of its outputs.
    reads : Reads
        What the network reads.
    """

    Sizes = TokenSizes

    def __init__(self, options: Model, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(labels, reads)
        self.options = options
        self.wavelength_encoding = ENCODINGS[options.encoding](options.dimension)
        self.channels = Channels(reads, options.flux_scale)

    @classmethod
    def start(
        cls, model: Model, stars: TrainingStars, labels: Sequence[str], reads: Reads = PLAIN
    ) -> Self:
        # The network knows every label of the store, so that a later stage can train labels that
        # this stage does not.
        network = cls(model, stars.labels, reads)
        network.scale_labels(stars.label)
        network.scale_inputs(stars.columns)
        return network

    @classmethod
    def build(cls, sizes: TokenSizes, labels: Sequence[Label]) -> Self:
        return cls(sizes.model, labels, sizes.reads)

    def sizes(self) -> dict[str, Any]:
        return {
            "model": self.options.model_dump(mode="json"),
            "reads": self.reads.model_dump(mode="json"),
        }

    def add_labels(self, labels: Sequence[Label], label: np.ndarray) -> None:
        new = type(self)(self.options, labels, self.reads)
        new.scale_labels(label)
        self.join(new)
        self.label_table += new.label_table
        self.label_centre = torch.cat([self.label_centre, new.label_centre])
        self.label_scale = torch.cat([self.label_scale, new.label_scale])

    def join(self, new: Self) -> None:
        """Append the weights of the labels of a new network to those of the own labels."""
        raise TypeError(f"{type(self).__name__} does not implement join()")

    @property
    def wants_errors(self) -> bool:
        return self.reads_errors(self.options, self.reads)

    def cells(self, wavelength: Tensor, token: Token) -> Cells:
        """Divide pixels into cells, with the encoding of each and the normaliser's weights."""
        cells = cells_of(wavelength, token, self.wavelength_encoding)
        return cells._replace(smoothing=self.channels.smoothing(wavelength))

    def contexts(
        self, wavelength: np.ndarray, windows: Sequence[tuple[float, float]], tokens: int
    ) -> list[np.ndarray]:
        return [np.unique(np.concatenate(pixels_in(wavelength, windows)))]
