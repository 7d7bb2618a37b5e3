"""The command ``table-calibration``: the share of stars that each prediction's errors hold."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.repeated import groups_of_repeats, median_scores
from spectrafm.evaluation.wording import survey_name, survey_of
from spectrafm.files import code_version, require_suffix, write_text
from spectrafm.inference.calibration import DOES_NOT_HOLD, GAUSSIAN, LEVELS, Calibration
from spectrafm.inference.predictions import (
    calibration_holds,
    calibration_of,
    intervals_of,
    values_of,
)
from spectrafm.integrity import hashes_beside
from spectrafm.labels import DWARF_ABOVE, GIANT_BELOW, IRON_POOR

logger = logging.getLogger(__name__)

#: The two kinds of errors, by the beginning of their columns.
KINDS = {"gaussian": "Gaussian sigma", "calibrated": "calibrated intervals"}

#: Stars fainter than this G magnitude are a group, where a store has G.
FAINT = 14.0

MEANING = (
    "Share of stars whose catalogue value is within the interval, which should be 0.68, 0.90 and "
    "0.95: within 0.99, 1.64 and 1.96 of the network's own Gaussian sigmas, and within the "
    "calibrated interval. Of n stars, a share p is uncertain by sqrt(p (1 - p) / n)."
)
GROUPS = (
    "Groups by TEFF, FE_H, LOGG and snr are by the prediction and the spectrum's signal-to-noise "
    "ratio, as the calibration divides stars; iron-poor, iron-rich, giants, dwarfs and faint stars "
    "are by the catalogue, which no calibration knows."
)


def table_calibration(predictions: Sequence[Path], *, output: Path) -> None:
    """Tabulate how often the catalogue's value lies within a prediction's errors.

    One row a prediction, label and group of stars: the shares within the network's Gaussian sigmas
    and within the calibrated intervals, at 68, 90 and 95 %, and mean and standard deviation of
    (predicted - actual) / sigma. Rows that are flagged because the calibration does not hold for
    them are a group of their own. Stars of the split that a calibration was fitted on are left out.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet files of predict, predictions/<stage>--<evaluation>.parquet. Of the repeats of a
        stage the median of each figure is given.
    output : pathlib.Path
        CSV file to write, tables/calibration.csv; .md is written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, or holds no star to judge by.

    Examples
    --------
    $ spectrafm table-calibration results/demo/predictions/finetune_iron--iron_window.parquet \
