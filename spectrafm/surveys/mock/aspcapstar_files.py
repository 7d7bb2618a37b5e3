"""The FITS files of the mock survey: aspcapStar files and the allStar catalogue, as in DR17."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from astropy.io import fits

from spectrafm.surveys.apogee.grid import (
    CHIP_PIXELS,
    LOG_WAVELENGTH_START,
    LOG_WAVELENGTH_STEP,
    N_GRID,
    WAVELENGTH,
)
from spectrafm.surveys.apogee.simulated import VERSION
from spectrafm.surveys.mock.allstar import COLUMNS, ELEMENT_ORDER, OVER_METALS, PARAMETER_ORDER

# DR17's writer (aspcap.py of sdss/apogee) writes double precision, as real DR17 apStar files have;
# DR13's files are single precision.
_SPECTRUM = np.dtype(">f8")


@functools.cache
def template() -> Template:
    """The template of an aspcapStar file, made once a process: astropy needs 0.1 s for it."""
    return Template()


class Template:
    """An aspcapStar file with the headers that all stars share, to be filled with data."""

    def __init__(self):
        file = io.BytesIO()
        hdus = fits.HDUList([_primary()])
        for _ in ("flux", "error", "best fit"):
            hdus.append(fits.ImageHDU(np.zeros(N_GRID, _SPECTRUM), _spectrum_header()))
        hdus.append(fits.BinTableHDU(np.zeros(1, COLUMNS)))
        hdus.writeto(file)
        self._content = file.getvalue()
        with fits.open(io.BytesIO(self._content)) as read:
            self._data = [hdu.fileinfo()["datLoc"] for hdu in read[1:]]

    def filled(self, flux: np.ndarray, error: np.ndarray, best: np.ndarray, row: np.void) -> bytes:
        """Bytes of one star's file, from its spectra (shape (8575,)) and its row of allStar."""
        content = bytearray(self._content)
        images = (image.astype(_SPECTRUM) for image in (flux, error, best))
        for start, data in zip(self._data, (*images, row), strict=True):
            content[start : start + data.nbytes] = data.tobytes()
        return bytes(content)


def _primary() -> fits.PrimaryHDU:
    header = fits.Header()
    header["VERSION"] = (VERSION, "not observed: computed")
    return fits.PrimaryHDU(header=header)


def _spectrum_header() -> fits.Header:
    header = fits.Header()
    header["CRVAL1"] = LOG_WAVELENGTH_START
    header["CDELT1"] = LOG_WAVELENGTH_STEP
    header["CRPIX1"] = 1
    header["CTYPE1"] = "LOG-LINEAR"
    header["DC-FLAG"] = 1
    return header


def write_allstar(path: Path, table: np.ndarray) -> None:
    """Write allStar: the table, an index by right ascension, names of array elements, fields.

    Parameters
    ----------
    path : pathlib.Path
    table : numpy.ndarray
        Structured array.
        Sorted by right ascension.
    """
    # Row of the first star beyond each degree of right ascension.
    index = np.searchsorted(table["RA"], np.arange(360)).astype(">i4")
    fields = np.unique(table[["TELESCOPE", "FIELD", "LOCATION_ID"]])
    hdus = fits.HDUList(
        [
            _primary(),
            fits.BinTableHDU(table),
            fits.ImageHDU(index),
            fits.BinTableHDU(_array_meanings()),
            fits.BinTableHDU(np.array(fields)),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    hdus.writeto(path)


def _array_meanings() -> np.ndarray:
    """Table of one row that names the elements of the catalogue's array columns."""
    count = len(ELEMENT_ORDER)
    meanings = np.zeros(
        1,
        [
            ("WAVE", ">f4", (CHIP_PIXELS.size,)),
            ("PARAM_SYMBOL", "S16", (len(PARAMETER_ORDER),)),
            ("ELEM_SYMBOL", "S5", (count,)),
            ("ELEMTOH", ">i4", (count,)),
            ("ELEM_VALUE", "S8", (count,)),
        ],
    )
    meanings["WAVE"] = WAVELENGTH
    meanings["PARAM_SYMBOL"] = PARAMETER_ORDER
    meanings["ELEM_SYMBOL"] = ELEMENT_ORDER
    meanings["ELEMTOH"] = [element not in OVER_METALS for element in ELEMENT_ORDER]
    meanings["ELEM_VALUE"] = [
        f"[{element}/{'M' if element in OVER_METALS else 'H'}]" for element in ELEMENT_ORDER
    ]
    return meanings
