"""DESI spectra and coadds: many stars in a file, three arms each, in vacuum and barycentric.

Images B_FLUX, B_IVAR, B_MASK and so on of R and Z have a row for each star; B_WAVELENGTH is common
to all. Flux is in 1e-17 erg/s/cm2/A. Source: https://desidatamodel.readthedocs.io (coadd).
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from astropy import units as u

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.readers.making import SDSS_FLUX, error_of, from_file
from spectrafm.readers.peek import MOST_HDUS, Peek
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import join_arms

ARMS = ("B", "R", "Z")


def recognises(file: Peek) -> bool:
    """A fibre map, and flux and wavelength of at least one arm."""
    names = set(file.names())
    return "FIBERMAP" in names and any(
        {f"{arm}_FLUX", f"{arm}_WAVELENGTH"} <= names for arm in ARMS
    )


def read(path: Path) -> Spectra:
    """Read every star of the file, its arms joined."""
    arms = {}
    # From the open file, which is not mapped: the masks are unsigned, which astropy cannot map.
    with open(path, "rb") as handle, opened_fits(handle, str(path)) as hdus:
        numbers = itertools.takewhile(lambda number: has_hdu(hdus, number), range(MOST_HDUS))
        names = {str(hdus[number].name).upper(): hdus[number] for number in numbers}
        targets = np.array(names["FIBERMAP"].data["TARGETID"])
        for arm in ARMS:
            if f"{arm}_FLUX" in names:
                parts = ("WAVELENGTH", "FLUX", "IVAR", "MASK")
                arms[arm] = [
                    np.array(names[f"{arm}_{part}"].data) if f"{arm}_{part}" in names else None
                    for part in parts
                ]
    found = []
    for row, target in enumerate(targets):
        parts = []
        for wavelength, flux, variance, mask in arms.values():
            if len(flux) != len(targets):
                raise SpectraFMError(f"{path}: {len(flux)} spectra of {len(targets)} targets")
            parts.append(
                from_file(
                    path,
                    "DESI coadd",
                    wavelength * u.AA,
                    flux[row] * SDSS_FLUX,
                    None if variance is None else error_of(variance[row]) * SDSS_FLUX,
                    None if mask is None else mask[row] != 0,
                    name=str(target),
                    medium="vacuum",
                    frame="barycentric",
                )
            )
        found.append(join_arms(parts))
    if not found:
        raise SpectraFMError(f"{path}: no target")
    return Spectra.of(found)
