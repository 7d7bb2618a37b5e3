"""Validation: loss and RMSE of a network on stars that it does not train on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spectrafm.networks.base import Network
from spectrafm.training.batch import Batch, draw_fixed_batch, scheme_of, whole_batch
from spectrafm.training.interruption import Interruption
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Sampling
from spectrafm.training.stars import DeviceStars
from spectrafm.training.step import request_labels

#: Stars per batch where no gradients are needed.
BATCH = 256


@torch.no_grad()
def validate(
    network: Network,
    stars: DeviceStars,
    request: Tensor,
    sampling: Sampling,
    interruption: Interruption,
) -> tuple[float, list[float]]:
    """Compute loss and RMSE on validation stars, averaged over the windows.

    Parameters
    ----------
    network : Network
    stars : DeviceStars
    request : Tensor, shape (R,), int
    sampling : spectrafm.training.options.Sampling
    interruption : Interruption
        Checked before each batch.

    Returns
    -------
    loss : float
        Mean over stars and labels, of labels in standardised units.
    rmse : list of float
        RMSE of each requested label, in its own unit; NaN where no star has the label.
    """
    network.eval()
    losses, squares, requested = [], [], []
    for batch in interruption.between(_batches(stars, sampling)):
        answer = request_labels(network, len(network.labels), batch, request)
        each = gaussian_loss(answer, batch.label, batch.label_error, batch.requested)
        losses.append(each.sum())
        squares.append(torch.where(batch.requested, answer.mean - batch.label, torch.nan).square())
        requested.append(batch.count)
    square = torch.cat(squares)
    rmse = square.nanmean(dim=0).sqrt() * network.label_scale[request]
    return (sum(losses) / sum(requested).clamp(min=1)).item(), rmse.tolist()


def _batches(stars: DeviceStars, sampling: Sampling) -> Iterator[Batch]:
    every = torch.arange(len(stars), device=stars.flux.device)
    scheme, windows = scheme_of(sampling), len(stars.windows)
    for number in (windows,) if scheme.every_window and scheme.whole else range(windows):
        for rows in every.split(BATCH):
            if scheme.whole:
                yield whole_batch(stars, rows, number)
            else:
                yield draw_fixed_batch(stars, rows, stars.windows[number], sampling.tokens)
