"""Sampling scheme ``paper``: one random set of pixels an epoch, the same for every star."""

from __future__ import annotations

import torch
from torch import Tensor

from spectrafm.training.sampling import generator_for
from spectrafm.training.schemes.base import Draw, Scheme


class Paper(Scheme):
    """One random order of all windows' pixels for all stars of an epoch, as the authors did."""

    every_window = True

    def rank(self, draw: Draw) -> Tensor:
        device = draw.generator.device
        of_epoch = generator_for(device, draw.seed, "paper pixels", draw.epoch)
        order = torch.randperm(draw.pixels, generator=of_epoch, device=device)
        return order.float().expand(draw.stars, -1)
