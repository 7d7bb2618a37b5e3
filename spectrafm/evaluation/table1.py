"""Table 1: the scatter of each label before and after fine-tuning, beside AstroNN.

predictions/*.parquet, catalogue/astronn.parquet  ->  table1  ->  tables/table1.{csv,md,tex}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.scores import scores
from spectrafm.files import code_version, read_parquet, write_text
from spectrafm.inference.predictions import (
    architecture_name,
    read_predictions,
    selection_note,
    told_apart,
    training_name,
    windows_text,
)
from spectrafm.labels import LABELS, SYMBOLS, UNITS

#: The scores shown, with their headings.
MEASURES = {
    "mad_std": "mad_std",
    "median_abs": "median |r|",
    "rmse": "RMSE",
    "bias": "bias (mean r)",
    "median_bias": "bias (median r)",
    "n": "n",
}

#: Table 1 of Koblischke & Bovy (2024), APOGEE DR17, 16,489 test stars with 1 < log g < 3.5. The
#: numbers are mad_std (recomputed by its authors' notebook), not the median abs(r) of its caption.
PUBLISHED = {
    "AstroNN": {"TEFF": 10, "LOGG": 0.037, "O_FE": 0.020, "MG_FE": 0.015, "FE_H": 0.011},
    "synthetic only": {"TEFF": 183, "LOGG": 0.326, "O_FE": 0.038, "MG_FE": 0.034, "FE_H": 0.048},
    "fine-tuned": {"TEFF": 19, "LOGG": 0.056, "O_FE": 0.021, "MG_FE": 0.019, "FE_H": 0.019},
}

MEANING = (
    "r = predicted - catalogue. mad_std = 1.4826 median|r - median(r)|: this is what the published "
    "Table 1 holds, although its caption says median|r|; it leaves out the bias, which is "
    "therefore given apart."
)

#: Digits shown after the decimal point.
_DECIMALS = {"TEFF": 1, "LOGG": 3, "O_FE": 3, "MG_FE": 3, "FE_H": 3}
PLAIN_SYMBOLS = {**SYMBOLS, "TEFF": "Teff", "LOGG": "log g"}

#: What LaTeX would otherwise read as commands, or print as something else.
_LATEX = str.maketrans(
    {
        "_": r"\_",
        "&": r"\&",
        "%": r"\%",
        "<": "$<$",
        "|": "$|$",
        "µ": r"$\mu$",
        "–": "--",
    }
)


class Column(NamedTuple):
    """One model of the table."""

    key: str  # <stage>--<evaluation>, or astronn
    heading: str
    scores: dict[str, dict[str, Any]]  # label -> scores


class Table(NamedTuple):
    """Table 1 before it is written in one format or another."""

    columns: list[Column]
    title: str
    notes: list[str]
    mock: bool
    published: dict[str, dict[str, float]]


def table1(
    predictions: Sequence[Path],
    *,
    astronn: Path,
    logg: tuple[float, float] = (1.0, 3.5),
    output: Path,
) -> None:
    """Write Table 1 as ``<output>.csv``, ``.md`` and ``.tex``.

    Parameters
    ----------
    predictions : sequence of path
        Prediction files, one column each, in this order.
    astronn : path
        ``catalogue/astronn.parquet``: the labels of the AstroNN catalogue. With no rows its
        column is left out, with the note of its metadata. Its ``release`` decides whether the
        published numbers are given.
    logg : tuple of float
        Open interval of catalogue log g that a star must lie in.
    output : path
        Stem of the three files, such as ``tables/table1``.

    Raises
    ------
    SpectraFMError
        For a missing or damaged file, a prediction without log g, or mock beside real stars.
    """
    table = _gather(predictions, astronn, logg)
    for suffix, write in ((".csv", _csv), (".md", _markdown), (".tex", _latex)):
        write_text(output.with_suffix(suffix), write(table))


def _gather(predictions: Sequence[Path], astronn: Path, logg: tuple[float, float]) -> Table:
    tables = [_with_giants(path, logg) for path in predictions]
    facts = [table.attrs for table in tables]
    mock = facts[0]["mock"]
    if any(fact["mock"] != mock for fact in facts):
        raise SpectraFMError("table1: predictions of mock and of real stars in one table")
    headings = told_apart([_heading_of(table) for table in tables], tables)
    columns = [
        _column(table, heading.replace("\n", " "))
        for table, heading in zip(tables, headings, strict=True)
    ]
    notes = [f"Stars: {_shown_range(logg)} by the catalogue.", MEANING]
    catalogue = read_parquet(astronn)
    if len(catalogue):
        columns.insert(0, _astronn_column(tables[0], catalogue, astronn))
        notes.append(
            "AstroNN: its value-added catalogue, from full spectra; it probably learned from "
            "some of these stars."
        )
    else:
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
    return Table(columns, title, notes, mock, PUBLISHED if is_dr17 else {})


def _with_giants(path: Path, logg: tuple[float, float]) -> pandas.DataFrame:
    """Read a prediction and keep the stars within the open interval of catalogue log g."""
    table = read_predictions(path)
    if "LOGG_actual" not in table:
        raise SpectraFMError(f"{path}: no column 'LOGG_actual', which chooses the stars of Table 1")
    lowest, highest = logg
    return table[(table["LOGG_actual"] > lowest) & (table["LOGG_actual"] < highest)]


def _heading_of(table: pandas.DataFrame) -> str:
    facts = table.attrs
    return (
        f"{architecture_name(facts['trained'])} {training_name(facts['trained'])}; "
        f"shown {facts['spectra']} {windows_text(facts['windows'])}"
    )


def _column(table: pandas.DataFrame, heading: str) -> Column:
    facts = table.attrs
    found = {
        label: scores(table[f"{label}_actual"], table[f"{label}_predicted"])
        for label in facts["labels"]
    }
    return Column(f"{facts['stage']}--{facts['evaluation']}", heading, found)


def _astronn_column(table: pandas.DataFrame, catalogue: pandas.DataFrame, path: Path) -> Column:
    """AstroNN's labels of the same stars, against the same catalogue labels."""
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
    """One row a label, one column per model and score: for programs."""
    rows = []
    for label in LABELS:
        row: dict[str, Any] = {
            "label": label,
            "unit": UNITS[label],
            "survey": "MOCK SURVEY" if table.mock else "APOGEE",
        }
        for column in table.columns:
            found = column.scores.get(label, {})
            row |= {f"{column.key}:{measure}": found.get(measure) for measure in MEASURES}
        row |= {
            f"published {model}:mad_std": values[label] for model, values in table.published.items()
        }
        rows.append(row)
    frame = pandas.DataFrame(rows)
    counts = [name for name in frame if name.endswith(":n")]
    frame[counts] = frame[counts].astype("Int64")
    return frame.to_csv(index=False, float_format="%.6g")


