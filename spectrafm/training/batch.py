"""Drawing one step's batch on the device: stars, the pixels shown, the labels requested."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectrafm.plugs import load
from spectrafm.training.noise import CONTINUUM_PIXELS, LINE_PIXELS, drawn_noise
from spectrafm.training.options import Sampling
from spectrafm.training.processes import ALONE, Processes
from spectrafm.training.sampling import generator_for, lowest_valid
from spectrafm.training.schemes import SCHEMES
from spectrafm.training.schemes.base import Draw, Scheme
from spectrafm.training.stars import DeviceStars


class Batch(NamedTuple):
    """One step's input to the network and its target labels. B stars, T pixels, R requests."""

    flux: Tensor  # (B, T), any value where missing
    error: Tensor | None  # (B, T), one sigma of the flux; None where the network does not read it
    position: Any  # (B, T, D), or what the network makes of a window that all stars show whole
    missing: Tensor | None  # (B, T)
    inputs: Tensor | None  # (B, I), standardised; NaN = not given; None for networks without
    known: Tensor | None  # (B, R), labels given as input; NaN = not given
    label: Tensor  # (B, R)
    label_error: Tensor  # (B, R)
    requested: Tensor  # (B, R), bool: whether the label counts in the loss
    count: Tensor  # requested labels of all stars of the step, also of those in other processes


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

    Every process draws the random numbers of the whole step and then keeps its share, so that the
    step is the same however many processes share it. No operation waits for the device.

    Parameters
    ----------
    stars : DeviceStars
    rows : Tensor, shape (B,), int
        Stars of the step, of all processes together.
    sampling : Sampling
    seed, step, epoch : int
    processes : Processes
        The processes that share the step.

    Returns
    -------
    Batch
        This process's share of the stars.
    """
    scheme = scheme_of(sampling)
    generator = generator_for(stars.flux.device, seed, "pixels", step)
    number, window = _window(stars, scheme, seed, step)
    fewest = stars.fewest_valid[number]
    requested = stars.teaches[rows]
    if fewest == 0:
        requested = requested & stars.valid[rows[:, None], window].any(dim=1, keepdim=True)
    share, own = _share(len(rows), processes, rows.device)
    if scheme.whole:
        pixel = window.expand(len(share), -1)
        missing = ~stars.valid[rows[share][:, None], window]
        position = stars.position_of(number)
    else:
        draw = Draw(len(rows), len(window), sampling.tokens, generator, seed, step, epoch)
        valid = stars.valid[rows[share][:, None], window]
        pixel, missing = lowest_valid(scheme.rank(draw)[share], valid, sampling.tokens)
        pixel = window[pixel]
        # Where no pixel is missing no mask is passed, since a mask rules out the fastest attention
        # kernels. `fewest_valid` was counted beforehand: counting here would stop the device.
        missing = None if fewest >= pixel.shape[1] else missing
        position = stars.position[pixel]
    batch = _show(stars, rows[share], pixel, position, missing, requested[share] & own)
    shape = (len(rows), pixel.shape[1])
    if sampling.noise > 0:
        sigma, noise = drawn_noise(shape, sampling.noise, generator)
        batch = batch._replace(flux=batch.flux + noise[share])
        if batch.error is not None:
            batch = batch._replace(error=torch.hypot(batch.error, sigma[share]))
    if sampling.error_noise > 0 and batch.error is not None:
        factor, noise = drawn_noise(shape, sampling.error_noise, generator, sampling.noise_pixels)
        flux = batch.flux + noise[share] * batch.error.nan_to_num(0.0)
        error = batch.error * torch.hypot(factor[share], torch.ones_like(factor[share]))
        batch = batch._replace(flux=flux, error=error)
    if sampling.line_noise > 0:
        change = drawn_noise(shape, sampling.line_noise, generator, LINE_PIXELS)[1]
        depth = (1.0 - batch.flux).nan_to_num(0.0)
        batch = batch._replace(flux=batch.flux - change[share] * depth)
    if sampling.continuum_noise > 0:
        change = drawn_noise(shape, sampling.continuum_noise, generator, CONTINUUM_PIXELS)[1]
        batch = batch._replace(flux=batch.flux * (1.0 + change[share]))
    if batch.inputs is not None:
        hidden = _hidden(len(rows), batch.inputs.shape[1], generator)
        batch = batch._replace(inputs=batch.inputs.masked_fill(hidden[share], torch.nan))
    if sampling.known_labels > 0:
        drawn = torch.rand(requested.shape, generator=generator, device=generator.device)
        given = (drawn < sampling.known_labels) & requested
        requested = requested & ~given
        known = batch.label.masked_fill(~given[share], torch.nan)
        batch = batch._replace(known=known, requested=batch.requested & ~given[share])
    return batch._replace(count=requested.sum())


def draw_fixed_batch(stars: DeviceStars, rows: Tensor, window: Tensor, tokens: int) -> Batch:
    """Make a batch of evenly spread pixels of one window, the same at every call: for validation.

    Parameters
    ----------
    stars : DeviceStars
    rows : Tensor, shape (B,), int
    window : Tensor, shape (W,), int
        Pixel indices of the window.
    tokens : int
        Largest number of pixels shown per star.
    """
    evenly = torch.linspace(0, len(window) - 1, min(tokens, len(window))).long().to(window.device)
    pixels = window[evenly]
    return _same_pixels(stars, rows, pixels, stars.position[pixels])


def whole_batch(stars: DeviceStars, rows: Tensor, number: int) -> Batch:
    """Make a batch of all pixels of one of ``stars.windows_and_all``, the same at every call.

    Parameters
    ----------
    stars : DeviceStars
    rows : Tensor, shape (B,), int
    number : int
    """
    return _same_pixels(stars, rows, stars.windows_and_all[number], stars.position_of(number))


def _same_pixels(stars: DeviceStars, rows: Tensor, pixels: Tensor, position: Any) -> Batch:
    """Make a batch in which all stars show the same pixels, missing ones included."""
    pixel = pixels.expand(len(rows), -1)
    valid = stars.valid[rows[:, None], pixel]
    requested = stars.teaches[rows] & valid.any(dim=1, keepdim=True)
    return _show(stars, rows, pixel, position, ~valid, requested)


def _share(stars: int, processes: Processes, device: torch.device) -> tuple[Tensor, Tensor]:
    """Choose the stars of a step that this process shows, and which of them count, shape (B, 1).

    The shares are equally large: where the stars do not divide evenly, the last processes repeat a
    star and request none of its labels.
    """
    size = -(-stars // processes.count)
    share = torch.arange(size, device=device) + size * processes.rank
    return share.clamp(max=stars - 1), (share < stars)[:, None]


def scheme_of(sampling: Sampling) -> Scheme:
    """Create the sampling scheme that a stage's options name."""
    return load(SCHEMES[sampling.scheme])()


