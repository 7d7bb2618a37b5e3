"""Random numbers that depend on the step alone, and the choice of a star's pixels by rank.

Each scheme (`spectrafm.training.schemes`) ranks every pixel of a window; a star shows its valid
pixels of lowest rank. All randomness comes from a generator made for the step, so that a training
does not depend on what happened before (see `generator_for`).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_for(seed: int, purpose: str, index: int) -> int:
    """A seed that depends on seed, purpose and index alone, not on history."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{index}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator_for(device: torch.device, seed: int, purpose: str, index: int) -> torch.Generator:
    """A generator started with `seed_for`."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, index))


def lowest_valid(rank: Tensor, valid: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """The ``tokens`` valid pixels of lowest rank.

    Parameters
    ----------
    rank : Tensor, shape (B, W)
    valid : Tensor, shape (B, W), bool
    tokens : int

    Returns
    -------
    pixel : Tensor, shape (B, T), int
        T = min(tokens, W).
    missing : Tensor, shape (B, T), bool
        True where a star has fewer valid pixels than T.
    """
    rank = rank.masked_fill(~valid, torch.inf)
    lowest, pixel = rank.topk(min(tokens, rank.shape[1]), dim=1, largest=False, sorted=False)
    return pixel, lowest.isinf()
