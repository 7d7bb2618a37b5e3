"""The command ``paper-comparison``: every published number beside that of a run."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.paired import LEVEL, Interval, resampled
from spectrafm.evaluation.published import (
    FIGURE4,
    FIGURE4_BY_IRON,
    IRON_EDGES,
    OF_TABLE1,
    TABLE1,
)
from spectrafm.evaluation.wording import MOCK_SURVEY
from spectrafm.files import code_version, read_parquet, require_suffix, write_text
from spectrafm.inference.predictions import read_predictions, values_of
from spectrafm.integrity import hashes_beside
from spectrafm.labels import IRON_POOR
from spectrafm.training.repeats import family_of

logger = logging.getLogger(__name__)

#: Predictions that ratios are relative to.
BASES = {"Table 1": OF_TABLE1["synthetic only"], "Figure 4": "pretrain--iron_window"}

ASTRONN = "astronn"

#: Both protocols, and how the choices of the second are known.
PROTOCOLS = {
    "honest": "validation stars like the training stars, chunks combined by inverse variance",
    "paper": "the authors' choices, configs/as_published.yaml",
}

Choice = Callable[[pd.DataFrame], np.ndarray]


class Number(NamedTuple):
    """A published number, and how the number of a run is computed from a prediction."""

    source: str  # Table 1 or Figure 4
    prediction: str  # <stage>--<evaluation>, or astronn
    label: str
    stars: str  # which of the test stars
    measure: str
    published: float
    base: float  # the published number that its ratio is relative to
    chosen: Choice  # mask of the stars


def paper_comparison(
    predictions: Sequence[Path],
    *,
    astronn: Path | None = None,
    logg: tuple[float, float] = (1.0, 3.5),
    output: Path,
) -> None:
    """Write every published number beside that of the run, with the difference and its interval.

    On the mock survey numbers mean nothing beside those of real stars: only the ratio to the base
    model is shown, beside the paper's ratio.

    Predictions with the authors' choices, a checkpoint chosen on iron-poor stars or chunks combined
    by the plain mean, stand in columns of their own (protocol paper). Of a stage that was trained
    several times the median is taken.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet files of predict, of one run or of one run of each protocol. Those that the paper
        does not have are skipped.
    astronn : pathlib.Path, optional
        Parquet file of fetch-astronn, catalogue/astronn.parquet.
    logg : (float, float)
        Lowest and highest catalogue log g (dex) of the stars of Table 1, both excluded.
    output : pathlib.Path
        CSV file to write, tables/paper_comparison.csv; .md is written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, or some predictions are of mock stars and others of real
        ones, or of other stars.

    Examples
    --------
    $ spectrafm paper-comparison results/demo/predictions/*.parquet \
--output results/demo/tables/paper_comparison.csv
    """
    require_suffix(output, ".csv")
    found, mock = _gathered(predictions)
    for protocol in PROTOCOLS:
        if astronn is not None and (tables := found.get((BASES["Table 1"], protocol))):
            found[ASTRONN, protocol] = [_with_labels_of(read_parquet(astronn), tables[0])]
    rows = pd.DataFrame([_row(number, found, mock) for number in _numbers(logg)])
    write_text(output, rows.to_csv(index=False, float_format="%.6g"))
    inputs = hashes_beside(output.parent, [*predictions, *([astronn] if astronn else [])])
    markdown = f"{_markdown(rows, mock)}\n{made_with_text(inputs, [output])}"
    write_text(output.with_suffix(".md"), markdown)
    logger.info("%s: %d published numbers, %d of ours", output, len(rows), rows["n"].count())


def _gathered(
    predictions: Sequence[Path],
) -> tuple[dict[tuple[str, str], list[pd.DataFrame]], bool]:
    """Predictions by stage and evaluation, and protocol; whether they are of the mock survey."""
    wanted = {*FIGURE4, *OF_TABLE1.values()}
    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    stars: dict[str, pd.Series] = {}
    mock = set()
    for path in predictions:
        table = read_predictions(path)
        facts = table.attrs
        name = f"{family_of(facts['stage'])}--{facts['evaluation']}"
        mock.add(bool(facts["mock"]))
        if name in wanted:
            first = stars.setdefault(facts["evaluation"], table["apogee_id"])
            if not table["apogee_id"].equals(first):
                raise SpectraFMError(f"{path}: other stars than the predictions before")
            found.setdefault((name, _protocol(facts)), []).append(table)
    if not found:
        logger.warning("paper-comparison: the paper has none of these predictions")
    if len(mock) > 1:
        raise SpectraFMError("paper-comparison: predictions of mock and of real stars in one table")
    return found, mock.pop()


def _with_labels_of(catalogue: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The stars of a prediction with the labels of a catalogue as the predicted ones."""
    own = catalogue.drop_duplicates("apogee_id").set_index("apogee_id").reindex(table["apogee_id"])
    made = table.copy()
    for label in table.attrs["labels"]:
        predicted = own[label].to_numpy() if label in own else np.nan
        made[f"{label}_predicted"] = predicted
    return made


def _protocol(facts: dict[str, Any]) -> str:
    chosen = facts["trained"].get("selection") == "paper" or facts.get("combine") == "mean"
    return "paper" if chosen else "honest"


def _numbers(logg: tuple[float, float]) -> Iterator[Number]:
    """Every published number: 15 of Table 1, 10 of Figure 4, and its 30 by [Fe/H]."""
    stars = f"{logg[0]:g} < log g < {logg[1]:g}"
    names = {"AstroNN": ASTRONN, **OF_TABLE1}
    for model, label in itertools.product(TABLE1, TABLE1["fine-tuned"]):
        base = TABLE1["synthetic only"][label]
        yield Number(
            "Table 1", names[model], label, stars, "mad_std", TABLE1[model][label], base,
            lambda table: _between(_logg_of(table), *logg),
        )  # fmt: skip
    bins = list(itertools.pairwise([-np.inf, *IRON_EDGES, np.inf]))
    groups = [(-np.inf, np.inf), (-np.inf, IRON_POOR)]
    for published, ranges in ((FIGURE4, groups), (FIGURE4_BY_IRON, bins)):
        bases = published[BASES["Figure 4"]]
        for prediction, values in published.items():
            for ends, value, base in zip(ranges, values, bases, strict=True):
                yield Number(
                    "Figure 4", prediction, "FE_H", _range_text(*ends), "RMSE", value, base,
                    lambda table, ends=ends: _between(_iron_of(table), *ends),
                )  # fmt: skip


def _range_text(low: float, high: float) -> str:
    if np.isinf(low):
        return "all" if np.isinf(high) else f"[Fe/H] < {high:g}"
    return f"[Fe/H] > {low:g}" if np.isinf(high) else f"{low:g} < [Fe/H] < {high:g}"


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values < high)


def _logg_of(table: pd.DataFrame) -> np.ndarray:
    name = next((name for name in ("LOGG_actual", "logg") if name in table), None)
    if name is None:
        return np.full(len(table), np.nan)
    return table[name].to_numpy(np.float64)


def _iron_of(table: pd.DataFrame) -> np.ndarray:
    return table.get("FE_H_actual", pd.Series(np.nan, table.index)).to_numpy(np.float64)


#: Standard deviation of a Gaussian in units of its median absolute deviation. astropy's mad_std is
#: the same and much slower for so many samples.
SIGMA_OF_MAD = 1.482602218505602

MEASURES: dict[str, Callable[[np.ndarray], float]] = {
    "mad_std": lambda r: float(SIGMA_OF_MAD * np.median(np.abs(r - np.median(r)))),
    "RMSE": lambda r: float(np.sqrt(np.mean(np.square(r)))),
}


def _row(number: Number, found: dict, mock: bool) -> dict[str, Any]:
    """A published number with ours of each protocol, or on a mock with our ratio."""
    row: dict[str, Any] = {
        "source": number.source,
        "prediction": number.prediction,
        "label": number.label,
        "stars": number.stars,
        "measure": number.measure,
        "survey": MOCK_SURVEY if mock else "APOGEE",
        "published": number.published,
        "published_ratio": number.published / number.base,
        "n": None,
    }
    base_name = BASES[number.source]
    for protocol in PROTOCOLS:
        base = _residuals(number, found.get((base_name, protocol)))
        own = _residuals(number, found.get((number.prediction, protocol)))
        ours = ratio = None
        if own is not None and (known := _complete(own)).any():
            row["n"] = int(known.sum())
            measure = MEASURES[number.measure]
            ours = None if mock else resampled(measure, own[:, known])
            both = known if base is None else known & _complete(base)
            if base is not None and both.any():
                ratio = resampled(measure, own[:, both], base[:, both], np.divide)
        for name, value in ((protocol, ours), (f"{protocol}_ratio", ratio)):
            ends = value or (None, None, None)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return row


def _residuals(number: Number, tables: list[pd.DataFrame] | None) -> np.ndarray | None:
    """Residuals of the chosen stars, a row a repeat, shape (K, n); None where there are none."""
    if not tables or f"{number.label}_actual" not in tables[0]:
        return None
    residual = []
    for table in tables:
        actual, predicted, _ = values_of(table, number.label)
        residual.append((predicted - actual)[number.chosen(table)])
    return np.stack(residual)


def _complete(residual: np.ndarray) -> np.ndarray:
    """Mask of the stars that every repeat has a residual of, shape (n,)."""
    return np.isfinite(residual).all(axis=0)


def _markdown(rows: pd.DataFrame, mock: bool) -> str:
    shown = [protocol for protocol in PROTOCOLS if rows[f"{protocol}_ratio"].notna().any()
             or rows[protocol].notna().any()]  # fmt: skip
    heads = ["source", "prediction", "label", "stars", "measure", "n"]
    heads += ["paper's ratio"] if mock else ["published"]
    for protocol in shown:
        heads += [f"ratio ({protocol})"] if mock else [f"ours ({protocol})", "difference"]
    lines = []
    for _, row in rows.iterrows():
        if mock and row["prediction"] in BASES.values():
            continue
        first = [row[name] for name in heads[:5]] + [_count(row["n"])]
        first.append(f"{row['published_ratio']:.2f}" if mock else f"{row['published']:g}")
        for protocol in shown:
            name = f"{protocol}_ratio" if mock else protocol
            found = Interval(*(row[key] for key in (name, f"{name}_low", f"{name}_high")))
            first.append(_cell(found))
            if not mock:
                first.append(_cell(Interval(*(end - row["published"] for end in found)), "+"))
        lines.append(first)
    table = pd.DataFrame(lines, columns=heads).astype(str).map(lambda text: text.replace("|", "-"))
    survey = " (MOCK SURVEY)" if mock else ""
    notes = [
        f"Published: Koblischke & Bovy (2024), APOGEE DR17. [{LEVEL:.0%} of bootstrap samples of "
        "our test stars and repeats].",
        *(f"Protocol {name}: {PROTOCOLS[name]}." for name in shown),
    ]
    if mock:
        notes.insert(0, "MOCK SURVEY: simulated stars of another distribution and another gap, so "
                     "that only ratios to the base model stand beside the paper's.")  # fmt: skip
    return "\n".join(
        [
            f"# Comparison with the published numbers{survey}",
            "",
            table.to_markdown(index=False, disable_numparse=True),
            "",
            *(f"- {note}" for note in notes),
            f"- Made by SpectraFM {code_version()}.",
            "",
        ]
    )


def _count(value: Any) -> str:
    return "–" if pd.isna(value) else f"{int(value):,}"


def _cell(found: Interval, sign: str = "") -> str:
    if pd.isna(found.value):
        return "–"
    value, low, high = (f"{number:{sign}.3g}" for number in found)
    return f"{value} [{low} {high}]"
