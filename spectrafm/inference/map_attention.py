"""The command ``map-attention``: mean attention and gradient per label, of giants and of dwarfs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.attention_maps import MAPS, dataset_of, write_maps
from spectrafm.inference.chunks import GUARD_STARS, device_of, iterate_chunks, on_device
from spectrafm.inference.gradients import attention_and_gradient
from spectrafm.inference.label_pixels import FITTED, SHARE, pixels_of_labels
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Attention
from spectrafm.integrity import hashes_beside
from spectrafm.labels import DWARF_ABOVE, GIANT_BELOW
from spectrafm.networks import saved
from spectrafm.networks.transformer import SpectraFM
from spectrafm.outputs import claims
from spectrafm.progress import track
from spectrafm.store.read import StarSet

logger = logging.getLogger(__name__)


@claims(output=MAPS)
def map_attention(model: Path, store: Path, *, output: Path, options: Attention) -> None:
    """Average a network's attention, and gradients of its answers, over giants and over dwarfs.

    The map holds, for each label, the attention of the last decoder block to each wavelength,
    relative to equal attention to all wavelengths; the size of the label's gradient with respect
    to the flux there, relative to its mean; and which pixels tell the label, as the training
    spectra show. A population without stars is skipped.

    Parameters
    ----------
    model : pathlib.Path
        Folder of a trained model with attention, models/<stage>.
    store : pathlib.Path
        Stars to average over, store.zarr; its training spectra show which pixels tell a label.
    output : pathlib.Path
        Zarr group to write, attention/<stage>.zarr.
    options : Attention
        Which spectra and wavelengths.

    Raises
    ------
    SpectraFMError
        When the model has no attention, or there is neither a giant nor a dwarf.

    Examples
    --------
    $ spectrafm map-attention results/demo/models/pretrain results/demo/store.zarr \
