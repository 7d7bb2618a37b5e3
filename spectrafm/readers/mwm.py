"""SDSS-V mwmStar and astraStar (DR19): a star's BOSS and APOGEE spectra, in vacuum and at rest.

HDU1 to HDU4 are tables of BOSS and APOGEE spectra from APO and LCO, one row each; a table without
rows means that the star has no such spectrum. Source: https://www.sdss.org/dr19/mwm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u

from spectrafm.archive.fits import opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.readers.apstar import BAD_PIXEL
from spectrafm.readers.aspcapstar import RESOLUTION
from spectrafm.readers.making import SDSS_FLUX, error_of, from_file, log_wavelength
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import Spectrum

#: The tables, and the name that a spectrum gets after the star's.
TABLES = {1: "BOSS/APO", 2: "BOSS/LCO", 3: "APOGEE/APO", 4: "APOGEE/LCO"}


def recognises(file: Peek) -> bool:
    """The version of astra and the star's identifier are in the primary header."""
    return "V_ASTRA" in file.header(0) and "SDSS_ID" in file.header(0)


def read(path: Path) -> Spectra:
    """Read every spectrum that the file has.

    A file of astra with a continuum gives normalised flux, whose normaliser is called ``astra``.
    """
    found: list[Spectrum] = []
    with opened_fits(path, str(path)) as hdus:
        star = str(hdus[0].header["SDSS_ID"])
        for number, instrument in TABLES.items():
            table = hdus[number].data
            for row in [] if table is None else table:
                found.append(_spectrum(path, row, hdus[number].header, star, instrument))
    if not found:
        raise SpectraFMError(f"{path}: no spectrum (every table is empty)")
    return Spectra.of(found)


def _spectrum(path: Path, row, header, star: str, instrument: str) -> Spectrum:
    names = {name.lower() for name in row.array.names}
    if "flux" not in names:
        raise SpectraFMError(f"{path}: {instrument} has model spectra only, no observed flux")
    flux = np.array(row["flux"], np.float64)
    if "wavelength" in names:
        wavelength = np.array(row["wavelength"], np.float64) * u.AA
    else:
        wavelength = log_wavelength(header.get("CRVAL"), header.get("CDELT"), len(flux), path)
    error = error_of(row["ivar"])
    unit, normalisation = SDSS_FLUX, None
    if "continuum" in names:
        with np.errstate(divide="ignore", invalid="ignore"):
            continuum = np.array(row["continuum"], np.float64)
            continuum = np.where(continuum > 0, continuum, np.nan)
            flux, error = flux / continuum, error / continuum
        unit, normalisation = u.one, "astra"
    apogee = instrument.startswith("APOGEE")
    mask = None
    if apogee and "pixel_flags" in names:
        mask = (np.array(row["pixel_flags"]).astype(np.int64) & BAD_PIXEL) != 0
    return from_file(
        path,
        "SDSS-V astraStar" if "model_flux" in names else "SDSS-V mwmStar",
        wavelength,
        flux * unit,
        error * unit,
        mask,
        name=f"{star} {instrument}",
        medium="vacuum",
        frame="rest",
        resolution=RESOLUTION if apogee else None,
        normalisation=normalisation,
    )
