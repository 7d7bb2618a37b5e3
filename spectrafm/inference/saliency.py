"""Where in a spectrum a model looks for each label: gradients, and attention if it has some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from astropy import units as u
from astropy.table import QTable

from spectrafm.errors import SpectraFMError
from spectrafm.inference.answers import as_stars
from spectrafm.inference.chunks import iterate_chunks, on_device
from spectrafm.inference.gradients import gradient_of
from spectrafm.inference.map_attention import mean_maps
from spectrafm.inference.model import TrainedModel
from spectrafm.networks.transformer import SpectraFM
from spectrafm.spectra.spectrum import Spectrum
from spectrafm.store.read import StarSet


def saliency(trained: TrainedModel, spectrum: Spectrum) -> QTable:
    """Gradient and attention of each label at each pixel that the model reads.

    Parameters
    ----------
    trained : TrainedModel
    spectrum : Spectrum

    Returns
    -------
    astropy.table.QTable
        See `spectrafm.inference.pretrained.SpectraFM.attention`. Without a row where the spectrum
        has no pixel within the model's windows.
    """
    stars = as_stars(trained, spectrum)
    table = QTable({"wavelength": stars.wavelength * u.AA, "flux": stars.flux[0]})
    table.meta = {"name": spectrum.name, "model": trained.facts["stage_name"]}
    labels = trained.labels
    units = {label.name: label.unit for label in trained.network.label_table}
    if not len(stars.wavelength):
        return table
    chunks = trained.contexts(stars.wavelength, trained.windows)
    change = gradients(trained, stars, labels, chunks)
    for label, row in zip(labels, change, strict=True):
        unit = units[label]
        table[f"{label}_gradient"] = row * u.Unit("dex" if unit.startswith("dex(") else unit)
    if isinstance(trained.network, SpectraFM):
        attention = mean_maps(trained.network, stars, np.arange(1), chunks).attention
        for label in labels:
            place = trained.network.labels.index(label)
            table[f"{label}_attention"] = attention[place].astype(np.float32)
    return table


def saliency_of_file(trained: TrainedModel, spectrum: Spectrum, file: Path) -> QTable:
    """As `saliency`, of a spectrum that was read from a file.

    Raises
    ------
    SpectraFMError
        When it has no good pixel in the wavelengths that the model reads.
    """
    table = saliency(trained, spectrum)
    if not len(table) or not np.isfinite(table["flux"]).any():
        raise SpectraFMError(f"{file}: no good pixel in the wavelengths that the model reads")
    return table


def gradients(
    trained: TrainedModel, stars: StarSet, labels: list[str], chunks: list[np.ndarray]
) -> np.ndarray:
    """Change of each label of the first star with the flux of each pixel, in the labels' units.

    Returns
    -------
    numpy.ndarray, shape (R, P), float32
        Per unit of normalised flux; NaN where a pixel is missing. A label of several chunks is the
        mean of theirs, so that the gradients of each count by one part.
    """
    network = on_device(trained.network)
    request = network.request_of(labels).to(next(network.buffers()).device)
    found = np.full((len(labels), len(stars.wavelength)), np.nan, np.float32)
    errors = None if stars.flux_error is None else stars.flux_error[:1]
    inputs = network.inputs_of({name: v[:1] for name, v in stars.columns.items()}, 1)
    for batch in iterate_chunks(network, stars.flux[:1], stars.wavelength, chunks, errors, inputs):
        change = gradient_of(network, batch, request)[0]
        change = change * network.label_scale[request][:, None] / len(chunks)
        change = change.masked_fill(batch.missing[0], torch.nan)
        found[:, batch.pixels.cpu().numpy()] = change.cpu().numpy()
    return found