--output results/demo/tables/calibration.csv
    """
    require_suffix(output, ".csv")
    groups = [[_judged(table) for table in repeats] for repeats in groups_of_repeats(predictions)]
    rows = pd.DataFrame([row for repeats in groups for row in _median_rows(repeats)])
    if not len(rows):
        raise SpectraFMError("table-calibration: no star has a predicted and a catalogue value")
    write_text(output, rows.to_csv(index=False, float_format="%.6g"))
    inputs = hashes_beside(output.parent, predictions)
    text = _markdown(rows, [table for repeats in groups for table in repeats])
    write_text(output.with_suffix(".md"), f"{text}\n{made_with_text(inputs, [output])}")
    logger.info("%s: %d predictions, %d rows", output, len(groups), len(rows))


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """A prediction without the stars that its calibration was fitted on."""
    calibration = calibration_of(table)
    if calibration is None:
        return table
    fitted = table["split"] == calibration.fitted_on.split
    if fitted.any():
        logger.info(
            "%s: left out %d stars of the calibration's split", table.attrs["stage"], fitted.sum()
        )
    return table[~fitted]


def _median_rows(repeats: Sequence[pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Scores of a stage's repeats, the median of each; a group must have stars in all of them."""
    by_place: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for table in repeats:
        for row in _rows(table):
            by_place.setdefault((row["label"], row["group"]), []).append(row)
    for rows in by_place.values():
        numbers = [
            {name: value for name, value in row.items() if not isinstance(value, str)}
            for row in rows
        ]
        yield {**rows[0], **median_scores(numbers), "repeats": len(rows)}


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Score every label of a prediction in every group of stars that has any."""
    calibration = calibration_of(table)
    groups = groups_of(table, calibration)
    groupings = calibration.groupings if calibration is not None else []
    predicted_groups = {name for grouping in groupings for name in grouping.names()}
    for label in table.attrs["labels"]:
        actual, predicted, sigma = values_of(table, label)
        intervals = intervals_of(table, label)
        usable = np.isfinite(actual) & np.isfinite(predicted) & np.isfinite(sigma) & (sigma > 0)
        fitted = calibration is not None and intervals is not None
        for group, members in groups.items():
            stars = members & usable
            if not stars.any():
                continue
            pull = (predicted[stars] - actual[stars]) / sigma[stars]
            row: dict[str, Any] = {
                "prediction": f"{table.attrs['stage']}--{table.attrs['evaluation']}",
                "label": label,
                "symbol": table.attrs["symbols"][label],
                "survey": survey_name(table.attrs),
                "group": group,
                "by": "prediction" if group in predicted_groups else "catalogue",
                "n": int(stars.sum()),
            }
            row |= {f"gaussian_{k}": float(np.mean(np.abs(pull) < GAUSSIAN[k])) for k in LEVELS}
            for level, ends in zip(LEVELS, intervals if fitted else (), strict=fitted):
                low, high = ends[:, stars]
                inside = (low <= actual[stars]) & (actual[stars] <= high)
                row[f"calibrated_{level}"] = float(inside.mean())
            row |= {"pull_mean": float(pull.mean()), "pull_sd": float(pull.std())}
            yield row


def groups_of(table: pd.DataFrame, calibration: Calibration | None) -> dict[str, np.ndarray]:
    """Groups of the stars of a prediction, as masks of shape (n,) by name.

    Rows for which the calibration does not hold are in the last group only.
    """
    holds = calibration_holds(table)
    nothing = np.full(len(table), np.nan)

    def column(name: str) -> np.ndarray:
        return table[name].to_numpy(np.float64) if name in table else nothing

    found = {"all": np.ones(len(table), dtype=bool)}
    for grouping in calibration.groupings if calibration is not None else ():
        by = grouping.by if grouping.by == "snr" else f"{grouping.by}_predicted"
        bins = grouping.bins(column(by))
        found |= {name: bins == number for number, name in enumerate(grouping.names())}
    iron, logg = column("FE_H_actual"), column("logg" if "logg" in table else "LOGG_actual")
    found |= {
        "iron-poor": iron < IRON_POOR,
        "iron-rich": iron >= IRON_POOR,
        "giants": logg < GIANT_BELOW,
        "dwarfs": logg > DWARF_ABOVE,
    }
    if "g" in table:
        found[f"G > {FAINT:g}"] = column("g") > FAINT
    return {name: members & holds for name, members in found.items()} | {DOES_NOT_HOLD: ~holds}


def _markdown(rows: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> str:
    """Format one line a row, shares of the three levels in one cell."""
    lines = [
        [
            f"{row['prediction']} ({row['repeats']})",
            row["label"],
            row["group"].replace("<", r"\<"),
            f"{row['n']:,}",
            *(_shares(row, kind) for kind in KINDS),
            f"{row['pull_mean']:+.2f}",
            f"{row['pull_sd']:.2f}",
        ]
        for row in rows.to_dict("records")
    ]
    levels = "/".join(map(str, LEVELS))
    heads = ["prediction (trainings)", "label", "group", "n"]
    heads += [f"{name}, {levels} %" for name in KINDS.values()] + ["pull, mean", "pull, sd"]
    table = pd.DataFrame(lines, columns=heads).to_markdown(index=False, disable_numparse=True)
    notes = [MEANING, GROUPS]
    if rows["repeats"].max() > 1:
        notes.append("Of a stage that was trained several times, the median of each figure.")
    for found in tables:
        calibration = calibration_of(found)
        said = "Not calibrated." if calibration is None else str(calibration)
        notes.append(f"{found.attrs['stage']}--{found.attrs['evaluation']}: {said}")
    notes.append(f"Made by SpectraFM {code_version()}.")
    return "\n".join(
        [
            f"# Coverage of predicted errors ({survey_of(rows)})",
            "",
            table,
            "",
            *(f"- {note}" for note in notes),
            "",
        ]
    )


def _shares(row: dict[str, Any], kind: str) -> str:
    """Shares at each level, as ``.68/.90/.95``; a dash where there are none."""
    shares = [row.get(f"{kind}_{level}", np.nan) for level in LEVELS]
    if np.isnan(shares).any():
        return "–"
    return "/".join(f"{share:.2f}".replace("0.", ".", 1) for share in shares)
