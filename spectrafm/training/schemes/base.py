"""Base class of the sampling schemes: a star shows its valid pixels of lowest rank."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor


class Draw(NamedTuple):
    """One step's draw of pixels: everything that the ranks of a scheme may depend on."""

    stars: int
    pixels: int  # of the window that is shown
    tokens: int
    generator: torch.Generator  # of the step
    seed: int
    step: int
    epoch: int


class Scheme:
    """A sampling scheme; all its randomness comes from the draw's generator or its seed."""

    #: Whether a step shows all windows together, or one of them, drawn as often as it has pixels.
    every_window: ClassVar[bool] = False
    #: Whether a star shows every pixel in order, missing ones included.
    whole: ClassVar[bool] = False
    #: Number of steps of which one shows all windows together; 0: none does.
    all_every: ClassVar[int] = 0

    def rank(self, draw: Draw) -> Tensor:
        """Rank of each pixel for each star, shape (stars, pixels); the lowest are shown."""
        raise TypeError(f"{type(self).__name__} does not implement rank()")
