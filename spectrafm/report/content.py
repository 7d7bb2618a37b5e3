"""Content of a run's report: tables and sentences made from the files in the run's folder."""

from __future__ import annotations

import base64
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel

from spectrafm import files
from spectrafm.evaluation.made_with import check_formats
from spectrafm.evaluation.published import FIGURE4, TABLE1
from spectrafm.evaluation.table1 import MEASURES
from spectrafm.evaluation.wording import unit_text
from spectrafm.figures import FIGURES
from spectrafm.labels import SYMBOLS
from spectrafm.plugs import caption_of
from spectrafm.reading import read_csv, reading
from spectrafm.report.images import check_figure
from spectrafm.report.stages import Stage, benchmark_seconds, time_text

GROUPS = ("all", "rich", "poor")


class Table(NamedTuple):
    """A table of the page; the first ``text`` columns are text, the others numbers."""

    heading: list[str]
    rows: list[list[str]]
    text: int = 1


class Figure(NamedTuple):
    """A figure of the page, or a placeholder for one that is not made."""

    name: str
    title: str
    caption: str
    image: str  # PNG, base64; empty where it is not made
    pdf: str  # link; empty where there is none


def machine() -> list[tuple[str, str]]:
    """Machine and versions with which the page is made."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            cpu = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    return [
        ("system", platform.platform()),
        ("processor", f"{cpu}, {os.cpu_count()} cores"),
        ("Python", platform.python_version()),
        ("torch", torch),
        ("spectrafm", files.code_version()),
    ]


def now() -> str:
    """Present date and time, UTC, as text."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def survey_of(run: Path) -> dict[str, Any]:
    """Release, cuts and numbers of the run's stars, from the files in ``catalogue/``.

    Raises
    ------
    SpectraFMError
        When a file is damaged or does not hold what its command writes.
    """
    found: dict[str, Any] = {"release": None, "selection": None, "counts": None}
    selected, missing = (run / f"catalogue/{name}.parquet" for name in ("selected", "missing"))
    if selected.exists():
        with reading(selected, "table of selected stars"):
            table = files.read_parquet(selected)
            found |= _Selected.model_validate(table.attrs).model_dump()
            found |= {"stars": len(table), "splits": table["split"].value_counts().to_dict()}
    if missing.exists():
        with reading(missing, "table of missing spectra"):
            lost = files.read_parquet(missing)
            found |= _Missing.model_validate(lost.attrs).model_dump()
            found["replaced"] = int(lost["replaced"].sum())
            found["reasons"] = lost[~lost["replaced"]]["reason"].value_counts().to_dict()
    return found


class _Selected(BaseModel):
    """Metadata of ``selected.parquet`` that the page shows."""

    release: str | None = None
    selection: dict[str, Any] | None = None


class _Counts(BaseModel):
    asked: int
    verified: int
    unverified: int
    missing: int


class _Missing(BaseModel):
    """Metadata of ``missing.parquet`` that the page shows."""

    counts: _Counts | None = None


def csv_table(path: Path, names: dict[str, str], text: int) -> Table | None:
    """Read a CSV file of the catalogue and rename its columns; None where it is missing.

    Raises
    ------
    SpectraFMError
        When the file is cut off or lacks a column.
    """
    if not path.exists():
        return None
    table = read_csv(path, list(names)).rename(columns=names).map(_cell)
    return Table(list(table.columns), table.to_numpy().tolist(), text)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def run_times(run: Path, stages: Sequence[Stage]) -> Table:
    """Table of the run times of each stage and each benchmarked job."""
    rows = [[f"train {stage.name}", stage.time, stage.device] for stage in stages]
    folder = run / "benchmarks"
    for path in sorted(folder.rglob("*.tsv")) if folder.exists() else []:
        job = path.relative_to(folder).with_suffix("").as_posix()
        seconds = None if job.startswith("train/") else benchmark_seconds(run, job)
        if seconds is not None:
            rows.append([job.replace("/", " "), time_text(seconds), ""])
    return Table(["job", "run time", "trained on"], rows, 3)


def scores(metrics: dict[str, Any], stages: Sequence[Stage]) -> dict[str, Table]:
    """Table of scores for each label, with rows in the order of training."""
    order = {stage.name: place for place, stage in enumerate(stages)}
    entries = sorted(
        metrics["predictions"].items(),
        key=lambda entry: order.get(entry[0].split("--")[0], len(order)),
    )
    labels = dict.fromkeys(label for _, facts in entries for label in facts["labels"])
    heading = ["prediction", "of"]
    heading += [f"{name} {group}" for group in GROUPS for name in ("n", "RMSE", "mad_std", "bias")]
    heading += [f"coverage {group}" for group in ("all", "poor")]
    tables = {}
    for label in labels:
        rows, symbol, unit = [], SYMBOLS.get(label, label), ""
        for name, facts in entries:
            if label not in facts["labels"]:
                continue
            found = facts["labels"][label]
            symbol, unit = found.get("symbol", symbol), found["unit"]
            row = [name, facts["spectra"]]
            for group in GROUPS:
                row.append(f"{found[group]['n']:,}")
                row += [_score(found[group][key], unit) for key in ("rmse", "mad_std", "bias")]
            row += [_score(found[group]["coverage_1sigma"], "share") for group in ("all", "poor")]
            rows.append(row)
        tables[f"{plain(symbol)} ({unit_text(unit)})"] = Table(heading, rows, 2)
    return tables


