"""The first pixels of a window, always."""

import torch

from spectrafm.training.schemes.base import Scheme


class First(Scheme):
    """Ranks grow along the spectrum."""

    def rank(self, draw):
        order = torch.arange(draw.pixels, device=draw.generator.device)
        return order.float().expand(draw.stars, -1)
