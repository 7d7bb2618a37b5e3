"""The command ``table1``: scatter of each label before and after fine-tuning, beside AstroNN."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.published import TABLE1
from spectrafm.evaluation.repeated import groups_of_repeats, median_scores
from spectrafm.evaluation.scores import scores
from spectrafm.evaluation.wording import (
    distinct_names,
    model_name,
    selection_note,
    survey_name,
    unit_text,
    windows_text,
)
from spectrafm.files import code_version, read_parquet, require_suffix, write_text
from spectrafm.integrity import hashes_beside
from spectrafm.labels import PAPER_LABELS, Label

logger = logging.getLogger(__name__)

#: Scores in Table 1, with their headings.
MEASURES = {
    "mad_std": "mad_std",
    "median_abs": "median |r|",
    "rmse": "RMSE",
    "bias": "bias (mean r)",
    "median_bias": "bias (median r)",
    "n": "n",
}

MEANING = (
    "r = predicted - catalogue. mad_std = 1.4826 median|r - median(r)|: this is what the published "
    "Table 1 holds, although its caption says median|r|; it leaves out the bias, which is "
    "therefore given apart."
)

#: Symbols of labels for text without mathtext.
PLAIN_SYMBOLS = {"TEFF": "Teff", "LOGG": "log g"}

#: Characters that LaTeX would read as commands or print as others, with their replacements.
_LATEX = str.maketrans(
    {"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "<": "$<$", "|": "$|$", "µ": r"$\mu$"}
    | {"–": "--"}
)


class Column(NamedTuple):
    """One model of the table."""

    key: str  # <stage>--<evaluation>, or astronn
    heading: str
    scores: dict[str, dict[str, Any]]  # label -> scores


class Table(NamedTuple):
    """Content of Table 1, whatever the format in which it is written."""

    labels: list[Label]
    columns: list[Column]
    title: str
    notes: list[str]
    survey: str
    published: dict[str, dict[str, float]]


def table1(
    predictions: Sequence[Path],
    *,
    astronn: Path | None = None,
    logg: tuple[float, float] = (1.0, 3.5),
    output: Path,
) -> None:
    """Write Table 1: the scatter of each label, one column a prediction, beside AstroNN's.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Parquet files of predict, one column each, in this order; the repeats of a stage share one,
        which holds the median of each score.
    astronn : pathlib.Path, optional
        Parquet file of fetch-astronn, catalogue/astronn.parquet: the labels of the AstroNN
        catalogue. A file without rows gives no column. With a catalogue of release dr17 the
        published numbers are given too.
    logg : (float, float)
        Lowest and highest catalogue log g (dex) of the stars, both excluded.
    output : pathlib.Path
        CSV file to write, tables/table1.csv; .md and .tex are written beside it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, a prediction has no log g or no star in the range, or
        some predictions are of mock stars and others of real ones.

    Examples
    --------
    $ spectrafm table1 results/demo/predictions/finetune_observed--first_half.parquet \
