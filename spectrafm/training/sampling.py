"""Random numbers that depend on the step alone, and the choice of a star's pixels by rank.

Each scheme (`spectrafm.training.schemes`) ranks every pixel of a window; a star shows its valid
pixels of lowest rank. All random numbers come from a generator that is seeded for the step
(`generator_for`), so that a step does not depend on earlier steps.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_for(seed: int, purpose: str, index: int) -> int:
    """Derive a seed from seed, purpose and index alone."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{index}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def generator_for(device: torch.device, seed: int, purpose: str, index: int) -> torch.Generator:
    """Create a random generator with the seed of `seed_for`."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, index))


def lowest_valid(rank: Tensor, valid: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Choose the ``tokens`` valid pixels of lowest rank.

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
