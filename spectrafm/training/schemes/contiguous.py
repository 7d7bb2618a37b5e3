"""Sampling scheme ``contiguous``: neighbouring pixels of one window, from a random start."""

from __future__ import annotations

import torch
from torch import Tensor

from spectrafm.training.schemes.base import Draw, Scheme


class Contiguous(Scheme):
    """Ranks grow along the spectrum from a random start of each star.

    Pixels before the start rank last, nearest first, so that a star with bad pixels still shows
    its full number.
    """

    def rank(self, draw: Draw) -> Tensor:
        device = draw.generator.device
        starts = max(draw.pixels - draw.tokens + 1, 1)
        start = torch.randint(starts, (draw.stars, 1), generator=draw.generator, device=device)
        distance = torch.arange(draw.pixels, device=device) - start
        return torch.where(distance >= 0, distance, draw.pixels - distance).float()
