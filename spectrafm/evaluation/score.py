"""Scoring any table of predictions: two columns of a CSV or Parquet file from anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.scores import GROUPS, HEADINGS, grouped_scores
from spectrafm.files import read_parquet

_IRON_COLUMN = re.compile(r"fe_?h(?![a-z])|\[fe/h\]|metallicity", re.IGNORECASE)
_OTHER_LABEL = re.compile(
    r"t_?eff|log_?g|(?:^|[^a-z])(?:[a-z]{1,2}|alpha)[_/]fe(?![a-z])", re.IGNORECASE
)


def score(
    table: Path,
    *,
    actual: str,
    predicted: str,
    uncertainty: str | None = None,
    feh: str | None = None,
    json: bool = False,
) -> str:
    """Score any table of predictions.

    Parameters
    ----------
    table : pathlib.Path
        CSV or Parquet file.
    actual, predicted : str
        Names of the columns with the true and with the predicted values.
    uncertainty : str, optional
        Column with the predicted one-sigma uncertainty.
    feh : str, optional
        Column with the [Fe/H], dex, that makes a star iron-rich or iron-poor.
    json : bool
        Print JSON.

    Examples
    --------
    $ spectrafm score mine.csv --actual=FE_H --predicted=FE_H_net
    """
    found = score_table(table, actual, predicted, uncertainty, feh)
    return dumps(found, indent=2) if json else format_scores(found)


def score_table(
    table: Path,
    actual: str,
    predicted: str,
    uncertainty: str | None = None,
    feh: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Score two columns of a CSV or Parquet file from anywhere.

    Parameters
    ----------
    table : path
        CSV (compressed or not) or Parquet, told apart by content.
    actual, predicted : str
        Column names.
    uncertainty : str, optional
        Column with the predicted one-sigma uncertainty.
    feh : str, optional
        Column with the [Fe/H] that makes a star iron-rich or iron-poor; see `iron_column` for
        what is taken when it is not given.

    Returns
    -------
    dict
        ``{"all": {...}, "rich": {...}, "poor": {...}}``, each as from `scores`.

    Raises
    ------
    SpectraFMError
        For a missing or unreadable table, a missing column, a column that is not numeric.
    """
    frame = _read_any(Path(table))
    for column in filter(None, (actual, predicted, uncertainty, feh)):
        if column not in frame:
            present = ", ".join(map(str, frame.columns))
            raise SpectraFMError(f"{table}: no column {column!r}; it has {present}")
    iron = feh or iron_column(actual, list(frame.columns))
    return grouped_scores(
        _numbers(frame, actual, table),
        _numbers(frame, predicted, table),
        _numbers(frame, uncertainty, table) if uncertainty else None,
        _numbers(frame, iron, table) if iron else None,
    )


def iron_column(actual: str, columns: Sequence[str]) -> str | None:
    """Which column tells iron-rich from iron-poor stars when the user names none.

    The ``actual`` column where its name says [Fe/H]; else ``FE_H_actual`` where the table has
    it; else ``actual`` again, unless its name says that it is another label: a temperature
    compared with -1 would put every star among the iron-rich.
    """
    if _IRON_COLUMN.search(actual):
        return actual
    if "FE_H_actual" in columns:
        return "FE_H_actual"
    return None if _OTHER_LABEL.search(actual) else actual


def format_scores(found: dict[str, dict[str, Any]]) -> str:
    """The scores of `score_table` as aligned text, one row a group."""
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


def _read_any(path: Path) -> pandas.DataFrame:
    """Read a table, Parquet where its first bytes say so, else CSV."""
    try:
        with open(path, "rb") as handle:
            is_parquet = handle.read(4) == b"PAR1"
        return read_parquet(path) if is_parquet else pandas.read_csv(path)
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, pandas.errors.ParserError, EOFError) as error:
        raise SpectraFMError(f"{path}: not a readable CSV or Parquet table ({error})") from None
    except pandas.errors.EmptyDataError:
        raise SpectraFMError(f"{path}: an empty table") from None


def _numbers(frame: pandas.DataFrame, column: str, table: Path) -> np.ndarray:
    """A column as float64, empty cells as NaN."""
    numbers = pandas.to_numeric(frame[column], errors="coerce")
    wrong = numbers.isna() & frame[column].notna()
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise SpectraFMError(
            f"{table}: column {column!r} is not numeric: "
            f"data row {row + 1} holds {frame[column].iloc[row]!r}"
        )
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _shown(key: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    if key == "n":
        return f"{value:,}"
    return f"{value:.2f}" if key.startswith("coverage") else f"{value:#.4g}"
