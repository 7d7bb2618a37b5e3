"""SDSS and BOSS spectra (spec-PLATE-MJD-FIBER.fits): in vacuum and heliocentric.

HDU1 (COADD) has a row for each pixel: flux in 1e-17 erg/s/cm2/A, log10 of wavelength and inverse
variance, which is zero for bad pixels. Source: https://data.sdss.org/datamodel (spec).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.readers.making import SDSS_FLUX, error_of, from_file, velocity_of
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra

#: Width of a pixel in ln(wavelength), and FWHM over standard deviation of a Gaussian.
PIXEL, FWHM = 1e-4 * np.log(10), 2.3548


def recognises(file: Peek) -> bool:
    """A table of flux, logarithm of wavelength and inverse variance."""
    columns = file.columns(1)
    return {"flux", "loglam", "ivar"} <= columns and "LAMOST" not in str(
        file.header(0).get("TELESCOP", "")
    )


def read(path: Path) -> Spectra:
    """Read the sum of all exposures."""
    with opened_fits(path, str(path)) as hdus:
        header = hdus[0].header
        columns = {name.lower(): name for name in hdus[1].data.names}
        wanted = ("flux", "loglam", "ivar", "wdisp")
        flux, logarithm, variance, width = (
            np.array(hdus[1].data[columns[name]], np.float64) if name in columns else None
            for name in wanted
        )
        redshift = _redshift(hdus)
        names = [header.get(key) for key in ("PLATEID", "MJD", "FIBERID")]
    if width is not None:
        width = width[width > 0]
    resolution = None
    if width is not None and width.size:
        resolution = 1 / (FWHM * PIXEL * float(np.median(width)))
    whole = all(isinstance(part, int) for part in names)
    return Spectra.of(
        [
            from_file(
                path,
                "SDSS/BOSS spec",
                10.0**logarithm * u.AA,
                flux * SDSS_FLUX,
                error_of(variance) * SDSS_FLUX,
                name="{}-{}-{:04d}".format(*names) if whole else path.name,
                medium="vacuum" if header.get("VACUUM", True) else "air",
                frame="barycentric",
                resolution=resolution,
                provenance={"radial_velocity": velocity_of(redshift)},
            )
        ]
    )


def _redshift(hdus) -> float | None:
    """Redshift of the pipeline, if it calls the object a star."""
    if not has_hdu(hdus, 2) or hdus[2].is_image:
        return None
    names = {name.upper() for name in hdus[2].data.names}
    if not {"Z", "CLASS"} <= names or str(hdus[2].data["CLASS"][0]).strip() != "STAR":
        return None
    return float(hdus[2].data["Z"][0])
