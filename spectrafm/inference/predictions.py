"""The prediction file: writing and reading ``predictions/<stage>--<evaluation>.parquet``.

One row a star. ``apogee_id`` and ``split``; for each label ``<label>_actual`` and ``<label>_error``
(the catalogue's), ``<label>_predicted`` and ``<label>_uncertainty`` (one sigma of the network's
Gaussian), and where the model is calibrated ``<label>_lower68``, ``<label>_upper68`` and so on for
90 and 95, the intervals that hold this share of stars, in percent; ``snr``, the median of flux over
error of the pixels that the network read (none of synthetic spectra); ``logg`` (the catalogue's)
where the store has it; ``good_pixels``, the number of pixels that the network
read; where the model has a domain ``ood_score``, above 1 for a spectrum unlike those of the
training; ``flags``, the reasons to distrust the row, joined by ``"; "``, some of them with the
names of `spectrafm.inference.flags`. The metadata record the model, the spectra and the options of
the prediction.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, FiniteFloat, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet, write_parquet_parts
from spectrafm.inference.calibration import DOES_NOT_HOLD, LEVELS, Calibration
from spectrafm.inference.flags import BETWEEN
from spectrafm.labels import SYMBOLS, Label
from spectrafm.reading import Record, printable, problem_in

if TYPE_CHECKING:  # readers of predictions need neither torch nor zarr
    from spectrafm.inference.domain import Judgement
    from spectrafm.inference.predictor import Prediction
    from spectrafm.store.read import StarSet

#: Parts of the names of each label's columns, ``<label>_<part>``.
PARTS = ("actual", "error", "predicted", "uncertainty")

#: Parts of the names of the columns of calibrated intervals.
INTERVALS = tuple(f"{end}{level}" for level in LEVELS for end in ("lower", "upper"))

#: Columns of each star besides its labels, with their units; the store's are copied.
COLUMNS = {"snr": "1", "logg": "dex(cm s-2)", "g": "mag"}
COPIED = ("logg", "g")

NO_GOOD_PIXEL = "no good pixel"
NO_FINITE_ANSWER = "no finite answer"

#: Options of the training that are copied into the metadata of a prediction.
TRAINED = (
    "architecture",
    "start_from",
    "spectra",
    "windows",
    "flux_range",
    "stars",
    "seed",
    "labels",
    "freeze",
    "replay",
    "pseudo_labels",
    "selection",
)


def prediction_table(
    stars: StarSet,
    labels: Sequence[str],
    prediction: Prediction,
    warnings: Sequence[str] = (),
    calibration: Calibration | None = None,
    judgement: Judgement | None = None,
) -> pd.DataFrame:
    """Make the table of a prediction file, one row a star.

    Parameters
    ----------
    stars : StarSet
    labels : sequence of str
        The predicted labels.
    prediction : Prediction
    warnings : sequence of str
        Flags that every row gets.
    calibration : Calibration, optional
        Adds intervals, and flags rows that are outside the range where it holds.
    judgement : Judgement, optional
        What the model's domain says of these stars; adds a score, and flags.
    """
    predicted = {label: prediction.value[:, i] for i, label in enumerate(labels)}
    snr = {} if stars.flux_error is None else {"snr": stars.signal_to_noise.astype(np.float32)}
    columns: dict[str, np.ndarray] = {"apogee_id": stars.apogee_id, "split": stars.split}
    known = [label.name for label in stars.labels]
    absent = np.full(len(stars), np.nan, np.float32)
    for number, label in enumerate(labels):
        in_store = known.index(label) if label in known else None
        columns[f"{label}_actual"] = absent if in_store is None else stars.label[:, in_store]
        columns[f"{label}_error"] = absent if in_store is None else stars.label_error[:, in_store]
        columns[f"{label}_predicted"] = prediction.value[:, number].astype(np.float32)
        columns[f"{label}_uncertainty"] = prediction.uncertainty[:, number].astype(np.float32)
        if calibration is not None and label in calibration.labels:
            sigma, features = prediction.uncertainty[:, number], predicted | snr
            half = calibration.half_widths(label, sigma, features)
            columns |= interval_columns(label, predicted[label], half)
    columns |= snr | {name: stars.columns[name] for name in COPIED if name in stars.columns}
    if "logg" not in columns and "LOGG" in known:
        columns["logg"] = stars.label[:, known.index("LOGG")]
    good = np.isfinite(stars.flux).sum(axis=1)
    columns["good_pixels"] = good.astype(np.int32)
    unanswered = ~(np.isfinite(prediction.value) & np.isfinite(prediction.uncertainty)).all(axis=1)
    own = np.select([good == 0, unanswered], [NO_GOOD_PIXEL, NO_FINITE_ANSWER], "")
    beyond = _beyond(predicted, calibration)
    judged = [[]] * len(stars) if judgement is None else judgement.flags
    if judgement is not None:
        columns["ood_score"] = judgement.score.astype(np.float32)
    columns["flags"] = [
        BETWEEN.join(filter(None, (first, *more, last, *warnings)))
        for first, more, last in zip(own, judged, beyond, strict=True)
    ]
    return pd.DataFrame(columns)


def interval_columns(label: str, predicted: np.ndarray, half: np.ndarray) -> dict[str, np.ndarray]:
    """Lower and upper ends of a label's intervals by column, from half widths (levels, n)."""
    return {
        f"{label}_{end}{level}": (predicted + sign * width).astype(np.float32)
        for level, width in zip(LEVELS, half, strict=True)
        for end, sign in (("lower", -1), ("upper", 1))
    }


