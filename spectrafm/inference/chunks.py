"""Spectra longer than one context: disjoint sets of pixels, shown to the network in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spectrafm.progress import track

#: Stars per forward pass: at the paper's size each takes 20 MB.
BATCH = {"cpu": 64, "cuda": 512}

#: Two made-up stars at the end of each batch: one has all its pixels, one lacks a pixel. The
#: network leaves out pixels that no star of a batch has, and passes no mask where none is missing;
#: either moves the last bit of a sum. With these two, neither depends on a star's neighbours.
RIDERS = 2

#: Seed of the order in which a window's pixels are dealt to chunks (the authors' code has 0 too).
CHUNK_SEED = 0


class Showing(NamedTuple):
    """One chunk's pixels of some stars. B stars, the last two of them `RIDERS`; T pixels."""

    chunk: int  # number of the chunk
    pixels: Tensor  # (T,) indices into the grid
    rows: slice  # which stars: B - 2
    flux: Tensor  # (B, T), 1 where missing
    position: Tensor  # (T, D)
    missing: Tensor  # (B, T)


def chunks_of(
    network: nn.Module,
    wavelength: np.ndarray,
    windows: Sequence[tuple[float, float]],
    tokens: int,
) -> list[np.ndarray]:
    """Disjoint pixel sets that together cover the windows, each no larger than one context.

    A window's pixels are dealt at random, the same for every star, into sets of nearly equal
    size. The FCNN reads all its pixels at once.

    Parameters
    ----------
    network : SpectraFM or FCNN
    wavelength : ndarray, shape (P,)
    windows : sequence of (low, high), Angstrom
    tokens : int
        The network's context: pixels per star in training.

    Returns
    -------
    list of ndarray of int
    """
    return network.contexts(wavelength, windows, tokens)


def on_device(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, on the GPU where there is one."""
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def showings(
    network: nn.Module,
    flux: np.ndarray,
    wavelength: np.ndarray,
    chunks: Sequence[np.ndarray],
    what: str,
) -> Iterator[Showing]:
    """Every chunk of every star, in batches, on the network's device.

    Parameters
    ----------
    network : SpectraFM or FCNN
    flux : ndarray, shape (n, P)
        NaN where missing.
    wavelength : ndarray, shape (P,), Angstrom
    chunks : sequence of ndarray of int
        From `chunks_of`.
    what : str
        What the progress says is being done.
    """
    device = network.label_scale.device
    batch = BATCH[device.type]
    # All spectra lie on the device from the start: 25,681 stars are 0.8 GB, and a batch is then
    # cut out without the host.
    spectra = torch.tensor(flux, dtype=torch.float32, device=device)
    grid = torch.tensor(wavelength, dtype=torch.float64, device=device)
    for number, chunk in enumerate(track(chunks, what)):
        pixels = torch.from_numpy(chunk).to(device)
        position = network.encoding(grid[pixels])
        for start in range(0, len(spectra), batch):
            rows = slice(start, start + batch)
            shown = functional.pad(spectra[rows].index_select(1, pixels), (0, 0, 0, RIDERS))
            missing = ~shown.isfinite()
            missing[-1, 0] = True
            yield Showing(number, pixels, rows, shown, position, missing)
