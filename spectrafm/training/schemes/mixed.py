"""Sampling scheme ``mixed``: scattered and neighbouring pixels in alternate steps."""

from __future__ import annotations

from torch import Tensor

from spectrafm.training.schemes.base import Draw, Scheme
from spectrafm.training.schemes.contiguous import Contiguous
from spectrafm.training.schemes.scattered import Scattered


class Mixed(Scheme):
    """Even steps show scattered pixels, odd steps neighbouring ones."""

    def rank(self, draw: Draw) -> Tensor:
        turn = Contiguous() if draw.step % 2 else Scattered()
        return turn.rank(draw)
