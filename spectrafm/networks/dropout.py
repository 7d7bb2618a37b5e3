"""Dropout whose random numbers cost little on a CPU.

torch's own dropout draws a random number for each element, which there takes longer than the layer
that it follows, and attention with it writes all its weights to memory. Here one row of random
numbers serves all stars of a batch, each of which reads it from another place; within a star all
elements are independent. In self-attention a dropped weight is a score that is as good as minus
infinity, as a mask of the fast kernel: the other weights of the query then sum to 1, where torch's
dropout multiplies them by 1 / (1 - p).

The numbers come from torch's global generator, so that a training that seeds it for each step
resumes bit for bit. A GPU draws within its fused kernels: there torch's dropout is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Places between the numbers of one star, or one head of it, and those of the next: a prime, so
#: that they do not fall on the same columns.
SHIFT = 4099

#: Score of a dropped weight: no weight beside the others. Not infinite, so that a query all of
#: whose weights are dropped keeps them.
DROPPED = -1e4


class Dropout(nn.Module):
    """Set a share ``p`` of the elements to zero in training, and divide the others by 1 - p."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p):
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        factor = torch.full((), 1 / (1 - self.p), dtype=x.dtype)
        return x * _spread(x.shape, 1, self.p, torch.zeros((), dtype=x.dtype), factor)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropped_scores(shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """What to add to attention scores on a CPU: 0, or `DROPPED` for a share ``p``.

    Parameters
    ----------
    shape : sequence of int
        (B, H, T, T'): stars, heads, queries, keys.
    p : float
    dtype : torch.dtype

    Returns
    -------
    Tensor, shape (B, H, T, T')
        A view of fewer numbers: not to be written to.
    """
    none, whole = torch.zeros((), dtype=dtype), torch.full((), DROPPED, dtype=dtype)
    return _spread(shape, 2, p, whole, none)


@torch.compiler.disable
def _spread(shape: Sequence[int], shared: int, p: float, dropped: Tensor, kept: Tensor) -> Tensor:
    """A view of the given shape, whose first ``shared`` dimensions read the same row of numbers."""
    outer, inner = shape[:shared], shape[shared:]
    length = math.prod(inner) + (math.prod(outer) - 1) * SHIFT
    # Four 16-bit numbers of each draw.
    drawn = torch.empty(length // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
    drop = drawn.view(torch.int16)[:length] < round(p * 2**16) - 2**15
    strides = [math.prod(inner[place + 1 :]) for place in range(len(inner))]
    starts = [SHIFT * math.prod(outer[place + 1 :]) for place in range(shared)]
    return torch.where(drop, dropped, kept).as_strided(tuple(shape), (*starts, *strides))
