"""Which pixels a star shows at one step.

Each scheme gives every pixel of a window a rank; a star shows its valid pixels of lowest rank.
All randomness comes from a generator made for the step, so that a run does not depend on what
happened before (see `generator_for`).
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


def scattered_rank(stars: int, pixels: int, generator: torch.Generator) -> Tensor:
    """Random ranks of its own for each star, shape (B, W)."""
    return torch.rand(stars, pixels, generator=generator, device=generator.device)


def contiguous_rank(stars: int, pixels: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Ranks that grow along the spectrum from a random start of each star, shape (B, W).

    Pixels before the start rank last, nearest first, so that a star with bad pixels still shows
    its full number.
    """
    starts = max(pixels - tokens + 1, 1)
    start = torch.randint(starts, (stars, 1), generator=generator, device=generator.device)
    distance = torch.arange(pixels, device=generator.device) - start
    return torch.where(distance >= 0, distance, pixels - distance).float()


def paper_rank(stars: int, pixels: int, generator: torch.Generator) -> Tensor:
    """One random order of all pixels for every star, as in the authors' code, shape (B, W)."""
    order = torch.randperm(pixels, generator=generator, device=generator.device)
    return order.float().expand(stars, -1)


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