--astronn results/demo/catalogue/astronn.parquet --output results/demo/tables/table1.csv
    """
    require_suffix(output, ".csv", ".md", ".tex")
    table = _gather([Path(path) for path in predictions], astronn, logg)
    csv, tex, md = (Path(output).with_suffix(suffix) for suffix in (".csv", ".tex", ".md"))
    write_text(csv, _csv(table))
    write_text(tex, _latex(table))
    inputs = hashes_beside(csv.parent, [*predictions, *([] if astronn is None else [astronn])])
    write_text(md, f"{_markdown(table)}\n{made_with_text(inputs, [csv, tex])}")
    stars = max(found["n"] for column in table.columns for found in column.scores.values())
    logger.info(
        "%s: %d columns, %d labels, %d stars",
        output, len(table.columns), len(table.labels), stars,
    )  # fmt: skip


def _gather(predictions: Sequence[Path], astronn: Path | None, logg: tuple[float, float]) -> Table:
    groups = [
        [_with_giants(table, logg) for table in repeats]
        for repeats in groups_of_repeats(predictions)
    ]
    tables = [repeats[0] for repeats in groups]
    facts = [table.attrs for table in tables]
    mock = facts[0]["mock"]
    if any(fact["mock"] != mock for fact in facts):
        raise SpectraFMError("table1: predictions of mock and of real stars in one table")
    headings = distinct_names([_heading_of(table) for table in tables], tables)
    columns = [
        _column(repeats, heading.replace("\n", " "))
        for repeats, heading in zip(groups, headings, strict=True)
    ]
    notes = [f"Stars: {_shown_range(logg)} by the catalogue.", MEANING]
    catalogue = pd.DataFrame() if astronn is None else read_parquet(astronn)
    if len(catalogue):
        columns.insert(0, _astronn_column(tables[0], catalogue, astronn))
        notes.append(
            "AstroNN: its value-added catalogue, from full spectra; it probably learned from "
            "some of these stars."
        )
    elif astronn is not None:
        notes.append(f"AstroNN left out: {catalogue.attrs.get('note', 'no catalogue')}.")
    notes += [
        f"{column.heading}: {note}."
        for column, fact in zip(columns[-len(facts) :], facts, strict=True)
        if (note := selection_note(fact["trained"]))
    ]
    is_dr17 = not mock and catalogue.attrs.get("release") == "dr17"
    if is_dr17:
        notes.append(
            "Published: mad_std of Koblischke & Bovy (2024), Table 1: 16,489 test stars of "
            "APOGEE DR17 with 1 < log g < 3.5, 1.515–1.603 µm."
        )
    title = "Table 1. Scatter of predicted stellar labels"
    return Table(
        _labels_of(facts), columns, title, notes, survey_name(facts[0]), TABLE1 if is_dr17 else {}
    )


def _labels_of(facts: Sequence[dict[str, Any]]) -> list[Label]:
    """List the labels of all predictions, in the paper's order if the paper has all of them."""
    found = {
        name: Label(name, fact["label_units"][name], fact["symbols"][name])
        for fact in facts
        for name in fact["labels"]
    }
    order = [label.name for label in PAPER_LABELS]
    if set(found) <= set(order):
        return [found[name] for name in order if name in found]
    return list(found.values())


def _with_giants(table: pd.DataFrame, logg: tuple[float, float]) -> pd.DataFrame:
    """Keep the stars of a prediction within the open interval of catalogue log g."""
    path = table.attrs["path"]
    name = next((name for name in ("LOGG_actual", "logg") if name in table), None)
    if name is None:
        raise SpectraFMError(
            f"{path}: no column 'LOGG_actual' or 'logg', which chooses the stars of Table 1"
        )
    chosen = table[(table[name] > logg[0]) & (table[name] < logg[1])]
    if not len(chosen):
        raise SpectraFMError(f"{path}: none of its {len(table)} stars has {_shown_range(logg)}")
    return chosen


def _shown_range(logg: tuple[float, float]) -> str:
    return f"{logg[0]:g} < log g < {logg[1]:g}"


def _heading_of(table: pd.DataFrame) -> str:
    facts = table.attrs
    shown = f"{facts['spectra']} {windows_text(facts['windows'])}"
    return f"{model_name(facts['trained'])}; shown {shown}"


def _column(repeats: Sequence[pd.DataFrame], heading: str) -> Column:
    facts = repeats[0].attrs
    found = {
        label: median_scores(
            [scores(table[f"{label}_actual"], table[f"{label}_predicted"]) for table in repeats]
        )
        for label in facts["labels"]
    }
    if len(repeats) > 1:
        heading += f"; median of {len(repeats)} trainings"
    return Column(f"{facts['stage']}--{facts['evaluation']}", heading, found)


def _astronn_column(table: pd.DataFrame, catalogue: pd.DataFrame, path: Path) -> Column:
    """Score AstroNN's labels of the same stars against the same catalogue labels."""
    if catalogue["apogee_id"].duplicated().any():
        twice = catalogue["apogee_id"][catalogue["apogee_id"].duplicated()].iloc[0]
        raise SpectraFMError(f"{path}: star {twice} has more than one row")
    labels = catalogue.set_index("apogee_id").reindex(table["apogee_id"])
    found = {
        label: scores(table[f"{label}_actual"], labels[label])
        for label in table.attrs["labels"]
        if label in labels
    }
    return Column("astronn", "AstroNN", found)


