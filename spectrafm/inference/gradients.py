"""Gradients of a network's answers with respect to the flux that it reads.

Shapes: B stars of a batch, R requests, L labels known to the network, T pixels of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spectrafm.inference.chunks import ChunkBatch
from spectrafm.networks.binding import Cells, sharpened
from spectrafm.networks.transformer import SpectraFM


def gradient_of(network: nn.Module, batch: ChunkBatch, request: Tensor | None = None) -> Tensor:
    """Change of each star's answers with the flux of its pixels, in standardised label units.

    Parameters
    ----------
    network : spectrafm.networks.base.Network
    batch : ChunkBatch
    request : Tensor, shape (R,), int, optional
        Indices into the network's labels. Default: all labels.

    Returns
    -------
    Tensor, shape (B, R, T)
        Per unit of flux; 0 where a pixel is missing.
    """
    with torch.enable_grad():
        flux = _readable(batch)
        answer = network(flux, batch.position, batch.missing, request, **_further(batch))
        return _gradients(answer.mean, flux)


def attention_and_gradient(network: SpectraFM, batch: ChunkBatch) -> tuple[Tensor, Tensor]:
    """Attention of each star's requests to its pixels, and the gradients of the answers.

    Where a token holds several pixels, they share its attention in proportion to the size of the
    gradient of the answer with respect to their flux.

    Returns
    -------
    attention, gradient : Tensor, shape (B, L, T)
        Both are 0 where a pixel is missing.
    """
    with torch.enable_grad():
        flux = _readable(batch)
        answer, attention = network(
            flux, batch.position, batch.missing, return_attention=True, **_further(batch)
        )
        gradient = _gradients(answer.mean, flux)
    attention = attention.detach()
    if isinstance(batch.position, Cells):
        attention = sharpened(attention, gradient.abs(), batch.position)
    return attention, gradient


def _readable(batch: ChunkBatch) -> Tensor:
    """The flux of a batch, of which gradients can be taken also where pixels are missing."""
    return batch.flux.nan_to_num(1.0).requires_grad_()


def _further(batch: ChunkBatch) -> dict[str, Any]:
    """What else the network reads."""
    further = {"error": batch.error, "inputs": batch.inputs}
    return {name: values for name, values in further.items() if values is not None}


def _gradients(mean: Tensor, flux: Tensor) -> Tensor:
    """Gradient of each column of the answers, (B, R), by the flux, (B, T): (B, R, T)."""
    # No star's answer depends on another star's flux.
    each = [
        torch.autograd.grad(answer.sum(), flux, retain_graph=True)[0]
        for answer in mean.unbind(dim=1)
    ]
    return torch.stack(each, dim=1)