def _window(stars: DeviceStars, scheme: Scheme, seed: int, step: int) -> tuple[int, Tensor]:
    """Draw a window in proportion to its pixels, or take all; return its number and pixels."""
    if scheme.every_window or (scheme.all_every and step % scheme.all_every == 0):
        return len(stars.windows), stars.every_window
    if len(stars.windows) == 1:
        return 0, stars.windows[0]
    sizes = torch.tensor([len(window) for window in stars.windows], dtype=torch.float64)
    generator = generator_for(torch.device("cpu"), seed, "window", step)
    # Drawn on the host, which uses the number without waiting for the device.
    number = torch.multinomial(sizes, 1, generator=generator).numpy().item()
    return number, stars.windows[number]


def _show(
    stars: DeviceStars,
    rows: Tensor,
    pixel: Tensor,
    position: Any,
    missing: Tensor | None,
    requested: Tensor,
) -> Batch:
    error = stars.flux_error
    return Batch(
        flux=stars.flux[rows[:, None], pixel],
        error=None if error is None else error[rows[:, None], pixel],
        position=position,
        missing=missing,
        inputs=None if stars.inputs is None else stars.inputs[rows],
        known=None,
        label=stars.label[rows],
        label_error=stars.label_error[rows],
        requested=requested,
        count=requested.sum(),
    )


def _hidden(stars: int, inputs: int, generator: torch.Generator) -> Tensor:
    """Draw the inputs that each star lacks, shape (B, I), each by itself.

    The share of them is drawn for each star first, so that all and none are as frequent as some.
    """
    share = torch.rand(stars, 1, generator=generator, device=generator.device)
    return torch.rand(stars, inputs, generator=generator, device=generator.device) < share
