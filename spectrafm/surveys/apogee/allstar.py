"""The allStar catalogue: one row per star, telescope and field."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.archive.fits import Catalogue, opened_catalogue, read_columns
from spectrafm.errors import SpectraFMError
from spectrafm.labels import Labels, error_column

_NAMES = ("APOGEE_ID", "TELESCOPE", "FIELD")
_MEASURED = ("RA", "DEC", "SNR", "VSCATTER")
_FLAGS = ("STARFLAG", "ASPCAPFLAG")

#: Always read: populations of stars are told by them, whatever the labels are.
_PARAMETERS = ("TEFF", "LOGG", "FE_H")

#: Read where the catalogue has them.
_OPTIONAL = ("VHELIO_AVG", "NVISITS", "J", "H", "K", "GAIAEDR3_PARALLAX")
_GAIA_ID = "GAIAEDR3_SOURCE_ID"

#: What FPARAM holds, in this order; the arrays of DR13 end after ALPHA_M.
FPARAM = ("TEFF", "LOGG", "LOGVMICRO", "M_H", "C_M", "N_M", "ALPHA_M", "LGVSINI", "O")

_ARRAYS = ("PARAM", "PARAM_COV", "X_H", "X_H_ERR")

#: Where ASPCAP's arrays hold what the label columns are made of, in DR13 to DR17 alike: elements
#: of PARAM and of X_H.
_IN_PARAM = {"TEFF": 0, "LOGG": 1}
_IN_X_H = {"C": 0, "N": 2, "O": 3, "MG": 5, "AL": 6, "SI": 7, "S": 9, "K": 10, "CA": 11, "MN": 16}
_IN_X_H |= {"FE": 17, "NI": 19}

logger = logging.getLogger(__name__)


def flag_column(label: str) -> str:
    """Name of the catalogue's column with the flags of a label."""
    return f"{label}_FLAG"


def fparam_column(parameter: str) -> str:
    """Name of a table's column with one element of FPARAM."""
    return f"FPARAM_{parameter}"


def read_allstar(path: Path, labels: Labels | None = None) -> pd.DataFrame:
    """Read the columns of allStar that select, describe and label stars.

    A table without TEFF, LOGG and FE_H, such as the one inside DR13's aspcapStar files, gets its
    labels from the arrays PARAM and X_H, as the pipeline makes them.

    Parameters
    ----------
    path : pathlib.Path
    labels : Labels, optional
        Which columns are labels, and which their errors. Default: the paper's five.

    Returns
    -------
    pandas.DataFrame
        One line per row of the catalogue, in its order. Columns: ``row`` (counted from 0),
        APOGEE_ID, TELESCOPE, FIELD (stripped text), RA, DEC (degree), SNR, VSCATTER, VHELIO_AVG
        (km/s), STARFLAG, ASPCAPFLAG (int64), TEFF, LOGG, FE_H, J, H, K, NVISITS,
        GAIAEDR3_SOURCE_ID, GAIAEDR3_PARALLAX (mas), FPARAM_TEFF ..., and of each label ``NAME``,
        ``NAME_ERR`` and ``NAME_FLAG``. What the catalogue lacks of the optional ones is NaN or 0;
        fill values and negative errors are NaN.

    Raises
    ------
    SpectraFMError
        Naming the file and the column that is missing, or the damage.
    """
    labels = labels or Labels()
    with opened_catalogue(Path(path), str(path)) as table:
        without = set(table.names).isdisjoint(_PARAMETERS) and "PARAM" in table.names
        errors = dict(zip(labels.labels, labels.error_columns(), strict=True))
        if without:
            made_of: tuple[str, ...] = _ARRAYS
        else:
            made_of = (*_PARAMETERS, *labels.labels, *errors.values())
        flags = [flag_column(name) for name in labels.labels]
        optional = (*_OPTIONAL, _GAIA_ID, *flags, "FPARAM")
        present = [name for name in optional if name in table.names]
        wanted = dict.fromkeys((*_NAMES, *_MEASURED, *_FLAGS, *made_of, *present))
        columns = read_columns(table, wanted, {*_FLAGS, _GAIA_ID, *flags})
        lacking = [name for name in optional if name not in present]
        if lacking:
            logger.info("%s: no column %s: left empty", path, ", ".join(lacking))
        made = {"row": np.arange(len(table))}
    made |= {name: columns[name] for name in (*_NAMES, *_MEASURED, *_FLAGS)}
    made |= {name: columns.get(name, _nothing(table)) for name in _OPTIONAL}
    made["NVISITS"] = np.nan_to_num(made["NVISITS"], nan=0).astype(np.int32)
    made |= {name: columns.get(name, np.zeros(len(table), np.int64)) for name in (_GAIA_ID, *flags)}
    made[_GAIA_ID] = made[_GAIA_ID].clip(min=0)
    made |= _fparam(columns.pop("FPARAM", None), table)
    if without:
        made |= _labels_from_arrays(columns, labels, str(path))
    else:
        made |= {name: columns[name] for name in (*_PARAMETERS, *labels.labels)}
        made |= {error_column(name): columns[error] for name, error in errors.items()}
    for name in map(error_column, labels.labels):
        # Besides -9999, DR16 fills errors with -999.99.
        made[name] = np.where(made[name] < 0, np.float32(np.nan), made[name])
    return pd.DataFrame(made)


def _nothing(table: Catalogue) -> np.ndarray:
    return np.full(len(table), np.nan, np.float32)


def _fparam(values: np.ndarray | None, table: Catalogue) -> dict[str, np.ndarray]:
    """A column for each element of FPARAM."""
    if values is None:
        values = np.empty((len(table), 0), np.float32)
    return {
        fparam_column(name): values[:, number] if number < values.shape[1] else _nothing(table)
        for number, name in enumerate(FPARAM)
    }


def _labels_from_arrays(
    arrays: dict[str, np.ndarray], labels: Labels, path: str
) -> dict[str, np.ndarray]:
    """The label columns as the pipeline makes them of PARAM and X_H.

    [X/Fe] = [X/H] - [Fe/H], and its error is that of [X/H].

    Raises
    ------
    SpectraFMError
        Naming the label that the arrays do not hold.
    """
    param, x_h, x_h_error = arrays["PARAM"], arrays["X_H"], arrays["X_H_ERR"]
    n = param.shape[1]
    variance = arrays["PARAM_COV"].reshape(-1, n, n)
    variance = np.where(variance > 0, variance, np.float32(np.nan))
    iron = x_h[:, _IN_X_H["FE"]]
    made = {}
    for name in dict.fromkeys((*_PARAMETERS, *labels.labels)):
        element, _, over = name.partition("_")
        if name in _IN_PARAM:
            place = _IN_PARAM[name]
            value, error = param[:, place], np.sqrt(variance[:, place, place])
        elif name == "FE_H" or (over == "FE" and element in _IN_X_H):
            place = _IN_X_H[element]
            value = iron if name == "FE_H" else x_h[:, place] - iron
            error = x_h_error[:, place]
        else:
            raise SpectraFMError(f"{path}: no column {name}, and PARAM and X_H do not hold it")
        made[name] = value
        if name in labels.labels:
            made[error_column(name)] = error
    return made
