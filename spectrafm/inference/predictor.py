"""Prediction of labels and uncertainties from spectra of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spectrafm.inference.chunks import GUARD_STARS, device_of, iterate_chunks, on_device
from spectrafm.progress import Meter

_NONE: Mapping[str, np.ndarray] = {}


class Prediction(NamedTuple):
    """Labels of stars: values and one-sigma uncertainties, shape (n, R), in the labels' units."""

    value: np.ndarray
    uncertainty: np.ndarray
    #: The network's features, shape (n, F), the mean over a star's chunks; NaN for a star without a
    #: good pixel. None: the network has none.
    feature: np.ndarray | None = None


@torch.no_grad()
def infer(
    network: nn.Module,
    flux: np.ndarray,
    wavelength: np.ndarray,
    labels: Sequence[str],
    chunks: Sequence[np.ndarray],
    combine: str = "inverse_variance",
    error: np.ndarray | None = None,
    meter: Meter | None = None,
    columns: Mapping[str, np.ndarray] = _NONE,
) -> Prediction:
    """Predict labels of many stars.

    Parameters
    ----------
    network : spectrafm.networks.base.Network
    flux : numpy.ndarray, shape (n, P)
        Continuum-normalised; NaN where missing.
    wavelength : numpy.ndarray, shape (P,)
        Vacuum, rest frame, Angstrom.
    labels : sequence of str
        R labels that the network knows.
    chunks : sequence of numpy.ndarray of int
        Disjoint pixel sets, from the network's ``contexts``.
    combine : {"inverse_variance", "mean"}
        How the answers of a star's chunks are combined: weighted by inverse variance, or not. In
        neither case does the uncertainty shrink with the number of chunks.
    error : numpy.ndarray, shape (n, P), optional
        One-sigma errors of the flux; given only to a network that reads them.
    meter : Meter, optional
        Counts the chunks that are done.
    columns : mapping of str to numpy.ndarray, shape (n,)
        Those that the network reads as inputs, by name; without one, all stars lack it.

    Returns
    -------
    Prediction
        NaN for a star without a good pixel, and for a star whose flux is so far outside the normal
        range that the network gives no finite answer.
    """
    network = on_device(network)
    device = device_of(network)
    request = torch.tensor([network.labels.index(label) for label in labels], device=device)
    # Answers stay on the device until all are computed, so that the host waits only once.
    means = torch.empty(len(chunks), len(flux), len(labels), device=device)
    variances = torch.empty_like(means)
    shows_star = torch.empty(means.shape[:2], dtype=torch.bool, device=device)
    features = None
    counted = chunks if meter is None else meter.over(chunks)
    inputs = network.inputs_of(columns, len(flux))
    for batch in iterate_chunks(network, flux, wavelength, counted, error, inputs):
        further = {"error": batch.error, "inputs": batch.inputs}
        further = {name: values for name, values in further.items() if values is not None}
        answer = network(batch.flux, batch.position, batch.missing, request, **further)
        means[batch.chunk, batch.rows] = answer.mean[:-GUARD_STARS]
        variances[batch.chunk, batch.rows] = answer.log_variance[:-GUARD_STARS].exp()
        shown = ~batch.missing[:-GUARD_STARS].all(dim=1)
        shows_star[batch.chunk, batch.rows] = shown
        if answer.feature is not None:
            feature = answer.feature[:-GUARD_STARS].double()
            if features is None:
                features = feature.new_zeros(len(flux), feature.shape[1])
            features[batch.rows] += feature.where(shown[:, None], 0.0)
    mean, sigma = _combined(
        means.cpu().double(), variances.cpu().double(), shows_star.cpu()[..., None], combine
    )
    mean, sigma = network.in_units(mean, sigma, request)
    if features is not None:
        features = (features / shows_star.sum(dim=0)[:, None]).float().cpu().numpy()
    return Prediction(mean.numpy(), sigma.numpy(), features)


def _combined(
    means: Tensor, variances: Tensor, shows_star: Tensor, combine: str
) -> tuple[Tensor, Tensor]:
    """Combine the chunks with a good pixel of a star; NaN where one of them has no answer."""
    answered = means.isfinite() & variances.isfinite() & (variances > 0)
    lost = (shows_star & ~answered).any(dim=0)
    means, variances = (part.where(shows_star, torch.nan) for part in (means, variances))
    return tuple(
        part.masked_fill(lost, torch.nan) for part in COMBINATIONS[combine](means, variances)
    )


def inverse_variance(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Average the chunks' answers weighted by inverse variance; sigma is that of a typical chunk.

    Chunks of one spectrum share most of their errors, so more of them do not shrink sigma.

    Parameters
    ----------
    means, variances : Tensor, shape (chunks, n, R)
        NaN where a chunk shows no good pixel of a star.

    Returns
    -------
    mean, sigma : Tensor, shape (n, R)
        The square of sigma is the variance averaged with the same weights: the number of chunks
        over the sum of their inverse variances.
    """
    weight = variances.reciprocal().nan_to_num(0.0)
    total = weight.sum(dim=0)
    mean = (weight * means.nan_to_num(0.0)).sum(dim=0) / total
    sigma = (weight > 0).sum(dim=0).to(total).sqrt() * total.rsqrt()
    return mean, sigma.masked_fill(total == 0, torch.nan)


def plain_mean(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Average the chunks' answers and their sigmas without weights, as in the authors' code."""
    return means.nanmean(dim=0), variances.sqrt().nanmean(dim=0)


COMBINATIONS = {"inverse_variance": inverse_variance, "mean": plain_mean}
