"""Reading the allStar catalogue, which has one row per star, telescope and field."""

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

#: Always read, whatever the labels are: they define populations such as giants and iron-poor stars.
_PARAMETERS = ("TEFF", "LOGG", "FE_H")

#: Read if the catalogue has them.
_OPTIONAL = ("VHELIO_AVG", "NVISITS", "J", "H", "K", "GAIAEDR3_PARALLAX")
_GAIA_ID = "GAIAEDR3_SOURCE_ID"

#: Elements of FPARAM, in order; the arrays of DR13 end after ALPHA_M.
FPARAM = ("TEFF", "LOGG", "LOGVMICRO", "M_H", "C_M", "N_M", "ALPHA_M", "LGVSINI", "O")

_ARRAYS = ("PARAM", "PARAM_COV", "X_H", "X_H_ERR")

#: Index of each quantity in ASPCAP's arrays PARAM and X_H, the same in DR13 to DR17.
_IN_PARAM = {"TEFF": 0, "LOGG": 1}
_IN_X_H = {"C": 0, "N": 2, "O": 3, "MG": 5, "AL": 6, "SI": 7, "S": 9, "K": 10, "CA": 11, "MN": 16}
_IN_X_H |= {"FE": 17, "NI": 19}

logger = logging.getLogger(__name__)


def flag_column(label: str) -> str:
    """Name of the catalogue column that holds the flags of a label."""
    return f"{label}_FLAG"


def fparam_column(parameter: str) -> str:
    """Name of the table column that holds one element of FPARAM."""
    return f"FPARAM_{parameter}"


def read_allstar(path: Path, labels: Labels | None = None) -> pd.DataFrame:
    """Read the columns of allStar that are used to select, describe and label stars.

    If the table has no columns TEFF, LOGG and FE_H, as inside DR13's aspcapStar files, the labels
    are computed from the arrays PARAM and X_H, as the ASPCAP pipeline does.

    Parameters
    ----------
    path : pathlib.Path
    labels : Labels, optional
        Names of the label columns and of their error columns. Default: the paper's five labels.

    Returns
    -------
    pandas.DataFrame
        One line per row of the catalogue, in its order. Columns: ``row`` (counted from 0),
        APOGEE_ID, TELESCOPE, FIELD (stripped text), RA, DEC (degree), SNR, VSCATTER, VHELIO_AVG
        (km/s), STARFLAG, ASPCAPFLAG (int64), TEFF, LOGG, FE_H, J, H, K, NVISITS,
        GAIAEDR3_SOURCE_ID, GAIAEDR3_PARALLAX (mas), FPARAM_TEFF ..., and for each label ``NAME``,
        ``NAME_ERR`` and ``NAME_FLAG``. Optional columns that the catalogue lacks are filled with
        NaN or 0; fill values and negative errors become NaN.

    Raises
    ------
    SpectraFMError
        Names the file and the missing column or the damage.
    """
    labels = labels or Labels()
    for name in (*labels.labels, *labels.error_columns()):
        if name in (*_NAMES, *_FLAGS, *_ARRAYS, "FPARAM"):
            raise SpectraFMError(f"{path}: {name} is no measured quantity, hence no label or error")
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
        columns = read_columns(
            table,
            wanted,
            texts=_NAMES,
            # An unknown flag of a star counts as every flag, so that no cut lets it pass.
            integers=dict.fromkeys(_FLAGS, -1) | dict.fromkeys((_GAIA_ID, *flags), 0),
            vectors=(*_ARRAYS, "FPARAM"),
        )
        lacking = [name for name in optional if name not in present]
        if lacking:
            logger.info("%s: no column %s: filled with NaN or 0", path, ", ".join(lacking))
        made = {"row": np.arange(len(table))}
    made |= {name: columns[name] for name in (*_NAMES, *_MEASURED, *_FLAGS)}
    made |= {name: columns.get(name, _nothing(table)) for name in _OPTIONAL}
    visits = np.nan_to_num(made["NVISITS"], nan=0).clip(0, np.iinfo(np.int32).max // 2)
    made["NVISITS"] = visits.astype(np.int32)
    made |= {name: columns.get(name, np.zeros(len(table), np.int64)) for name in (_GAIA_ID, *flags)}
    made[_GAIA_ID] = made[_GAIA_ID].clip(min=0)
    made |= _fparam(columns.pop("FPARAM", None), table)
    if without:
        made |= _labels_from_arrays(columns, labels, str(path))
    else:
        made |= {name: columns[name] for name in (*_PARAMETERS, *labels.labels)}
        made |= {error_column(name): columns[error] for name, error in errors.items()}
    negative = 0
    for name in map(error_column, labels.labels):
        impossible = made[name] < 0
        negative += int(impossible.sum())
        made[name] = np.where(impossible, np.float32(np.nan), made[name])
    if negative:
        logger.info("%s: %d negative errors of labels taken for unknown", path, negative)
    return pd.DataFrame(made)


def _nothing(table: Catalogue) -> np.ndarray:
    return np.full(len(table), np.nan, np.float32)


def _fparam(values: np.ndarray | None, table: Catalogue) -> dict[str, np.ndarray]:
    """One column for each element of FPARAM; NaN where the catalogue has none."""
    if values is None:
        values = np.empty((len(table), 0), np.float32)
    return {
        fparam_column(name): values[:, number] if number < values.shape[1] else _nothing(table)
        for number, name in enumerate(FPARAM)
    }


def _labels_from_arrays(
    arrays: dict[str, np.ndarray], labels: Labels, path: str
) -> dict[str, np.ndarray]:
    """Compute the label columns from PARAM and X_H, as the ASPCAP pipeline does.

    [X/Fe] = [X/H] - [Fe/H], and its error is that of [X/H].

    Raises
    ------
    SpectraFMError
        Names the label that the arrays do not hold.
    """
    param, x_h, x_h_error = arrays["PARAM"], arrays["X_H"], arrays["X_H_ERR"]
    n = param.shape[1]
    elements = max(_IN_X_H.values()) + 1
    covariance = arrays["PARAM_COV"].reshape(len(param), -1)
    if covariance.shape[1] != n * n or min(x_h.shape[1], x_h_error.shape[1]) < elements:
        raise SpectraFMError(
            f"{path}: the arrays {', '.join(_ARRAYS)} have not the lengths that DR13 to DR17 have"
        )
    variance = covariance.reshape(-1, n, n)
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
