"""The allStar catalogue: one row per star, telescope and field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits

from spectrafm.apogee.fits import opened_fits
from spectrafm.files import SpectraFMError
from spectrafm.labels import LABELS, error_column

#: Older releases fill unknown values with -9999 or -9999.99; DR17 uses NaN.
FILL = -9000.0

_NAMES = ("APOGEE_ID", "TELESCOPE", "FIELD")
_MEASURED = ("RA", "DEC", "SNR", "VSCATTER")
_FLAGS = ("STARFLAG", "ASPCAPFLAG")
_LABEL_COLUMNS = (*LABELS, *map(error_column, LABELS))

#: Where ASPCAP's arrays hold what the label columns are made of, in DR13 to DR17 alike: elements
#: of PARAM (effective temperature, gravity) and of X_H (oxygen, magnesium, iron).
_TEFF, _LOGG = 0, 1
_O, _MG, _FE = 3, 5, 17


def read_allstar(path: Path) -> pd.DataFrame:
    """Read the columns of allStar that select, describe and label stars.

    The label columns (TEFF, LOGG, O_FE, MG_FE, FE_H and their ``_ERR``) exist since DR13. A table
    that has none of the ten, such as the one inside DR13's aspcapStar files, gets them from its
    arrays PARAM and X_H, as the pipeline does.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    pandas.DataFrame
        One line per row of the catalogue, in its order. Columns: ``row`` (counted from 0),
        APOGEE_ID, TELESCOPE, FIELD (stripped text), RA, DEC (degree), SNR, VSCATTER (km/s),
        STARFLAG, ASPCAPFLAG (int64), the five labels and their errors (float32). Fill values are
        NaN.

    Raises
    ------
    SpectraFMError
        Naming the file and the column that is missing, or the damage.
    """
    with opened_fits(Path(path), str(path)) as hdus:
        if len(hdus) < 2 or hdus[1].is_image:
            raise SpectraFMError(f"{path}: HDU1 is not a table")
        table = hdus[1].data
        present = set(table.names)
        from_arrays = present.isdisjoint(_LABEL_COLUMNS) and "PARAM" in present
        needed = ("PARAM", "PARAM_COV", "X_H", "X_H_ERR") if from_arrays else _LABEL_COLUMNS
        missing = [c for c in (*_NAMES, *_MEASURED, *_FLAGS, *needed) if c not in present]
        if missing:
            raise SpectraFMError(f"{path}: no column {', '.join(missing)}")
        columns = {"row": np.arange(len(table))}
        columns |= {name: _text(table, name) for name in _NAMES}
        columns |= {name: _measured(table[name]) for name in _MEASURED}
        columns |= {name: _flags(table[name]) for name in _FLAGS}
        columns |= (
            _labels_from_arrays(table)
            if from_arrays
            else {name: _measured(table[name]) for name in _LABEL_COLUMNS}
        )
    return pd.DataFrame(columns)


def _text(table: fits.FITS_rec, name: str) -> np.ndarray:
    return np.char.strip(np.asarray(table[name]).astype(str))


def _measured(values: np.ndarray) -> np.ndarray:
    """Values in native byte order, fills as NaN."""
    values = values.astype(values.dtype.newbyteorder("="))
    return np.where(values <= FILL, values.dtype.type(np.nan), values)


def _flags(values: np.ndarray) -> np.ndarray:
    """Bits as int64; the sign of a 32-bit integer is its bit 31, not a sign."""
    unsigned = values.astype(np.uint32) if values.dtype.itemsize == 4 else values
    return unsigned.astype(np.int64)


def _labels_from_arrays(table: fits.FITS_rec) -> dict[str, np.ndarray]:
    """The label columns as the pipeline makes them of PARAM and X_H.

    [X/Fe] = [X/H] - [Fe/H], and its error is that of [X/H].
    """
    param, x_h, x_h_error = (_measured(table[name]) for name in ("PARAM", "X_H", "X_H_ERR"))
    n = param.shape[1]
    variance = _measured(table["PARAM_COV"]).reshape(-1, n, n)
    variance = np.where(variance > 0, variance, np.float32(np.nan))
    return {
        "TEFF": param[:, _TEFF],
        "LOGG": param[:, _LOGG],
        "O_FE": x_h[:, _O] - x_h[:, _FE],
        "MG_FE": x_h[:, _MG] - x_h[:, _FE],
        "FE_H": x_h[:, _FE],
        "TEFF_ERR": np.sqrt(variance[:, _TEFF, _TEFF]),
        "LOGG_ERR": np.sqrt(variance[:, _LOGG, _LOGG]),
        "O_FE_ERR": x_h_error[:, _O],
        "MG_FE_ERR": x_h_error[:, _MG],
        "FE_H_ERR": x_h_error[:, _FE],
    }
