"""Sampling scheme ``scattered``: random pixels of one window, drawn for each star."""

from __future__ import annotations

import torch
from torch import Tensor

from spectrafm.training.schemes.base import Draw, Scheme


class Scattered(Scheme):
    """Ranks are random, and each star has its own."""

    def rank(self, draw: Draw) -> Tensor:
        device = draw.generator.device
        return torch.rand(draw.stars, draw.pixels, generator=draw.generator, device=device)
