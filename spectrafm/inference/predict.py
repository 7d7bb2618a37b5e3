"""From spectra of any length to labels and uncertainties."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.chunks import RIDERS, chunks_of, on_device, showings
from spectrafm.inference.options import Predict
from spectrafm.labels import LABELS, UNITS
from spectrafm.networks import saved
from spectrafm.store.read import StarSet, load_stars

logger = logging.getLogger(__name__)

NO_GOOD_PIXEL = "no good pixel"
NO_FINITE_ANSWER = "no finite answer"


class Prediction(NamedTuple):
    """Labels of stars: values and one-sigma uncertainties, shape (n, R), in the labels' units."""

    value: np.ndarray
    uncertainty: np.ndarray


def predict(model: Path, store: Path, *, name: str, output: Path, options: Predict) -> None:
    """Predict the labels of one split's stars and write them beside the catalogue's.

    Parameters
    ----------
    model : Path
        ``models/<stage>``.
    store : Path
        ``store.zarr``.
    output : Path
        ``predictions/<stage>--<evaluation>.parquet``.
    name : str
        The evaluation's name.
    options : spectrafm.inference.options.Predict

    Raises
    ------
    SpectraFMError
        When the network does not know a label or cannot read these pixels.
    """
    network, facts = saved.from_pretrained(model)
    split = None if options.split == "all" else options.split
    stars = load_stars(store, options.spectra, split, options.windows)
    labels = [label for label in options.labels if label in network.labels]
    if not labels:
        raise SpectraFMError(
            f"{model}: knows {', '.join(network.labels)}, asked for {', '.join(options.labels)}"
        )
    chunks = chunks_of(network, stars.wavelength, options.windows, facts["tokens"])
    prediction = infer(network, stars.flux, stars.wavelength, labels, chunks, options.combine)
    table = prediction_table(stars, labels, prediction)
    trained = facts["stage"]
    metadata = {
        "stage": facts["stage_name"],
        "evaluation": name,
        "units": {
            f"{label}_{what}": UNITS[label]
            for label in labels
            for what in ("actual", "error", "predicted", "uncertainty")
        },
        "spectra": options.spectra,
        "windows": [list(window) for window in options.windows],
        "split": options.split,
        "combine": options.combine,
        "chunks": len(chunks),
        "trained": {
            key: trained[key]
            for key in (
                "architecture",
                "start_from",
                "spectra",
                "windows",
                "stars",
                "labels",
                "selection",
            )
        },
        "training_stars": facts["training_star_count"],
        "mock": stars.mock,
        **files.provenance(model=files.sha256_of_file(model / saved.WEIGHTS)),
    }
    files.write_parquet(output, table, metadata)
    flagged = int((table["flags"] != "").sum())
    logger.info("%s: %d stars, %d of them flagged, without a value", output, len(table), flagged)


@torch.no_grad()
def infer(
    network: nn.Module,
    flux: np.ndarray,
    wavelength: np.ndarray,
    labels: Sequence[str],
    chunks: Sequence[np.ndarray],
    combine: str = "inverse_variance",
) -> Prediction:
    """Ask a network for labels of many stars.

    Parameters
    ----------
    network : SpectraFM or FCNN
    flux : ndarray, shape (n, P)
        Continuum-normalised; NaN where missing.
    wavelength : ndarray, shape (P,)
        Vacuum, rest frame, Angstrom.
    labels : sequence of str
        R labels that the network knows.
    chunks : sequence of ndarray of int
        Disjoint pixel sets; from `chunks_of`.
    combine : {"inverse_variance", "mean"}
        How the answers of the chunks are combined.

    Returns
    -------
    Prediction
        NaN for a star without a good pixel, and for one whose flux is so far off that the network
        gives no finite answer.
    """
    began = time.monotonic()
    network = on_device(network)
    device = network.label_scale.device
    request = torch.tensor([network.labels.index(label) for label in labels], device=device)
    # Answers stay on the device until all are there: the host never waits for a batch.
    means = torch.empty(len(chunks), len(flux), len(labels), device=device)
    variances = torch.empty_like(means)
    shows_star = torch.empty(means.shape[:2], dtype=torch.bool, device=device)
    for shown in showings(network, flux, wavelength, chunks, "predicting"):
        answer = network(shown.flux, shown.position, shown.missing, request)
        means[shown.chunk, shown.rows] = answer.mean[:-RIDERS]
        variances[shown.chunk, shown.rows] = answer.log_variance[:-RIDERS].exp()
        shows_star[shown.chunk, shown.rows] = ~shown.missing[:-RIDERS].all(dim=1)
    mean, sigma = _combined(
        means.cpu().double(), variances.cpu().double(), shows_star.cpu()[..., None], combine
    )
    scale = network.label_scale[request].cpu().double()
    centre = network.label_centre[request].cpu().double()
    seconds = time.monotonic() - began
    logger.info(
        "predicted %d stars x %d chunks x %d labels in %.1f s, %.1f stars/s",
        len(flux), len(chunks), len(labels), seconds, len(flux) / seconds,
    )  # fmt: skip
    return Prediction((mean * scale + centre).numpy(), (sigma * scale).numpy())


def _combined(
    means: Tensor, variances: Tensor, shows_star: Tensor, combine: str
) -> tuple[Tensor, Tensor]:
    """Combine the chunks that show something of a star; NaN where one of them has no answer."""
    answered = means.isfinite() & variances.isfinite() & (variances > 0)
    lost = (shows_star & ~answered).any(dim=0)
    means, variances = (part.where(shows_star, torch.nan) for part in (means, variances))
    return tuple(
        part.masked_fill(lost, torch.nan) for part in COMBINATIONS[combine](means, variances)
    )


def inverse_variance(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Weight each chunk by its inverse variance; the chunks count as independent.

    Parameters
    ----------
    means, variances : Tensor, shape (chunks, n, R)
        NaN where a chunk shows no good pixel of a star.

    Returns
    -------
    mean, sigma : Tensor, shape (n, R)
    """
    weight = variances.reciprocal().nan_to_num(0.0)
    total = weight.sum(dim=0)
    mean = (weight * means.nan_to_num(0.0)).sum(dim=0) / total
    return mean, total.rsqrt().masked_fill(total == 0, torch.nan)


def plain_mean(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """The authors' way: plain means of the chunks' answers and of their sigmas."""
    return means.nanmean(dim=0), variances.sqrt().nanmean(dim=0)


COMBINATIONS = {"inverse_variance": inverse_variance, "mean": plain_mean}


def prediction_table(stars: StarSet, labels: Sequence[str], prediction: Prediction) -> pd.DataFrame:
    """One row a star: id, split, and for each label actual, error, predicted, uncertainty."""
    columns: dict[str, np.ndarray] = {"apogee_id": stars.apogee_id, "split": stars.split}
    for number, label in enumerate(labels):
        known = LABELS.index(label)
        columns[f"{label}_actual"] = stars.label[:, known]
        columns[f"{label}_error"] = stars.label_error[:, known]
        columns[f"{label}_predicted"] = prediction.value[:, number].astype(np.float32)
        columns[f"{label}_uncertainty"] = prediction.uncertainty[:, number].astype(np.float32)
    unread = ~np.isfinite(stars.flux).any(axis=1)
    unanswered = ~(np.isfinite(prediction.value) & np.isfinite(prediction.uncertainty)).all(axis=1)
    columns["flags"] = np.select([unread, unanswered], [NO_GOOD_PIXEL, NO_FINITE_ANSWER], "")
    return pd.DataFrame(columns)