def _csv(table: Table) -> str:
    """Format the table as CSV for programs: one row a label, one column per model and score."""
    rows = []
    for label in table.labels:
        row: dict[str, Any] = {
            "label": label.name,
            "unit": label.unit,
            "survey": table.survey,
        }
        for column in table.columns:
            found = column.scores.get(label.name, {})
            row |= {f"{column.key}:{measure}": found.get(measure) for measure in MEASURES}
        row |= {
            f"published {model}:mad_std": values.get(label.name)
            for model, values in table.published.items()
        }
        rows.append(row)
    frame = pd.DataFrame(rows)
    counts = [name for name in frame if name.endswith(":n")]
    frame[counts] = frame[counts].astype("Int64")
    return frame.to_csv(index=False, float_format="%.6g")


def _markdown(table: Table) -> str:
    frame = _cells(table, {label.name: _plain(label) for label in table.labels})
    frame = frame.map(lambda text: text.replace("|", r"\|"))
    shown = ["left"] * 3 + ["right"] * (len(frame.columns) - 3)
    pipes = frame.to_markdown(index=False, disable_numparse=True, colalign=shown)
    notes = [*table.notes, f"Made by SpectraFM {code_version()}."]
    return "\n".join([f"# {_heading(table)}", "", pipes, "", *(f"- {note}" for note in notes), ""])


def _latex(table: Table) -> str:
    """Format the table as a LaTeX table environment that needs no package."""
    # Without the braces LaTeX would read a row's [O/Fe] as an option of the preceding line break.
    symbols = {label.name: f"{{{label.symbol}}}" for label in table.labels}
    frame = _cells(table, symbols)
    frame = pd.concat([frame.iloc[:, :1], frame.iloc[:, 1:].map(_escaped)], axis=1)
    frame.columns = [_escaped(name) for name in frame.columns]
    caption = " ".join([f"{_heading(table).removeprefix('Table 1. ')}.", *table.notes])
    text = frame.to_latex(
        index=False,
        escape=False,
        caption=_escaped(caption),
        column_format="lll" + "p{2.6cm}" * (len(frame.columns) - 3),
    )
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):  # of the package booktabs
        text = text.replace(rule, r"\hline")
    return text.replace(r"\begin{tabular}", r"\footnotesize" + "\n" + r"\begin{tabular}", 1)


def _cells(table: Table, symbols: dict[str, str]) -> pd.DataFrame:
    """Cells of the readable formats as text: for each label one row a score."""
    headings = ["label", "unit", "score", *(column.heading for column in table.columns)]
    headings += [f"published: {model}" for model in table.published]
    return pd.DataFrame(list(_rows(table, symbols)), columns=headings)


def _rows(table: Table, symbols: dict[str, str]) -> Iterator[list[str]]:
    for label in table.labels:
        for place, (measure, name) in enumerate(MEASURES.items()):
            first = [symbols[label.name], label.unit] if place == 0 else ["", ""]
            found = [column.scores.get(label.name, {}) for column in table.columns]
            cells = [_number(label, measure, values.get(measure)) for values in found]
            cells += [
                _number(label, measure, values.get(label.name)) if measure == "mad_std" else ""
                for values in table.published.values()
            ]
            yield [*first, name, *cells]


def _number(label: Label, measure: str, value: float | None) -> str:
    if value is None:
        return "–"
    if measure == "n":
        return f"{value:,}"
    sign = "+" if "bias" in measure else ""
    return f"{value:{sign}.{3 if unit_text(label.unit) == 'dex' else 1}f}"


def _plain(label: Label) -> str:
    return PLAIN_SYMBOLS.get(label.name, label.symbol)


def _escaped(text: str) -> str:
    return text.translate(_LATEX)


def _heading(table: Table) -> str:
    return f"{table.title} ({table.survey})"
