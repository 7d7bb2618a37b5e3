"""Making one step's batch on the device: stars, the pixels they show, what is asked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spectrafm.config import Sampling
from spectrafm.training import sampling as ranks
from spectrafm.training.stars import DeviceStars


class Batch(NamedTuple):
    """What a network is shown and asked. B stars, T pixels, R requests."""

    flux: Tensor  # (B, T)
    position: Tensor  # (B, T, D), or (T, D) where all stars show the same pixels
    missing: Tensor | None  # (B, T)
    known: Tensor | None  # (B, R), NaN = not given
    label: Tensor  # (B, R)
    label_error: Tensor  # (B, R)
    asked: Tensor  # (B, R)


def draw_batch(
    stars: DeviceStars, rows: Tensor, sampling: Sampling, seed: int, step: int, epoch: int
) -> Batch:
    """Draw one step's batch; a function of (seed, step, epoch), not of history.

    Parameters
    ----------
    stars : DeviceStars
    rows : Tensor, shape (B,), int
        Which stars.
    sampling : Sampling
    seed, step, epoch : int
    """
    generator = ranks.generator_for(stars.flux.device, seed, "pixels", step)
    window = _window(stars, sampling, seed, step)
    if sampling.scheme == "all":
        batch = _show(stars, rows, window.expand(len(rows), -1), None)
        batch = batch._replace(missing=~stars.valid[rows[:, None], window])
    else:
        rank = _rank(sampling, len(rows), len(window), generator, seed, step, epoch)
        pixel, missing = ranks.lowest_valid(
            rank, stars.valid[rows[:, None], window], sampling.tokens
        )
        # Without a missing pixel no mask is passed: a mask rules the fast attention kernels out.
        batch = _show(stars, rows, window[pixel], missing if bool(missing.any()) else None)
    if sampling.noise > 0:
        batch = batch._replace(flux=_noisy(batch.flux, sampling.noise, generator))
    if sampling.known_labels > 0:
        batch = _reveal(batch, sampling.known_labels, generator)
    return batch


def draw_fixed_batch(stars: DeviceStars, rows: Tensor, window: Tensor, tokens: int) -> Batch:
    """Evenly spread pixels of one window, the same at every call: for validation."""
    evenly = torch.linspace(0, len(window) - 1, min(tokens, len(window))).long().to(window.device)
    pixel = window[evenly]
    batch = _show(stars, rows, pixel.expand(len(rows), -1), None)
    return batch._replace(missing=~stars.valid[rows[:, None], pixel])


def _window(stars: DeviceStars, sampling: Sampling, seed: int, step: int) -> Tensor:
    """The pixels of one of the windows, each drawn as often as it has pixels; or of all."""
    if len(stars.windows) == 1:
        return stars.windows[0]
    if sampling.scheme in ("paper", "all"):
        return torch.cat(stars.windows)
    sizes = torch.tensor([len(window) for window in stars.windows], dtype=torch.float64)
    generator = ranks.generator_for(torch.device("cpu"), seed, "window", step)
    return stars.windows[int(torch.multinomial(sizes, 1, generator=generator))]


def _rank(
    sampling: Sampling,
    stars: int,
    pixels: int,
    generator: torch.Generator,
    seed: int,
    step: int,
    epoch: int,
) -> Tensor:
    if sampling.scheme == "paper":
        of_epoch = ranks.generator_for(generator.device, seed, "paper pixels", epoch)
        return ranks.paper_rank(stars, pixels, of_epoch)
    contiguous = sampling.scheme == "contiguous" or (sampling.scheme == "mixed" and step % 2)
    if contiguous:
        return ranks.contiguous_rank(stars, pixels, sampling.tokens, generator)
    return ranks.scattered_rank(stars, pixels, generator)


def _show(stars: DeviceStars, rows: Tensor, pixel: Tensor, missing: Tensor | None) -> Batch:
    label = stars.label[rows]
    return Batch(
        flux=stars.flux[rows[:, None], pixel],
        position=stars.position[pixel],
        missing=missing,
        known=None,
        label=label,
        label_error=stars.label_error[rows],
        asked=label.isfinite(),
    )


def _noisy(flux: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise whose one-sigma differs from star to star, between 0 and ``largest``."""
    device = flux.device
    sigma = largest * torch.rand(len(flux), 1, generator=generator, device=device)
    return flux + sigma * torch.randn(flux.shape, generator=generator, device=device)


def _reveal(batch: Batch, probability: float, generator: torch.Generator) -> Batch:
    """Give some labels as tokens; a label that is given is not asked."""
    drawn = torch.rand(batch.label.shape, generator=generator, device=batch.label.device)
    given = (drawn < probability) & batch.asked
    known = batch.label.masked_fill(~given, torch.nan)
    return batch._replace(known=known, asked=batch.asked & ~given)
