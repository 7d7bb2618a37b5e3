"""Making one step's batch on the device: stars, the pixels they show, what is asked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spectrafm.training import sampling as ranks
from spectrafm.training.options import Sampling
from spectrafm.training.processes import ALONE, Processes
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
    count: Tensor  # labels asked of all stars of the step, also of those in other processes


def draw_batch(
    stars: DeviceStars,
    rows: Tensor,
    sampling: Sampling,
    seed: int,
    step: int,
    epoch: int,
    processes: Processes = ALONE,
) -> Batch:
    """Draw one step's batch; a function of (seed, step, epoch), not of history.

    Everything random is drawn for the whole step in every process, which then keeps its share: so
    the step is the same however many processes share it. Nothing here waits for the device.

    Parameters
    ----------
    stars : DeviceStars
    rows : Tensor, shape (B,), int
        Which stars, of all processes together.
    sampling : Sampling
    seed, step, epoch : int
    processes : Processes
        Those that share the step.

    Returns
    -------
    Batch
        Of this process's share of the stars.
    """
    generator = ranks.generator_for(stars.flux.device, seed, "pixels", step)
    number, window = _window(stars, sampling, seed, step)
    fewest = stars.fewest_valid[number]
    asked = stars.askable[rows]
    if fewest == 0:
        asked = asked & stars.valid[rows[:, None], window].any(dim=1, keepdim=True)
    share, own = _share(len(rows), processes, rows.device)
    if sampling.scheme == "all":
        pixel = window.expand(len(share), -1)
        missing = ~stars.valid[rows[share][:, None], window]
    else:
        rank = _rank(sampling, len(rows), len(window), generator, seed, step, epoch)[share]
        valid = stars.valid[rows[share][:, None], window]
        pixel, missing = ranks.lowest_valid(rank, valid, sampling.tokens)
        pixel = window[pixel]
        # Without a missing pixel no mask is passed: it rules the fastest attention kernels out.
        # Whether there is one is known beforehand, since asking the device would stop it.
        missing = None if fewest >= pixel.shape[1] else missing
    batch = _show(stars, rows[share], pixel, missing, asked[share] & own)
    if sampling.noise > 0:
        noise = _noise(len(rows), pixel.shape[1], sampling.noise, generator)
        batch = batch._replace(flux=batch.flux + noise[share])
    if sampling.known_labels > 0:
        drawn = torch.rand(asked.shape, generator=generator, device=generator.device)
        given = (drawn < sampling.known_labels) & asked
        asked = asked & ~given
        known = batch.label.masked_fill(~given[share], torch.nan)
        batch = batch._replace(known=known, asked=batch.asked & ~given[share])
    return batch._replace(count=asked.sum())


def draw_fixed_batch(stars: DeviceStars, rows: Tensor, window: Tensor, tokens: int) -> Batch:
    """Evenly spread pixels of one window, the same at every call: for validation."""
    evenly = torch.linspace(0, len(window) - 1, min(tokens, len(window))).long().to(window.device)
    pixel = window[evenly].expand(len(rows), -1)
    valid = stars.valid[rows[:, None], pixel]
    asked = stars.askable[rows] & valid.any(dim=1, keepdim=True)
    return _show(stars, rows, pixel, ~valid, asked)


def _share(stars: int, processes: Processes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which of a step's stars this process shows, and which of those count, shape (B, 1).

    The shares are equally large: where the stars do not go round, the last processes show a star
    again, and ask nothing about it.
    """
    size = -(-stars // processes.count)
    share = torch.arange(size, device=device) + size * processes.rank
    return share.clamp(max=stars - 1), (share < stars)[:, None]


def _window(stars: DeviceStars, sampling: Sampling, seed: int, step: int) -> tuple[int, Tensor]:
    """Number and pixels of one of the windows, each drawn as often as it has pixels; or of all."""
    if sampling.scheme in ("paper", "all"):
        return len(stars.windows), stars.every_window
    if len(stars.windows) == 1:
        return 0, stars.windows[0]
    sizes = torch.tensor([len(window) for window in stars.windows], dtype=torch.float64)
    generator = ranks.generator_for(torch.device("cpu"), seed, "window", step)
    # All on the host, which needs the answer.
    number = torch.multinomial(sizes, 1, generator=generator).numpy().item()
    return number, stars.windows[number]


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


def _show(
    stars: DeviceStars, rows: Tensor, pixel: Tensor, missing: Tensor | None, asked: Tensor
) -> Batch:
    return Batch(
        flux=stars.flux[rows[:, None], pixel],
        position=stars.position[pixel],
        missing=missing,
        known=None,
        label=stars.label[rows],
        label_error=stars.label_error[rows],
        asked=asked,
        count=asked.sum(),
    )


def _noise(stars: int, pixels: int, largest: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise whose one-sigma differs from star to star, between 0 and ``largest``."""
    device = generator.device
    sigma = largest * torch.rand(stars, 1, generator=generator, device=device)
    return sigma * torch.randn(stars, pixels, generator=generator, device=device)
