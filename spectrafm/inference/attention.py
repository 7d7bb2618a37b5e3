"""The command ``attention``: where in one spectrum a model looks for each label."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from astropy.table import QTable

from spectrafm import files
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.saliency import saliency_of_file
from spectrafm.inference.sources import model_folder
from spectrafm.outputs import claims
from spectrafm.readers.read import join_stars, read_spectra

logger = logging.getLogger(__name__)

#: Wavelengths that are printed for each label.
SHOWN = 6

#: Distance between two of them at least, Angstrom relative to the wavelength.
APART = 1e-4


@claims(output=files.no_folder)
def attention(model: Path, file: Path, *, output: Path | None = None) -> str | None:
    """Tell where in a spectrum a model looks for each label.

    For each pixel: the gradient of each label with its flux, and for a model with attention the
    attention of the label's request to it, relative to equal attention to all good pixels.

    Parameters
    ----------
    model : pathlib.Path
        Folder of a trained model; the name of a shipped one; or owner/name@commit.
    file : pathlib.Path
        File with a spectrum of any known format; of several the first is taken.
    output : pathlib.Path, optional
        Table to write, one row a pixel: .ecsv. Without it, the wavelengths with the largest
        gradients are printed.

    Returns
    -------
    str or None
        The wavelengths as text, where there is no output.

    Raises
    ------
    SpectraFMError
        When the file cannot be read, or has no pixel in the model's wavelengths.

    Examples
    --------
    $ spectrafm attention results/demo/models/pretrain aspcapStar-dr17-2M00000002+7417074.fits
    """
    if output is not None:
        files.require_suffix(output, ".ecsv")
    trained = TrainedModel.load(model_folder(model))
    spectra = join_stars(read_spectra(file))
    table = saliency_of_file(trained, spectra[0], file)
    if output is None:
        return "\n".join(_strongest(table, label) for label in trained.labels)
    with files.atomic_path(output) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)
    logger.info("%s: %d pixels, %s", output, len(table), ", ".join(trained.labels))
    return None


def _strongest(table: QTable, label: str) -> str:
    """One line on a label: the wavelengths with the largest gradients, apart from each other."""
    gradient = table[f"{label}_gradient"]
    wavelength = table["wavelength"].value
    size = np.nan_to_num(np.abs(gradient.value))
    places: list[int] = []
    for place in np.argsort(-size):
        apart = [abs(wavelength[place] - wavelength[p]) > APART * wavelength[p] for p in places]
        if all(apart) and size[place] > 0:
            places.append(int(place))
        if len(places) == SHOWN:
            break
    unit = f" {gradient.unit}" if str(gradient.unit) else ""
    parts = [f"{wavelength[p]:.1f} ({gradient.value[p]:+.3g})" for p in places]
    return f"{label} [Angstrom (change{unit} per unit of flux)]: {', '.join(parts)}"
