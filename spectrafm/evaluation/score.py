"""The command ``score``: scores of any table of predictions, also one made elsewhere."""

from __future__ import annotations

import json as json_format
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.scores import GROUPS, HEADINGS, grouped_scores
from spectrafm.files import read_parquet
from spectrafm.reading import printable, reading

logger = logging.getLogger(__name__)

#: First bytes of the formats that are not CSV, and astropy's name of the format.
_FORMATS = {
    b"PAR1": "parquet",
    b"SIMPLE  =": "fits",
    b"# %ECSV": "ascii.ecsv",
    b"<?xml": "votable",
    b"<VOTABLE": "votable",
}

#: First bytes of the compressed CSV that is read, with pandas' name of the compression.
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}

#: First bytes of archives, which are not opened: they may hold any number of files. Those of a tar
#: file stand at byte 257.
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"PK\x05\x06": "a zip archive"}
_ARCHIVES |= {b"ustar": "a tar archive", b"\x28\xb5\x2f\xfd": "a zstd archive"}


def score(
    table: Path,
    *,
    actual: str,
    predicted: str,
    uncertainty: str | None = None,
    feh: str | None = None,
    json: bool = False,
) -> None:
    """Score any table of predictions: scatter, bias, coverage.

    Parameters
    ----------
    table : pathlib.Path
        CSV, Parquet, ECSV, FITS or VOTable.
    actual : str
        Column with the true values.
    predicted : str
        Column with the predicted values, in the same unit.
    uncertainty : str, optional
        Column with the predicted one-sigma uncertainties.
    feh : str, optional
        Column with the [Fe/H] (dex) that tells iron-rich from iron-poor stars; default: the true
        values, where their column is called FE_H or FE_H_...
    json : bool
        Print JSON instead of a table.

    Raises
    ------
    SpectraFMError
        When the table is missing or unreadable, a column is missing or not numeric, or no row has
        a number in both columns.

    Examples
    --------
    $ spectrafm score mine.csv --actual FE_H_actual --predicted FE_H_predicted \
--uncertainty FE_H_uncertainty
    """
    found = score_table(table, actual, predicted, uncertainty, feh)
    print(json_format.dumps(found, indent=2) if json else format_scores(found))
    counts = ", ".join(f"{values['n']} {group}" for group, values in found.items())
    logger.info("%s: scored %s against %s: %s stars", table, predicted, actual, counts)


def score_table(
    table: Path,
    actual: str,
    predicted: str,
    uncertainty: str | None = None,
    feh: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Score two columns of a table.

    Parameters
    ----------
    table : pathlib.Path
        CSV (compressed or not), Parquet, ECSV, FITS or VOTable; the format is found by content.
    actual, predicted : str
        Column names.
    uncertainty : str, optional
        Column with the predicted one-sigma uncertainty.
    feh : str, optional
        Column with the [Fe/H] that tells iron-rich from iron-poor stars. Default: ``actual``,
        where its name begins with FE_H; else all stars are in neither group.

    Returns
    -------
    dict
        ``{"all": {...}, "rich": {...}, "poor": {...}}``, each as from `scores`.

    Raises
    ------
    SpectraFMError
        When the table is missing or unreadable, a column is missing or not numeric, or no row has
        a number in both columns.
    """
    frame = _read_any(Path(table))
    for column in filter(None, (actual, predicted, uncertainty, feh)):
        if column not in frame:
            present = printable(", ".join(map(str, frame.columns)))
            raise SpectraFMError(f"{table}: no column {column!r}; it has {present}")
    if feh is None and actual.startswith("FE_H"):
        feh = actual
    found = grouped_scores(
        _numbers(frame, actual, table),
        _numbers(frame, predicted, table),
        _numbers(frame, uncertainty, table) if uncertainty else None,
        _numbers(frame, feh, table) if feh else None,
    )
    if not found["all"]["n"]:
        raise SpectraFMError(
            f"{table}: none of its {len(frame)} rows has a number in both {actual!r} and "
            f"{predicted!r}"
        )
    return found


def format_scores(found: dict[str, dict[str, Any]]) -> str:
    """Format the scores of `score_table` as aligned text, one row a group."""
    rows = [["", *HEADINGS.values()]]
    for group, values in found.items():
        rows.append([GROUPS[group], *(_shown(key, values[key]) for key in HEADINGS)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    if found["rich"]["n"] + found["poor"]["n"] == 0 < found["all"]["n"]:
        lines.append("No [Fe/H] to tell rich from poor: name its column with --feh.")
    return "\n".join(lines)


def _read_any(path: Path) -> pd.DataFrame:
    """Read a table in the format that its first bytes indicate, CSV by default."""
    with reading(path, "table"), open(path, "rb") as handle:
        start = handle.read(512)
    for mark, name in _ARCHIVES.items():
        if start.startswith(mark) or start[257:].startswith(mark):
            raise SpectraFMError(f"{path}: not a table but {name}: unpack it first")
    kind = next((name for mark, name in _FORMATS.items() if start.startswith(mark)), "CSV")
    if kind == "parquet":
        return read_parquet(path)
    with reading(path, f"CSV, Parquet, ECSV, FITS or VOTable table; read as {kind}"):
        if kind != "CSV":
            return _read_astropy(path, kind)
        packed = next((name for mark, name in _PACKED.items() if start.startswith(mark)), None)
        try:
            return pd.read_csv(path, compression=packed)
        except pd.errors.EmptyDataError:
            raise SpectraFMError(f"{path}: an empty table") from None


def _read_astropy(path: Path, kind: str) -> pd.DataFrame:
    """Read a table with astropy, without its columns of arrays; masked values are NaN."""
    from astropy.table import Table

    table = Table.read(path, format=kind)
    plain = [name for name in table.colnames if len(table[name].shape) == 1]
    return table[plain].to_pandas()


def _numbers(frame: pd.DataFrame, column: str, table: Path) -> np.ndarray:
    """Convert a column to float64, empty cells to NaN."""
    numbers = pd.to_numeric(frame[column], errors="coerce")
    wrong = numbers.isna() & frame[column].notna()
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise SpectraFMError(
            f"{table}: column {column!r} is not numeric: "
            f"data row {row + 1} holds {printable(str(frame[column].iloc[row]))!r}"
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _shown(key: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    if key == "n":
        return f"{value:,}"
    return f"{value:.2f}" if key.startswith("coverage") else f"{value:#.4g}"
