"""How well a network does on stars that it does not train on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spectrafm.training.batch import Batch, draw_fixed_batch
from spectrafm.training.interruption import Interruption
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Sampling
from spectrafm.training.stars import DeviceStars
from spectrafm.training.step import ask

#: Stars per batch where no gradients are needed.
BATCH = 256


@torch.no_grad()
def validate(
    network: nn.Module,
    stars: DeviceStars,
    request: Tensor,
    sampling: Sampling,
    interruption: Interruption,
) -> tuple[float, list[float]]:
    """Loss and RMSE on stars that are not trained on, averaged over the windows.

    Parameters
    ----------
    network : SpectraFM or FCNN
    stars : DeviceStars
    request : Tensor, shape (R,), int
    sampling : spectrafm.training.options.Sampling
    interruption : Interruption
        Asked before each batch.

    Returns
    -------
    loss : float
    rmse : list of float
        For each requested label, in its own unit; NaN where no star has the label.
    """
    network.eval()
    losses, squares, asked = [], [], []
    for batch in interruption.between(_batches(stars, sampling)):
        answer = ask(network, len(network.labels), batch, request)
        each = gaussian_loss(answer, batch.label, batch.label_error, batch.asked)
        losses.append(each.sum())
        squares.append(torch.where(batch.asked, answer.mean - batch.label, torch.nan).square())
        asked.append(batch.count)
    square = torch.cat(squares)
    rmse = square.nanmean(dim=0).sqrt() * network.label_scale[request]
    return (sum(losses) / sum(asked).clamp(min=1)).item(), rmse.tolist()


def _batches(stars: DeviceStars, sampling: Sampling) -> Iterator[Batch]:
    every = torch.arange(len(stars), device=stars.flux.device)
    windows = stars.windows if sampling.scheme != "all" else (stars.every_window,)
    for window in windows:
        tokens = len(window) if sampling.scheme == "all" else sampling.tokens
        for rows in every.split(BATCH):
            yield draw_fixed_batch(stars, rows, window, tokens)
