"""Reading an aspcapStar file: one star's observed spectrum, its error and ASPCAP's best fit.

HDU1 is the pseudo-continuum normalised flux, HDU2 its one-sigma error, HDU3 the best-fit model,
each on the 8575-pixel grid (vacuum, rest frame); HDU4 is the star's one-row table. Source: SDSS
data model, https://data.sdss.org/datamodel (aspcapStar), and the DR17 pipeline's writer.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.surveys.apogee.grid import (
    CHIP_PIXELS,
    LOG_WAVELENGTH_START,
    LOG_WAVELENGTH_STEP,
    N_GRID,
)
from spectrafm.surveys.apogee.simulated import says_so

#: Errors at or above this mark a pixel as unusable (the pipeline writes 1e10).
HUGE_ERROR = 1e9

#: Bytes per element of a column of a FITS binary table, by TFORM letter (table 18 of the FITS
#: standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html).
_ELEMENT_BYTES = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16}


@dataclass(frozen=True)
class AspcapStar:
    """The unmasked spectra of one aspcapStar file, on the chip pixels.

    Attributes
    ----------
    observed, observed_error, synthetic : numpy.ndarray
        float32, shape (7514,): normalised flux, its one-sigma error, ASPCAP's best fit.
    apogee_id : str
        Identifier of the star, from the table in the file.
    simulated : bool
        Whether the file is of the mock survey.
    """

    observed: np.ndarray
    observed_error: np.ndarray
    synthetic: np.ndarray
    apogee_id: str
    simulated: bool = False

    @property
    def mask(self) -> np.ndarray:
        """Whether each pixel of the observed spectrum is bad: bool, shape (7514,).

        A pixel is bad if its flux is not finite, or its error is not finite, not positive or at
        least `HUGE_ERROR`.
        """
        flux, error = self.observed, self.observed_error
        return ~(np.isfinite(flux) & np.isfinite(error) & (error > 0) & (error < HUGE_ERROR))


def read_aspcapstar(content: bytes, name: str, apogee_id: str | None = None) -> AspcapStar:
    """Read the bytes of an aspcapStar file.

    Parameters
    ----------
    content : bytes
        Content of the file.
    name : str
        Name of the file in error messages.
    apogee_id : str, optional
        Identifier of the star that the file must belong to. Default: any star.

    Returns
    -------
    AspcapStar

    Raises
    ------
    SpectraFMError
        Names the file and the fault: truncated, an HDU missing, a wrong wavelength grid, a wrong
        type of values or another star.
    """
    with opened_fits(io.BytesIO(content), name) as hdus:
        count = _count_hdus(hdus, len(content), name)
        if count < 5:
            # A file truncated before its table still has three whole spectra.
            raise SpectraFMError(f"{name}: {count} HDUs, expected at least 5")
        observed, error, synthetic = (_spectrum(hdus[number], number, name) for number in (1, 2, 3))
        found = _apogee_id(hdus[4], content, name)
        simulated = says_so(hdus[0].header)
    if apogee_id is not None and found != apogee_id:
        raise SpectraFMError(f"{name}: HDU4 is of {found!r}, not of {apogee_id!r}")
    return AspcapStar(observed, error, synthetic, found, simulated)


def _count_hdus(hdus: fits.HDUList, size: int, name: str) -> int:
    """Count the HDUs, and check that each begins where the previous one ends.

    astropy mistakes a truncated header for the end of the file, and never returns if a damaged
    header makes the length of an HDU negative.
    """
    count = end = 0
    while end < size:
        place = hdus[count].fileinfo() if has_hdu(hdus, count) else None
        start = end
        end = place["datLoc"] + place["datSpan"] if place else 0
        if end <= start or place["hdrLoc"] != start:
            raise SpectraFMError(f"{name}: not a whole FITS file (broken after {count} HDUs)")
        count += 1
    return count


def _spectrum(hdu, number: int, name: str) -> np.ndarray:
    """The chip pixels of one image HDU, after checking that it is on APOGEE's grid."""
    where = f"{name}: HDU{number}"
    shape = hdu.shape if hdu.is_image else None
    if shape != (N_GRID,):
        raise SpectraFMError(f"{where} has shape {shape}, expected ({N_GRID},)")
    for key, expected in (("CRVAL1", LOG_WAVELENGTH_START), ("CDELT1", LOG_WAVELENGTH_STEP)):
        found = hdu.header.get(key)
        if not (isinstance(found, float) and abs(found / expected - 1) < 1e-8):
            raise SpectraFMError(f"{where} has {key} = {found}, expected {expected}")
    if hdu.data.dtype.kind != "f":
        raise SpectraFMError(f"{where} holds {hdu.data.dtype.name}, expected floats")
    with np.errstate(over="ignore"):
        return hdu.data[CHIP_PIXELS].astype(np.float32)


def _apogee_id(hdu, content: bytes, name: str) -> str:
    """APOGEE_ID of the one-row table, parsed from the bytes of the file.

    astropy is not used because it needs ten times longer to describe the 234 columns of DR17's
    table than to read the three spectra.
    """
    header, offset = hdu.header, hdu.fileinfo()["datLoc"]
    for number in range(1, header.get("TFIELDS", 0) + 1):
        repeat, letter = re.match(r"(\d*)([A-Z])", header[f"TFORM{number}"].strip()).groups()
        width = int(repeat or 1) * _ELEMENT_BYTES[letter]
        if header[f"TTYPE{number}"].strip() == "APOGEE_ID":
            return content[offset : offset + width].rstrip(b"\0 ").decode("ascii").strip()
        offset += width
    raise SpectraFMError(f"{name}: HDU4 has no column APOGEE_ID")


def usable_spectra(content: bytes, name: str, apogee_id: str) -> AspcapStar:
    """Read an aspcapStar file, and refuse spectra that hold no information.

    Raises
    ------
    SpectraFMError
        As `read_aspcapstar`; also if the observed spectrum is all zeros, the synthetic one is all
        ones (ASPCAP's placeholder), or no pixel is good. The paper also leaves out spectra of
        zeros and placeholders.
    """
    star = read_aspcapstar(content, name, apogee_id)
    if not star.observed.any():
        raise SpectraFMError(f"{name}: all-zero spectrum")
    if (star.synthetic == 1).all():
        raise SpectraFMError(f"{name}: synthetic spectrum of ones")
    if star.mask.all():
        raise SpectraFMError(f"{name}: no good pixel (observed)")
    if not np.isfinite(star.synthetic).any():
        raise SpectraFMError(f"{name}: no good pixel (synthetic)")
    return star