--output results/demo/attention/pretrain.zarr
    """
    files.require_suffix(output, ".zarr")
    trained = TrainedModel.load(model)
    network, facts = trained.network, trained.facts
    if not isinstance(network, SpectraFM):
        raise SpectraFMError(f"{model}: a {facts['architecture']} network has no attention")
    windows = options.windows or trained.windows
    reader = trained.open_stars(
        store, options.spectra, options.split, windows, options.flux_range, ("logg",)
    )
    stars = reader.load(slice(options.stars))
    doubts = trained.doubts(stars.wavelength, windows, [])
    populations = populations_of(stars)
    left_out = [name for name, rows in populations.items() if not len(rows)]
    populations = {name: rows for name, rows in populations.items() if len(rows)}
    if not populations:
        raise SpectraFMError(
            f"{store}: neither a giant nor a dwarf among the first {len(stars)} stars of "
            f"{options.split}"
        )
    for name in left_out:
        logger.warning("%s: no %s among the stars: skipped in the map", store, name)
    chunks = trained.contexts(stars.wavelength, windows)
    # A pixel that two windows share is in two chunks, but is one pixel of the map.
    covered = np.unique(np.concatenate(chunks))
    maps = [mean_maps(network, stars, rows, chunks) for rows in populations.values()]
    counts = [np.isfinite(stars.flux[rows]).sum(axis=0) for rows in populations.values()]
    spectra = [_mean_spectrum(stars.flux[rows]) for rows in populations.values()]
    fitted = trained.open_stars(store, options.spectra, "train", windows, options.flux_range)
    own = pixels_of_labels(fitted.load(slice(FITTED)), network.labels)
    attributes = {
        "title": "Attention of the last decoder block, mean over heads and stars, and gradients",
        "own_share": SHARE,
        "stage": facts["stage_name"],
        "spectra": options.spectra,
        "windows": [list(window) for window in windows],
        "left_out": left_out,
        "flags": "; ".join(doubts),
        "mock": stars.mock or trained.mock,
        "survey": stars.survey,
        "release": stars.release,
        "made_with": hashes_beside(output, [model, store]),
        **files.provenance(model=files.sha256_of_file(Path(model) / saved.WEIGHTS)),
    }
    dataset = dataset_of(
        np.stack([found.attention for found in maps])[..., covered],
        np.stack([found.gradient for found in maps])[..., covered],
        own[:, covered],
        np.stack(counts)[:, covered],
        np.stack(spectra)[:, covered],
        {name: len(rows) for name, rows in populations.items()},
        network.label_table,
        stars.wavelength[covered],
        attributes,
    )
    write_maps(output, dataset)
    logger.info(
        "%s: %d labels, %d pixels, %s",
        output, len(network.labels), len(covered),
        ", ".join(f"{len(rows)} {name}" for name, rows in populations.items()),
    )  # fmt: skip


def populations_of(stars: StarSet) -> dict[str, np.ndarray]:
    """Rows of dwarfs and of giants among some stars; empty where there are none.

    Raises
    ------
    SpectraFMError
        When the store has no log g, as a label or as a column.
    """
    names = [label.name for label in stars.labels]
    if "LOGG" in names:
        logg = stars.label[:, names.index("LOGG")]
    elif "logg" in stars.columns:
        logg = stars.columns["logg"]
    else:
        raise SpectraFMError("the store has no log g, which tells giants from dwarfs")
    return {
        "dwarfs": np.flatnonzero(logg > DWARF_ABOVE),
        "giants": np.flatnonzero(logg < GIANT_BELOW),
    }


class Maps(NamedTuple):
    """Where a network looks for each label: means over stars, shape (L, P).

    Within a star and chunk, either is scaled to a mean of 1 over its good pixels, so that 1 means
    no preference, and chunks of different size are comparable. NaN where no star has a good pixel.
    """

    attention: np.ndarray
    gradient: np.ndarray  # absolute


def mean_maps(
    network: SpectraFM, stars: StarSet, rows: np.ndarray, chunks: list[np.ndarray]
) -> Maps:
    """Average attention and absolute gradients over some stars, batch by batch.

    A star whose flux is so far outside the normal range that the network gives no finite attention
    or gradient is skipped.
    """
    network = on_device(network)
    shape = 2, len(network.labels), len(stars.wavelength)
    total = torch.zeros(shape, dtype=torch.float64, device=device_of(network))
    count = torch.zeros_like(total[0, 0])
    tracked = track(chunks, "attention", unit="chunk")
    errors = None if stars.flux_error is None else stars.flux_error[rows]
    columns = {name: values[rows] for name, values in stars.columns.items()}
    inputs = network.inputs_of(columns, len(rows))
    for batch in iterate_chunks(
        network, stars.flux[rows], stars.wavelength, tracked, errors, inputs
    ):
        attention, gradient = attention_and_gradient(network, batch)
        both = torch.stack([attention, gradient.abs()])[:, :-GUARD_STARS]
        missing = batch.missing[:-GUARD_STARS]
        good = ~missing & both.isfinite().all(dim=-1).all(dim=-1).all(dim=0)[:, None]
        share = relative(both, good).masked_fill(~good[:, None], 0.0)
        total[..., batch.pixels] += share.nan_to_num().sum(dim=1).double()
        count[batch.pixels] += good.sum(dim=0).double()
    return Maps(*(total / count).cpu().numpy())


def relative(weight: Tensor, good: Tensor) -> Tensor:
    """Scale weights of pixels, (..., B, L, T), to a mean of 1 over the good pixels, (B, T)."""
    return weight / weight.sum(dim=-1, keepdim=True) * good.sum(dim=1)[:, None, None]


def _mean_spectrum(flux: np.ndarray) -> np.ndarray:
    """Mean over stars of each pixel's valid fluxes; NaN where there are none."""
    valid = np.isfinite(flux)
    count = valid.sum(axis=0)
    total = np.where(valid, flux, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
