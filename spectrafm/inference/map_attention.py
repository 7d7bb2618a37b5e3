"""Where the network looks: mean attention per request over giants and dwarfs (Figure 5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.chunks import RIDERS, chunks_of, on_device, showings
from spectrafm.inference.options import Attention
from spectrafm.labels import LABELS
from spectrafm.networks import saved
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.arrays import Variable, write_dataset
from spectrafm.store.read import StarSet, load_stars

#: Bounds in logg of the two populations (paper section 4.2).
GIANTS_BELOW = 3.0
DWARFS_ABOVE = 4.0


def map_attention(model: Path, store: Path, *, output: Path, options: Attention) -> None:
    """Average the last decoder block's attention over stars and write it as a Zarr group.

    Parameters
    ----------
    model : Path
        ``models/<stage>``.
    store : Path
        ``store.zarr``.
    output : Path
        ``attention/<stage>.zarr``: attention (population, request, wavelength), relative to
        looking everywhere alike; count and mean spectrum (population, wavelength).
    options : spectrafm.inference.options.Attention

    Raises
    ------
    SpectraFMError
        When the model has no attention, or a population has no star.
    """
    network, facts = saved.from_pretrained(model)
    if not isinstance(network, SpectraFM):
        raise SpectraFMError(f"{model}: a {facts['architecture']} network has no attention")
    stars = load_stars(store, options.spectra, options.split, options.windows)
    populations = populations_of(stars, options.stars)
    chunks = chunks_of(network, stars.wavelength, options.windows, facts["tokens"])
    # A pixel that two windows share is looked at in two chunks, but is one pixel of the map.
    covered = np.unique(np.concatenate(chunks))
    maps = [mean_attention(network, stars, rows, chunks) for rows in populations.values()]
    counts = [np.isfinite(stars.flux[rows]).sum(axis=0) for rows in populations.values()]
    spectra = [_mean_spectrum(stars.flux[rows]) for rows in populations.values()]
    by_pixel = ("population", "wavelength")
    variables = {
        "attention": Variable(
            ("population", "request", "wavelength"),
            np.stack(maps)[..., covered].astype(np.float32),
            {"units": "1", "long_name": "attention relative to uniform attention"},
        ),
        "count": Variable(
            by_pixel,
            np.stack(counts)[:, covered].astype(np.int32),
            {"units": "1", "long_name": "stars with a good pixel"},
        ),
        "spectrum": Variable(
            by_pixel,
            np.stack(spectra)[:, covered].astype(np.float32),
            {"units": "1", "long_name": "mean normalised flux"},
        ),
        "n_stars": Variable(
            ("population",),
            np.array([len(rows) for rows in populations.values()], dtype=np.int32),
            {"units": "1", "long_name": "number of stars"},
        ),
        "population": Variable(
            ("population",),
            np.array(list(populations), dtype=object),
            {"long_name": f"giants: logg < {GIANTS_BELOW}; dwarfs: logg > {DWARFS_ABOVE}"},
        ),
        "request": Variable(
            ("request",),
            np.array(network.labels, dtype=object),
            {"long_name": "label that is asked for"},
        ),
        "wavelength": Variable(
            ("wavelength",),
            stars.wavelength[covered],
            {"units": "Angstrom", "medium": "vacuum", "frame": "rest"},
        ),
    }
    attributes = {
        "title": "Attention of the last decoder block, mean over heads and stars",
        "stage": facts["stage_name"],
        "spectra": options.spectra,
        "mock": stars.mock,
        **files.provenance(model=files.sha256_of_file(model / saved.WEIGHTS)),
    }
    write_dataset(output, variables, attributes)


def populations_of(stars: StarSet, at_most: int) -> dict[str, np.ndarray]:
    """Rows of dwarfs and of giants among the first stars.

    Raises
    ------
    SpectraFMError
        When one of them is empty.
    """
    logg = stars.label[:at_most, LABELS.index("LOGG")]
    rows = {
        "dwarfs": np.flatnonzero(logg > DWARFS_ABOVE),
        "giants": np.flatnonzero(logg < GIANTS_BELOW),
    }
    for name, found in rows.items():
        if not len(found):
            raise SpectraFMError(f"attention.stars: no {name} among the first {len(logg)} stars")
    return rows


@torch.no_grad()
def mean_attention(
    network: SpectraFM, stars: StarSet, rows: np.ndarray, chunks: list[np.ndarray]
) -> np.ndarray:
    """Mean attention over some stars, added up on the fly.

    Within a star and chunk the weights are scaled to a mean of 1 over its good pixels, so that 1
    means no preference and chunks of different size compare.

    Returns
    -------
    ndarray, shape (L, P)
        NaN where no star has a good pixel.
    """
    network = on_device(network)
    shape = len(network.labels), len(stars.wavelength)
    total = torch.zeros(shape, dtype=torch.float64, device=network.label_scale.device)
    count = torch.zeros_like(total[0])
    for shown in showings(network, stars.flux[rows], stars.wavelength, chunks, "attention"):
        _, attention = network(shown.flux, shown.position, shown.missing, return_attention=True)
        attention, missing = attention[:-RIDERS], shown.missing[:-RIDERS]
        # A flux far beyond all stars' gives no finite attention: such a star is not counted.
        good = ~missing & attention.isfinite().all(dim=1)
        share = attention / attention.sum(dim=-1, keepdim=True) * good.sum(dim=1)[:, None, None]
        total[:, shown.pixels] += share.nan_to_num().sum(dim=0).double()
        count[shown.pixels] += good.sum(dim=0).double()
    return (total / count).cpu().numpy()


def _mean_spectrum(flux: np.ndarray) -> np.ndarray:
    """Mean over stars of each pixel's valid fluxes; NaN where there are none."""
    valid = np.isfinite(flux)
    count = valid.sum(axis=0)
    total = np.where(valid, flux, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