def plain(symbol: str) -> str:
    """Remove the mathtext commands from a label's symbol."""
    for mark, instead in (("\\mathrm", ""), ("\\log", "log"), ("$", ""), ("_", "")):
        symbol = symbol.replace(mark, instead)
    return symbol.replace("{", "").replace("}", "").replace("\\", "")


def _score(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if unit == "share" else f"{value:.1f}" if unit == "K" else f"{value:.3f}"


def table1(run: Path) -> Table | None:
    """Table 1 beside the published numbers, for any survey; None where it is not made.

    Raises
    ------
    SpectraFMError
        When the table is damaged, or is not the one that its Markdown file was written with.
    """
    path = run / "tables/table1.csv"
    if not path.exists():
        return None
    markdown = path.with_suffix(".md")
    if markdown.exists():
        check_formats(markdown)
    frame = read_csv(path, ["label", "unit"])
    with reading(path, "table of scores"):
        keys = list(dict.fromkeys(name.rpartition(":")[0] for name in frame if ":" in name))
        keys = [key for key in keys if not key.startswith("published ")]
        rows = []
        for _, found in frame.iterrows():
            label, unit = found["label"], found["unit"]
            for measure, name in MEASURES.items():
                values = [found.get(f"{key}:{measure}") for key in keys]
                cells = [_table1_cell(value, measure, unit) for value in values]
                said = [TABLE1[model].get(label) for model in TABLE1]
                cells += [f"{v:g}" if v and measure == "mad_std" else "" for v in said]
                symbol = plain(SYMBOLS.get(label, label))
                rows.append([f"{symbol} ({unit_text(unit)})" if measure == "mad_std" else "", name])
                rows[-1] += cells
    heading = ["label", "score", *keys, *(f"published: {model}" for model in TABLE1)]
    return Table(heading, rows, 2)


def _table1_cell(value: Any, measure: str, unit: str) -> str:
    if value is None or pd.isna(value):
        return "–"
    return f"{int(value):,}" if measure == "n" else _score(float(value), unit)


def figure4_beside_published(metrics: dict[str, Any]) -> Table | None:
    """RMSE of [Fe/H] beside those of the published Figure 4; None without such predictions."""
    rows = []
    for name, (everyone, poor) in FIGURE4.items():
        found = metrics["predictions"].get(name, {}).get("labels", {}).get("FE_H")
        ours = [_score(found[group]["rmse"], "dex") if found else "–" for group in ("all", "poor")]
        rows.append([name, ours[0], f"{everyone:.3f}", ours[1], f"{poor:.3f}"])
    heading = ["prediction", "all: ours", "all: published", "poor: ours", "poor: published"]
    return Table(heading, rows) if any(row[1] != "–" for row in rows) else None


def figures(run: Path) -> list[Figure]:
    """List the figures of the registry, then all others in the run's folder.

    A figure that not every run makes is listed where it is there.

    Raises
    ------
    SpectraFMError
        When one is not a complete PNG file.
    """
    folder = run / "figures"
    extra = [path.stem for path in sorted(folder.glob("*.png")) if path.stem not in FIGURES]
    found = []
    for name in (*FIGURES, *extra):
        png, pdf = (folder / f"{name}.{kind}" for kind in ("png", "pdf"))
        if png.exists():
            check_figure(png)
        elif FIGURES[name].alone or FIGURES[name].optional:
            continue
        found.append(
            Figure(
                name,
                name.replace("figure", "Figure ") if name in FIGURES else name,
                caption_of(FIGURES[name].where) if name in FIGURES else "",
                base64.b64encode(png.read_bytes()).decode() if png.exists() else "",
                f"figures/{pdf.name}" if pdf.exists() else "",
            )
        )
    return found


def outcome(metrics: dict[str, Any]) -> list[str]:
    """Sentences on the lowest and highest RMSE of [Fe/H], of the evaluation with most models."""
    compared: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, facts in metrics["predictions"].items():
        if facts["spectra"] == "observed" and "FE_H" in facts["labels"]:
            stage, _, evaluation = name.partition("--")
            compared.setdefault(evaluation, []).append((stage, facts["labels"]["FE_H"]))
    if not compared:
        return []
    evaluation, entries = max(compared.items(), key=lambda item: len(item[1]))
    sentences = []
    for group, who in (("poor", "iron-poor"), ("rich", "iron-rich")):
        ranked = sorted(
            (found[group]["rmse"], stage, found[group]["n"])
            for stage, found in entries
            if found[group]["rmse"] is not None
        )
        if ranked:
            (low, best, n), (high, worst, _) = ranked[0], ranked[-1]
            text = f"[Fe/H] of {n:,} {who} stars is predicted best by {best}, RMSE {low:.3f} dex"
            if worst != best:
                text += f", and worst by {worst}, {high:.3f} dex"
            sentences.append(f"{text} (evaluation {evaluation}, {len(ranked)} models).")
    return sentences
