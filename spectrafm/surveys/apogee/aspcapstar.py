"""What an aspcapStar file holds: one star's observed spectrum, its error, ASPCAP's best fit.

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

#: Errors at or above this mark a pixel as unusable (the pipeline writes 1e10).
HUGE_ERROR = 1e9

#: Bytes of one element of a FITS binary table column, by its TFORM letter (FITS standard 4.0,
#: table 18).
_ELEMENT_BYTES = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16}


@dataclass(frozen=True)
class AspcapStar:
    """The spectra of one aspcapStar file on the chip pixels, as they are in the file.

    Attributes
    ----------
    observed, observed_error, synthetic : numpy.ndarray
        float32, shape ``(7514,)``: normalised flux, its one-sigma error, ASPCAP's best fit.
    apogee_id : str
        The star the file says it belongs to.
    """

    observed: np.ndarray
    observed_error: np.ndarray
    synthetic: np.ndarray
    apogee_id: str

    @property
    def mask(self) -> np.ndarray:
        """Whether each pixel of the observed spectrum is bad, so that nothing is known of it.

        That is where the flux is not finite, or its error is not finite, not positive or huge.
        """
        flux, error = self.observed, self.observed_error
        return ~(np.isfinite(flux) & np.isfinite(error) & (error > 0) & (error < HUGE_ERROR))


def read_aspcapstar(content: bytes, name: str, apogee_id: str | None = None) -> AspcapStar:
    """Read the bytes of an aspcapStar file.

    Parameters
    ----------
    content : bytes
    name : str
        How the file is called in error messages.
    apogee_id : str, optional
        The star that the file shall be of.

    Returns
    -------
    AspcapStar
        As in the file.

    Raises
    ------
    SpectraFMError
        Naming the file and what is wrong: truncated, an HDU missing, another grid, another
        type of values, another star.
    """
    with opened_fits(io.BytesIO(content), name) as hdus:
        count = _count_hdus(hdus, len(content), name)
        if count < 5:
            # Cut where its table begins, a file still has three whole spectra.
            raise SpectraFMError(f"{name}: {count} HDUs, expected at least 5")
        observed, error, synthetic = (_spectrum(hdus[number], number, name) for number in (1, 2, 3))
        found = _apogee_id(hdus[4], content, name)
    if apogee_id is not None and found != apogee_id:
        raise SpectraFMError(f"{name}: HDU4 is of {found!r}, not of {apogee_id!r}")
    return AspcapStar(observed, error, synthetic, found)


def _count_hdus(hdus: fits.HDUList, size: int, name: str) -> int:
    """Count the HDUs, each of which must begin where the one before it ends.

    astropy takes a header that is cut short for the end of the file; and where a damaged header
    makes the length of an HDU negative, it reads backwards and never ends.
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
    """The chip pixels of one image, after checking that it lies on APOGEE's grid."""
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
    """APOGEE_ID of the one-row table, taken from its bytes.

    DR17's table has 234 columns, and astropy takes ten times longer to describe them all than
    to read the three spectra.
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
    """Read a file; refuse a star that has nothing to show.

    Raises
    ------
    SpectraFMError
        As `read_aspcapstar`; also for an observed spectrum of zeros, a synthetic one of ones
        (ASPCAP wrote a placeholder; the paper leaves both kinds out), or no good pixel.
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