def _beyond(predicted: Mapping[str, np.ndarray], calibration: Calibration | None) -> list[str]:
    """Flag of each row with labels outside the calibration's range; empty for the others."""
    labels = [] if calibration is None else list(calibration.labels)
    outside = {label: calibration.outside(label, predicted[label]) for label in labels}
    flags = [""] * len(next(iter(predicted.values())))
    for row in np.flatnonzero(np.any(list(outside.values()), axis=0)) if outside else ():
        names = ", ".join(label for label in labels if outside[label][row])
        flags[row] = f"{DOES_NOT_HOLD}: {names}"
    return flags


def write_predictions(
    path: Path, tables: Iterable[pd.DataFrame], labels: Sequence[Label], facts: dict[str, Any]
) -> None:
    """Write a prediction file atomically, a block of stars at a time.

    Parameters
    ----------
    path : pathlib.Path
        ``predictions/<stage>--<evaluation>.parquet``.
    tables : iterable of pandas.DataFrame
        As from `prediction_table`, one a block of stars; at least one.
    labels : sequence of Label
        The predicted labels.
    facts : dict
        ``stage``, ``evaluation``, ``mock``, ``spectra``, ``windows``, ``trained`` and whatever
        else describes how the prediction was made.
    """
    tables = iter(tables)
    first = next(tables)
    parts = (*PARTS, *INTERVALS)
    units = {f"{label.name}_{part}": label.unit for label in labels for part in parts}
    units = {name: unit for name, unit in units.items() if name in first}
    units |= {name: unit for name, unit in COLUMNS.items() if name in first}
    described = {label.name: {"unit": label.unit, "symbol": label.symbol} for label in labels}
    facts = {**facts, "units": units, "labels": described}
    write_parquet_parts(path, itertools.chain([first], tables), facts)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read ``predictions/<stage>--<evaluation>.parquet``.

    Returns
    -------
    pandas.DataFrame
        One row a star; ``attrs`` holds the file's metadata, with ``labels``, the names of the
        labels that it predicts, ``label_units`` and ``symbols``, their units and symbols by name.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged, was not written by ``predict``, lacks a column, has a
        star twice, a star of another side of the split or a negative uncertainty, or contradicts
        its model about the mock survey.
    """
    table = read_parquet(path)
    # pandas copies the metadata with each column that is taken from a table that has some.
    facts, table.attrs = table.attrs, {}
    _check_facts(path, facts)
    described = facts.get("labels") or _labels_of_old(table, facts.get("units", {}))
    wanted = ["apogee_id", "split", *(f"{label}_{part}" for label in described for part in PARTS)]
    calibrated = (facts.get("calibration") or {}).get("labels", {})
    wanted += [
        f"{label}_{part}" for label in described if label in calibrated for part in INTERVALS
    ]
    for column in wanted:
        if column not in table:
            raise SpectraFMError(f"{path}: no column {column!r}")
    _check_rows(path, table, facts.get("split", "all"), list(described))
    facts["labels"] = list(described)
    facts["label_units"] = {name: label["unit"] for name, label in described.items()}
    facts["symbols"] = {name: label["symbol"] for name, label in described.items()}
    table.attrs = facts
    return table


_Windows = Annotated[list[tuple[FiniteFloat, FiniteFloat]], Field(min_length=1)]


class _Stars(Record):
    where: str | None = None
    count: int | None = None
    seed: int | None = None


class _Replay(Record):
    spectra: str | None = None


class _Twin(Record):
    components: int | None = None


class _Trained(Record):
    """Options of the training, as far as tables and figures name a model by them."""

    architecture: str
    start_from: str | None = None
    spectra: str
    windows: _Windows
    stars: _Stars | None = None
    freeze: list[str] | None = None
    replay: _Replay | None = None
    twin: _Twin | None = None
    selection: str | None = None
    seed: int | None = None
    mock: bool = False


class _LabelFacts(Record):
    unit: str
    symbol: str


class _Facts(Record):
    """Metadata of a prediction file."""

    stage: str
    evaluation: str
    mock: bool
    spectra: str
    windows: _Windows
    split: str = "all"
    trained: _Trained
    labels: dict[str, _LabelFacts] = Field({})
    units: dict[str, str] = Field({})
    made_with: dict[str, str] = Field({})
    calibration: Calibration | None = None


def _check_facts(path: Path, facts: dict[str, Any]) -> None:
    """Check the metadata of a prediction file.

    Raises
    ------
    SpectraFMError
        Names the first key that is missing or of another type, or the contradiction.
    """
    try:
        # Windows are lists in JSON.
        found = _Facts.model_validate_json(json.dumps(facts))
    except ValidationError as error:
        raise SpectraFMError(
            f"{path}: not a prediction file: its metadata, {problem_in(error)}"
        ) from None
    if found.trained.mock and not found.mock:
        raise SpectraFMError(
            f"{path}: says that it is not mock, but its model learned from mock stars"
        )


def _check_rows(path: Path, table: pd.DataFrame, side: str, labels: Sequence[str]) -> None:
    """Check the rows of a prediction file.

    Raises
    ------
    SpectraFMError
        Names the first star that is wrong.
    """
    stars = table["apogee_id"]
    if (twice := stars.duplicated()).any():
        raise SpectraFMError(f"{path}: star {printable(str(stars[twice].iloc[0]))} is in it twice")
    if side != "all" and (other := table["split"] != side).any():
        row = table[other].iloc[0]
        raise SpectraFMError(
            f"{path}: star {printable(str(row['apogee_id']))} is of the split "
            f"{printable(str(row['split']))}, but the file is of {printable(side)}"
        )
    for name in (f"{label}_{part}" for label in labels for part in (*PARTS, *INTERVALS)):
        if name not in table:
            continue  # intervals of a label that is not calibrated
        if not pd.api.types.is_float_dtype(table[name].dtype):
            raise SpectraFMError(f"{path}: column {name!r} does not hold numbers")
        if name.endswith("_uncertainty") and (negative := table[name] < 0).any():
            star = printable(str(stars[negative].iloc[0]))
            raise SpectraFMError(f"{path}: {name} of star {star} is negative")


def _labels_of_old(table: pd.DataFrame, units: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Labels of a file without ``labels`` in its metadata, in the order of its columns."""
    ending = "_predicted"
    names = [name.removesuffix(ending) for name in table if name.endswith(ending)]
    # Versions that wrote no labels wrote this unit so; astropy does not parse it.
    old = {"log10(cm s-2)": "dex(cm s-2)"}
    found = {name: units.get(f"{name}{ending}", "") for name in names}
    return {
        name: {"unit": old.get(unit, unit), "symbol": SYMBOLS.get(name, name)}
        for name, unit in found.items()
    }