def _markdown(table: Table) -> str:
    headings = ["label", "unit", "score", *(column.heading for column in table.columns)]
    headings += [f"published: {model}" for model in table.published]
    lines = [
        f"# {_heading(table)}",
        "",
        _bars(headings),
        _bars(["---", "---", "---", *["---:"] * (len(headings) - 3)]),
        *(_bars(row) for row in _body(table, PLAIN_SYMBOLS)),
        "",
        *(f"- {note}" for note in table.notes),
        f"- Made by SpectraFM {code_version()}.",
    ]
    return "\n".join(lines) + "\n"


def _latex(table: Table) -> str:
    """A complete table environment that needs no package."""
    headings = ["", "unit", "score", *(column.heading for column in table.columns)]
    headings += [f"published: {model}" for model in table.published]
    caption = " ".join([f"{_heading(table).removeprefix('Table 1. ')}.", *table.notes])
    columns = "lll" + "p{2.6cm}" * (len(headings) - 3)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(caption)}}}",
        r"\footnotesize",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        _ampersands(map(_escaped, headings)),
        r"\hline",
        # The braces keep LaTeX from reading a row's [O/Fe] as an option of the line break before.
        *(_ampersands([f"{{{row[0]}}}", *map(_escaped, row[1:])]) for row in _body(table, SYMBOLS)),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _body(table: Table, symbols: dict[str, str]) -> list[list[str]]:
    """The cells of the readable tables: for each label one row a score."""
    rows = []
    for label in LABELS:
        for place, (measure, name) in enumerate(MEASURES.items()):
            first = [symbols[label], UNITS[label]] if place == 0 else ["", ""]
            cells = [_cell(label, measure, column.scores) for column in table.columns]
            cells += [
                _number(label, measure, values[label]) if measure == "mad_std" else ""
                for values in table.published.values()
            ]
            rows.append([*first, name, *cells])
    return rows


def _cell(label: str, measure: str, found: dict[str, dict[str, Any]]) -> str:
    value = found.get(label, {}).get(measure)
    return "–" if value is None else _number(label, measure, value)


def _number(label: str, measure: str, value: float) -> str:
    if measure == "n":
        return f"{value:,}"
    sign = "+" if "bias" in measure else ""
    return f"{value:{sign}.{_DECIMALS[label]}f}"


def _heading(table: Table) -> str:
    return f"{table.title} (MOCK SURVEY)" if table.mock else table.title


def _shown_range(logg: tuple[float, float]) -> str:
    return f"{logg[0]:g} < log g < {logg[1]:g}"


def _bars(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return text.translate(_LATEX)
