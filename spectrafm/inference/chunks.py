"""Chunks of spectra longer than one context: disjoint sets of pixels that a network reads in turn.

Shapes: n or B stars, P pixels of the grid, T pixels of a chunk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

#: Stars per forward pass: at the paper's size each takes 20 MB.
BATCH = {"cpu": 64, "cuda": 512}

#: Stars that are read, predicted and written at once: whole batches on either device, so that each
#: star is in the same batch, and its answer has the same bits, as if all were read at once.
BLOCK = 4096

#: Two dummy stars at the end of each batch, one complete and one with a missing pixel. A network
#: drops pixels that no star of a batch has, and passes no mask where none is missing; either choice
#: changes the last bit of a sum. With the dummies, the choice never depends on the real stars.
GUARD_STARS = 2


class ChunkBatch(NamedTuple):
    """One chunk's pixels of some stars. B stars, the last two of them `GUARD_STARS`; T pixels."""

    chunk: int  # number of the chunk
    pixels: Tensor  # (T,) indices into the grid
    rows: slice  # which stars: B - 2
    flux: Tensor  # (B, T), not finite where missing
    position: Tensor  # (T, D)
    missing: Tensor  # (B, T)
    error: Tensor | None  # (B, T), NaN where unknown
    inputs: Tensor | None  # (B, I), NaN where unknown


def device_of(network: nn.Module) -> torch.device:
    """The device that holds a network's weights."""
    return next(itertools.chain(network.parameters(), network.buffers())).device


def on_device(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, on the GPU where there is one."""
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def iterate_chunks(
    network: nn.Module,
    flux: np.ndarray,
    wavelength: np.ndarray,
    chunks: Iterable[np.ndarray],
    error: np.ndarray | None = None,
    inputs: Tensor | None = None,
) -> Iterator[ChunkBatch]:
    """Iterate over every chunk of every star, in batches, on the network's device.

    Parameters
    ----------
    network : spectrafm.networks.base.Network
    flux : numpy.ndarray, shape (n, P)
        NaN where missing.
    wavelength : numpy.ndarray, shape (P,), Angstrom
    chunks : iterable of numpy.ndarray of int
        From the network's ``contexts``.
    error : numpy.ndarray, shape (n, P), optional
        One-sigma errors of the flux; given only to a network that reads them.
    inputs : Tensor, shape (n, I), optional
        Of the network's ``inputs_of``.

    Yields
    ------
    ChunkBatch
    """
    device = device_of(network)
    batch = BATCH[device.type]
    # All spectra are moved to the device once, so that no batch waits for a transfer: a `BLOCK` of
    # stars is 0.1 GB.
    spectra = torch.tensor(flux, dtype=torch.float32, device=device)
    errors = None
    if error is not None and network.wants_errors:
        errors = torch.tensor(error, dtype=torch.float32, device=device)
    grid = torch.tensor(wavelength, dtype=torch.float64, device=device)
    for number, chunk in enumerate(chunks):
        pixels = torch.from_numpy(chunk).to(device)
        position = network.encoding(grid[pixels])
        for start in range(0, len(spectra), batch):
            rows = slice(start, start + batch)
            shown = _with_guards(spectra[rows].index_select(1, pixels), 1.0)
            missing = ~shown.isfinite()
            missing[-1, 0] = True
            sigma = None
            if errors is not None:
                sigma = _with_guards(errors[rows].index_select(1, pixels), torch.nan)
            given = None if inputs is None else _with_guards(inputs[rows], torch.nan)
            yield ChunkBatch(number, pixels, rows, shown, position, missing, sigma, given)


def _with_guards(values: Tensor, guard: float) -> Tensor:
    return functional.pad(values, (0, 0, 0, GUARD_STARS), value=guard)