def facts_of(table: pd.DataFrame) -> dict[str, Any]:
    """Metadata of a prediction that ``metrics.json`` repeats."""
    keys = ("mock", "spectra", "windows", "trained", "training_stars")
    return {key: table.attrs[key] for key in keys if key in table.attrs}


def calibration_of(table: pd.DataFrame) -> Calibration | None:
    """The calibration that a prediction's intervals were made with; None: it has none."""
    found = table.attrs.get("calibration")
    return None if found is None else Calibration.model_validate(found)


def calibration_holds(table: pd.DataFrame) -> np.ndarray:
    """Mask of the rows without a flag that the calibration does not hold for them, shape (n,)."""
    if "flags" not in table:
        return np.ones(len(table), dtype=bool)
    return ~table["flags"].str.contains(DOES_NOT_HOLD, regex=False).to_numpy(bool)


def intervals_of(table: pd.DataFrame, label: str) -> np.ndarray | None:
    """Ends of a label's calibrated intervals, shape (levels, 2, n); None: there are none."""
    if f"{label}_{INTERVALS[0]}" not in table:
        return None
    ends = [table[f"{label}_{part}"].to_numpy(np.float64) for part in INTERVALS]
    return np.stack(ends).reshape(len(LEVELS), 2, -1)


def values_of(table: pd.DataFrame, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Catalogue value, prediction and its one-sigma uncertainty of a label.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `read_predictions`, or rows of it.
    label : str

    Returns
    -------
    actual, predicted, uncertainty : numpy.ndarray, shape (n,), float64
    """
    actual, predicted, uncertainty = (
        table[f"{label}_{part}"].to_numpy(np.float64)
        for part in ("actual", "predicted", "uncertainty")
    )
    return actual, predicted, uncertainty
