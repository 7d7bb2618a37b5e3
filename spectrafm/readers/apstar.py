"""APOGEE apStar and asStar: the sum of a star's visits in physical units, in vacuum and at rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u

from spectrafm.archive.fits import opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.readers.making import SDSS_FLUX, from_file
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, GRID_WAVELENGTH, N_GRID, RESOLUTION

#: Bits of the pixel mask that mean a bad pixel (APOGEE_PIXMASK 0 to 7 and 14).
BAD_PIXEL = sum(1 << bit for bit in (0, 1, 2, 3, 4, 5, 6, 7, 14))


def recognises(file: Peek) -> bool:
    """Images of flux, error and bit mask on the APOGEE grid."""
    flux, error, mask = (file.header(number) for number in (1, 2, 3))
    return (
        flux.get("NAXIS1") == error.get("NAXIS1") == mask.get("NAXIS1") == N_GRID
        and str(flux.get("BUNIT", "")).startswith("Flux")
        and str(error.get("BUNIT", "")).startswith("Err")
    )


def read(path: Path) -> Spectra:
    """Read the combined spectrum, on the pixels of the detectors."""
    with opened_fits(path, str(path)) as hdus:
        # The first row is the combination of all visits; a single visit may have one row only.
        flux, error, mask = (np.atleast_2d(hdus[number].data)[0] for number in (1, 2, 3))
        arrays = [np.array(values[CHIP_PIXELS]) for values in (flux, error, mask)]
        name = str(hdus[0].header.get("OBJID") or path.name)
    if arrays[2].dtype.kind not in "iu":
        raise SpectraFMError(f"{path}: HDU3 holds {arrays[2].dtype.name}, expected bits")
    return Spectra.of(
        [
            from_file(
                path,
                "APOGEE apStar",
                GRID_WAVELENGTH[CHIP_PIXELS] * u.AA,
                arrays[0] * SDSS_FLUX,
                arrays[1] * SDSS_FLUX,
                (arrays[2] & BAD_PIXEL) != 0,
                name=name,
                medium="vacuum",
                frame="rest",
                resolution=RESOLUTION,
            )
        ]
    )
