"""The allStar catalogue: one row per star, telescope and field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.archive.fits import opened_catalogue, read_columns
from spectrafm.labels import LABELS, error_column

_NAMES = ("APOGEE_ID", "TELESCOPE", "FIELD")
_MEASURED = ("RA", "DEC", "SNR", "VSCATTER")
_FLAGS = ("STARFLAG", "ASPCAPFLAG")
_LABEL_COLUMNS = (*LABELS, *map(error_column, LABELS))

_ARRAYS = ("PARAM", "PARAM_COV", "X_H", "X_H_ERR")

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
    with opened_catalogue(Path(path), str(path)) as table:
        without = set(table.names).isdisjoint(_LABEL_COLUMNS) and "PARAM" in table.names
        made_of = _ARRAYS if without else _LABEL_COLUMNS
        columns = read_columns(table, (*_NAMES, *_MEASURED, *_FLAGS, *made_of))
    if without:
        columns |= _labels_from_arrays({name: columns.pop(name) for name in _ARRAYS})
    columns = {"row": np.arange(len(columns["APOGEE_ID"]))} | columns
    return pd.DataFrame(columns)


def _labels_from_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The label columns as the pipeline makes them of PARAM and X_H.

    [X/Fe] = [X/H] - [Fe/H], and its error is that of [X/H].
    """
    param, x_h, x_h_error = arrays["PARAM"], arrays["X_H"], arrays["X_H_ERR"]
    n = param.shape[1]
    variance = arrays["PARAM_COV"].reshape(-1, n, n)
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
