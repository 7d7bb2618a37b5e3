"""LAMOST spectra: low resolution (LRS, two layouts) and medium resolution (MRS).

LRS up to DR7 is one image whose rows are flux, inverse variance, wavelength, and-mask and or-mask;
later LRS and all MRS have tables of the same. Wavelengths are in vacuum and heliocentric. Source:
https://www.lamost.org/dr7/v2.0/doc.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.readers.making import error_of, from_file, log_wavelength, velocity_of
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import Spectrum, join_arms

#: Resolving powers (at 5500 Angstrom; of both arms).
LRS_RESOLUTION, MRS_RESOLUTION = 1800.0, 7500.0

#: Names of the tables with the sum of all exposures.
LRS, MRS = ("COADD",), ("COADD_B", "COADD_R")


def recognises(file: Peek) -> bool:
    """The telescope's name, and a layout of LRS or MRS."""
    header = file.header(0)
    if "LAMOST" not in str(header.get("TELESCOP", "")).upper():
        return False
    tables = set(file.names()) & {*LRS, *MRS}
    return bool(tables) or (header.get("NAXIS") == 2 and "COEFF0" in header)


def read(path: Path) -> Spectra:
    """Read the sum of all exposures; the arms of MRS are joined."""
    with opened_fits(path, str(path)) as hdus:
        header = hdus[0].header
        if header.get("NAXIS") == 2:
            rows = np.array(hdus[0].data, np.float64)
            if len(rows) < 5:
                raise SpectraFMError(f"{path}: {len(rows)} rows, expected 5")
            wavelength = log_wavelength(
                header.get("COEFF0"), header.get("COEFF1"), rows.shape[1], path
            )
            one = _spectrum(path, header, wavelength, rows[0], rows[1], rows[3], LRS_RESOLUTION)
            return Spectra.of([one])
        arms = []
        for number in range(1, 64):
            if not has_hdu(hdus, number):
                break
            name = str(hdus[number].name).upper()
            if name in (*LRS, *MRS):
                power = LRS_RESOLUTION if name in LRS else MRS_RESOLUTION
                arms.append(_arm(path, header, hdus[number].data, power))
    if not arms:
        raise SpectraFMError(f"{path}: no sum of exposures (COADD, COADD_B, COADD_R)")
    return Spectra.of([join_arms(arms)])


def _arm(path: Path, header: Mapping[str, Any], table, power: float) -> Spectrum:
    """One table: a row for each pixel, or one row of arrays."""
    columns = {name.upper(): name for name in table.names}

    def column(*names: str) -> np.ndarray | None:
        for name in names:
            if name in columns:
                return np.array(table[columns[name]], np.float64).ravel()
        return None

    flux, variance = column("FLUX"), column("IVAR")
    wavelength, logarithm = column("WAVELENGTH"), column("LOGLAM")
    if flux is None or variance is None or (wavelength is None and logarithm is None):
        raise SpectraFMError(f"{path}: a table without FLUX, IVAR and WAVELENGTH or LOGLAM")
    if wavelength is None:
        wavelength = 10.0**logarithm
    bad = column("ANDMASK", "PIXMASK")
    return _spectrum(path, header, wavelength * u.AA, flux, variance, bad, power)


def _spectrum(
    path: Path,
    header: Mapping[str, Any],
    wavelength: u.Quantity,
    flux: np.ndarray,
    variance: np.ndarray,
    bad: np.ndarray | None,
    power: float,
) -> Spectrum:
    return from_file(
        path,
        "LAMOST LRS" if power == LRS_RESOLUTION else "LAMOST MRS",
        wavelength,
        flux * u.ct,
        error_of(variance) * u.ct,
        None if bad is None else bad != 0,
        name=str(header.get("DESIG") or path.name).strip(),
        medium="vacuum" if header.get("VACUUM", True) else "air",
        frame="barycentric" if header.get("HELIO", True) else None,
        resolution=power,
        provenance={"radial_velocity": velocity_of(header.get("Z"))},
    )
