"""Spectra of the spectrograph NAIAD: text with wavelength (nm, in air) and normalised flux."""

from pathlib import Path

import numpy as np
from astropy import units as u

from spectrafm.readers.making import from_file
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra

FIRST_LINE = b"# NAIAD"


def recognises(file: Peek) -> bool:
    """The first line names the spectrograph."""
    with open(file.path, "rb") as handle:
        return handle.read(len(FIRST_LINE)) == FIRST_LINE


def read(path: Path) -> Spectra:
    """Read the one spectrum of a file."""
    wavelength, flux = np.loadtxt(path, unpack=True)
    spectrum = from_file(
        path, "NAIAD", wavelength * u.nm, flux,
        medium="air", frame="rest", resolution=48000.0, normalisation="naiad",
    )  # fmt: skip
    return Spectra.of([spectrum])
