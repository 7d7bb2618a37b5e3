"""How well predicted labels agree with the catalogue's: scatter, bias, honesty of uncertainties.

    predictions/*.parquet  ->  collect_metrics  ->  metrics.json
    any CSV or Parquet     ->  score_table      ->  text or JSON

Every score is given for all stars and apart for iron-rich ([Fe/H] >= -1) and iron-poor
([Fe/H] < -1) stars, since the question of the paper is what happens where nothing was learned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from spectrafm.evaluation.predictions import facts_of, read_predictions
from spectrafm.files import SpectraFMError, provenance, read_parquet, write_json
from spectrafm.labels import IRON_POOR, UNITS
from spectrafm.manifest import hashes_beside

#: Makes the median absolute deviation of a Gaussian its standard deviation.
MAD_TO_SIGMA = 1.482602218505602

#: The scores of `scores`, in the order in which they are shown, with their headings.
HEADINGS = {
    "n": "n",
    "rmse": "RMSE",
    "median_abs": "median |r|",
    "mad_std": "mad_std",
    "bias": "bias (mean)",
    "median_bias": "bias (median)",
    "coverage_1sigma": "within 1 sigma",
    "coverage_2sigma": "within 2 sigma",
}

GROUPS = {
    "all": "all",
    "rich": f"rich ([Fe/H] >= {IRON_POOR:g})",
    "poor": f"poor ([Fe/H] < {IRON_POOR:g})",
}

_IRON_COLUMN = re.compile(r"fe_?h(?![a-z])|\[fe/h\]|metallicity", re.IGNORECASE)
_OTHER_LABEL = re.compile(
    r"t_?eff|log_?g|(?:^|[^a-z])(?:[a-z]{1,2}|alpha)[_/]fe(?![a-z])", re.IGNORECASE
)


def scores(
    actual: np.ndarray, predicted: np.ndarray, uncertainty: np.ndarray | None = None
) -> dict[str, Any]:
    """Score the residuals r = predicted - actual of the pairs in which both are finite.

    Parameters
    ----------
    actual, predicted : (star,) array
        In the label's unit.
    uncertainty : (star,) array, optional
        Predicted one-sigma uncertainty, same unit. Stars without a finite one count in every
        score but the coverages.

    Returns
    -------
    dict
        ``n``; ``rmse``; ``median_abs``, the median of abs(r); ``mad_std``, 1.4826 times the
        median of abs(r - median(r)), which is what Table 1 of the paper holds (its caption
        describes ``median_abs``); ``bias``, the mean of r, which reproduces the biases known of
        the published Figure 4; ``median_bias``, the median of r, which ``mad_std`` leaves out;
        ``coverage_1sigma`` and ``coverage_2sigma``, the share of stars with abs(r) below one and
        two uncertainties (0.68 and 0.95 where uncertainties are honest and Gaussian). A score
        that cannot be had (no star, no uncertainty) is None.
    """
    actual = np.asarray(actual, dtype=np.float64)
    predicted = np.asarray(predicted, dtype=np.float64)
    paired = np.isfinite(actual) & np.isfinite(predicted)
    residual = (predicted - actual)[paired]
    found: dict[str, Any] = dict.fromkeys(HEADINGS)
    found["n"] = int(residual.size)
    if residual.size == 0:
        return found
    median = np.median(residual)
    found["rmse"] = float(np.sqrt(np.mean(residual**2)))
    found["median_abs"] = float(np.median(np.abs(residual)))
    found["mad_std"] = float(MAD_TO_SIGMA * np.median(np.abs(residual - median)))
    found["bias"] = float(np.mean(residual))
    found["median_bias"] = float(median)
    if uncertainty is not None:
        sigma = np.asarray(uncertainty, dtype=np.float64)[paired]
        judged = np.isfinite(sigma)
        if judged.any():
            within = np.abs(residual[judged]) / np.array([[1.0], [2.0]]) < sigma[judged]
            found["coverage_1sigma"], found["coverage_2sigma"] = map(float, within.mean(axis=1))
    return found


def grouped_scores(
    actual: np.ndarray,
    predicted: np.ndarray,
    uncertainty: np.ndarray | None,
    iron: np.ndarray | None,
) -> dict[str, dict[str, Any]]:
    """`scores` of all, iron-rich and iron-poor stars, by their catalogue [Fe/H].

    Parameters
    ----------
    actual, predicted : (star,) array
    uncertainty : (star,) array or None
    iron : (star,) array or None
        Catalogue [Fe/H], dex. A star without one is in neither group; None: no star is.
    """
    iron = np.full(len(actual), np.nan) if iron is None else np.asarray(iron, dtype=np.float64)
    chosen = {
        "all": np.ones(len(actual), dtype=bool),
        "rich": iron >= IRON_POOR,
        "poor": iron < IRON_POOR,
    }
    return {
        group: scores(
            actual[stars],
            predicted[stars],
            None if uncertainty is None else uncertainty[stars],
        )
        for group, stars in chosen.items()
    }


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


def collect_metrics(predictions: Sequence[Path], output: Path) -> None:
    """Score every label of every prediction file into one ``metrics.json``.

    Parameters
    ----------
    predictions : sequence of path
        ``predictions/<stage>--<evaluation>.parquet`` files.
    output : path
        JSON: ``predictions`` holds, under ``<stage>--<evaluation>``, how the model was trained,
        what it was shown, how many stars were ``asked``, and ``labels``: for each its unit, how
        many stars have a prediction, and the scores of all, rich and poor stars. ``made_with``
        holds the SHA-256 of each file.

    Raises
    ------
    SpectraFMError
        For a missing or damaged file.
    """
    tables = [read_predictions(path) for path in predictions]
    write_json(
        output,
        provenance(
            mock=any(table.attrs["mock"] for table in tables),
            groups=GROUPS,
            bias="mean of predicted - actual; median_bias is the median",
            predictions={
                f"{table.attrs['stage']}--{table.attrs['evaluation']}": _metrics_of(table)
                for table in tables
            },
            made_with=hashes_beside(output.parent, predictions),
        ),
    )


def _metrics_of(table: pandas.DataFrame) -> dict[str, Any]:
    """The entry of one prediction file in ``metrics.json``."""
    iron = table.get("FE_H_actual")
    labels = {}
    for label in table.attrs["labels"]:
        actual, predicted, sigma = (
            table[f"{label}_{part}"].to_numpy(np.float64)
            for part in ("actual", "predicted", "uncertainty")
        )
        labels[label] = {
            "unit": UNITS[label],
            "predicted": int(np.isfinite(predicted).sum()),
            **grouped_scores(actual, predicted, sigma, iron),
        }
    return {**facts_of(table), "asked": len(table), "labels": labels}


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
