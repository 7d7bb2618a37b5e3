"""What every network offers to training, inference and figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from spectrafm.labels import SYMBOLS, UNITS, Label
from spectrafm.spectra import pixels_in

#: Seed of the order in which a window's pixels are dealt to contexts (the authors' code has 0 too).
CONTEXT_SEED = 0


class Network(nn.Module):
    """A network that predicts labels from spectra."""

    labels: tuple[str, ...]
    wants_errors = False

    @property
    def label_table(self) -> tuple[Label, ...]:
        """Name, unit and symbol of each label."""
        return tuple(
            Label(name, UNITS.get(name, "dex"), SYMBOLS.get(name, name)) for name in self.labels
        )

    def in_units(self, mean: Tensor, sigma: Tensor, request: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised answers to ``request`` in the labels' units."""
        scale, centre = (part[request].to(mean) for part in (self.label_scale, self.label_centre))
        return mean * scale + centre, sigma * scale

    def contexts(
        self, wavelength: np.ndarray, windows: Sequence[tuple[float, float]], tokens: int
    ) -> list[np.ndarray]:
        """Disjoint pixel sets that together cover the windows, each no larger than one context.

        A window's pixels are dealt at random, the same for every star, into sets of nearly equal
        size.
        """
        generator = np.random.default_rng(CONTEXT_SEED)
        contexts: list[np.ndarray] = []
        for pixels in pixels_in(wavelength, windows):
            if len(pixels):
                dealt = generator.permutation(pixels)
                contexts += np.array_split(dealt, -(-len(pixels) // tokens))
        return [np.sort(context) for context in contexts]


class GridNetwork(Network):
    """A network that reads the pixels of one grid, all at once."""

    def contexts(
        self, wavelength: np.ndarray, windows: Sequence[tuple[float, float]], tokens: int
    ) -> list[np.ndarray]:
        return [np.concatenate(pixels_in(wavelength, windows))]
