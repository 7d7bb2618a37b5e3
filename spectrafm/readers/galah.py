"""GALAH HERMES spectra (DR2 and DR3): one file for each of four arms, in air.

HDU0 is the flux with the sky subtracted, HDU1 its relative error, HDU4 the normalised flux, whose
wavelengths are at rest. Source: https://docs.datacentral.org.au/galah/dr3/galah-dr3-spectra.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.readers.making import from_file, number_in
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra

#: Resolving power of HERMES.
RESOLUTION = 28000.0


def recognises(file: Peek) -> bool:
    """The instrument's name, and a linear grid of wavelengths in the primary header."""
    header = file.header(0)
    instrument = str(header.get("INSTRUME", "")).upper()
    return "HERMES" in instrument and {"CRVAL1", "CDELT1"} <= set(header)


def read(path: Path) -> Spectra:
    """Read the normalised flux of one arm, or the flux as observed if there is no other."""
    with opened_fits(path, str(path)) as hdus:
        relative = np.array(hdus[1].data, np.float64) if has_hdu(hdus, 1) else None
        normalised = has_hdu(hdus, 4) and hdus[4].data is not None
        hdu = hdus[4] if normalised else hdus[0]
        flux = np.array(hdu.data, np.float64)
        wavelength = _grid(hdu.header, len(flux), path)
        star = str(hdus[0].header.get("OBJECT") or path.stem).strip()
    unit = u.one if normalised else u.ct
    error = None
    if relative is not None and relative.shape == flux.shape:
        error = np.abs(relative * flux) * unit
    # The last digit of the file's name is the arm, the rest is the observation.
    whole = path.stem[:-1] if path.stem.isdigit() and path.stem[-1] in "1234" else None
    return Spectra.of(
        [
            from_file(
                path,
                "GALAH HERMES",
                wavelength * u.AA,
                flux * unit,
                error,
                name=whole or star,
                medium="air",
                frame="rest" if normalised else None,
                resolution=RESOLUTION,
                normalisation="galah" if normalised else None,
                provenance={"arm_of": whole, "object": star},
            )
        ]
    )


def _grid(header: fits.Header, pixels: int, path: Path) -> np.ndarray:
    start, step = number_in(header, "CRVAL1"), number_in(header, "CDELT1")
    reference = number_in(header, "CRPIX1") or 1.0
    if start is None or step is None or not step > 0:
        raise SpectraFMError(f"{path}: no linear wavelength grid (CRVAL1 {start}, CDELT1 {step})")
    return start + step * (np.arange(pixels) + 1 - reference)
