"""One self-contained page with everything that a run made."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.integrity import faults_beside, hashes_beside
from spectrafm.labels import SYMBOLS, UNITS

FIGURES = {
    "figure1": "An observed spectrum and ASPCAP's synthetic best fit of the same star.",
    "figure2": "The wavelengths that each stage of the training sees.",
    "figure3": "Labels predicted from observed spectra against the catalogue's.",
    "figure4": "[Fe/H] from the window around two Fe lines, stage by stage.",
    "figure5": "Where the network looks when it is asked for a label, upside down.",
}

#: What the page shows, or shows a part of, and no other list of SHA-256 names.
SHOWN = ("catalogue/*.csv", "catalogue/astronn.parquet", "metrics.json", "tables/*", "figures/*")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { padding: .2em .6em; text-align: right; }
td { white-space: nowrap; } th { border-bottom: 1px solid; vertical-align: bottom; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; } figure { margin: 2em 0; } figcaption { color: #555; }
.mock { background: #fff3cd; padding: .6em 1em; font-weight: bold; }
"""


def report(output: Path) -> None:
    """Write ``report.html`` from what stands beside it in the run's folder.

    Parameters
    ----------
    output : Path
        ``results/<run>/report.html``.

    Raises
    ------
    SpectraFMError
        When a part of the run is missing.
    """
    run = output.parent
    metrics = files.read_json(run / "metrics.json")
    sections = [
        ("Stars", _stars(run)),
        ("Models", _models(run)),
        ("Scores of [Fe/H]", _scores(metrics, "FE_H")),
        ("Table 1", _table1(_text(run / "tables/table1.md"))),
        *((_title(name), _figure(run, name, caption)) for name, caption in FIGURES.items()),
    ]
    body = "".join(f"<h2>{title}</h2>\n{content}\n" for title, content in sections)
    banner = '<p class="mock">MOCK SURVEY: simulated stars.</p>' if metrics["mock"] else ""
    name = html.escape(run.name)
    made_with = hashes_beside(output, sorted(p for part in SHOWN for p in run.glob(part)))
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>SpectraFM: {name}</title>"
        f"<style>{STYLE}</style><h1>SpectraFM: {name}</h1>{banner}"
        f"<p>Made by spectrafm {html.escape(files.code_version())}.</p>\n{body}"
        f"<script type='application/json'>{json.dumps(made_with)}</script></html>\n"
    )
    files.write_text(output, f"{page}<!-- {_digest(page)} -->\n")


def faults_in_report(path: Path) -> tuple[int, list[str]]:
    """What in a run is not as the report shows it, the report's own text included.

    Parameters
    ----------
    path : Path
        ``results/<run>/report.html``.

    Returns
    -------
    count : int
        How many files the report was made with.
    faults : list of str
    """
    page, _, end = path.read_text(errors="replace").rpartition("<!-- ")
    if end != f"{_digest(page)} -->\n":
        return 0, [f"{path}: damaged, its SHA-256 differs"]
    found = re.search("<script type='application/json'>(.*)</script></html>\n$", page)
    made_with = json.loads(found[1])
    return len(made_with), list(faults_beside(path, made_with))


def _digest(page: str) -> str:
    return f"SHA-256 of all above: {hashlib.sha256(page.encode()).hexdigest()}"


def _title(name: str) -> str:
    return name.replace("figure", "Figure ")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None


def _stars(run: Path) -> str:
    """The funnel, and that what was asked for is what is there plus what is missing."""
    funnel = pd.read_csv(run / "catalogue/funnel.csv")
    missing = files.read_parquet(run / "catalogue/missing.parquet")
    lost = missing[~missing["replaced"]]
    reasons = lost["reason"].value_counts()
    listed = "".join(f"<li>{html.escape(str(r))}: {n}</li>" for r, n in reasons.items())
    counts = missing.attrs["counts"]
    flags = pd.read_csv(run / "catalogue/flags.csv")
    return (
        f"{funnel.to_html(index=False, border=0)}"
        f"<p>Rows that each flag cut removed, and those with no other flag of the cut:</p>"
        f"{flags.to_html(index=False, border=0)}"
        f"<p>{counts['asked']} stars asked for = {counts['verified']} verified + "
        f"{counts['unverified']} unverified (no published SHA-1) + {counts['missing']} missing; "
        f"{int(missing['replaced'].sum())} stored from another observation.</p><ul>{listed}</ul>"
    )


def _models(run: Path) -> str:
    rows = []
    for folder in sorted((run / "models").iterdir()):
        facts = files.read_json(folder / "config.json")
        rows.append(
            {
                "stage": facts["stage_name"],
                "starts from": facts["started_from"] or "scratch",
                "spectra": facts["stage"]["spectra"],
                "stars": facts["training_star_count"],
                "epoch kept": f"{facts['epoch']} of {facts['epochs_trained']}",
                "chosen by": facts["stage"]["selection"],
                "validation loss": f"{facts['validation_loss']:.3f}",
            }
        )
    return pd.DataFrame(rows).to_html(index=False, border=0)


def _scores(metrics: dict[str, Any], label: str) -> str:
    rows = []
    for name, facts in metrics["predictions"].items():
        if label not in facts["labels"]:
            continue
        groups = facts["labels"][label]
        row: dict[str, Any] = {"prediction": name}
        for group in ("all", "rich", "poor"):
            found = groups[group]
            row[f"n {group}"] = found["n"]
            for measure in ("rmse", "mad_std", "bias"):
                value = found[measure]
                row[f"{measure} {group}"] = "" if value is None else f"{value:.3f}"
        rows.append(row)
    table = pd.DataFrame(rows).to_html(index=False, border=0)
    return f"<p>{SYMBOLS[label]}, {UNITS[label]}; rich and poor: above and below -1.</p>{table}"


def _table1(markdown: str) -> str:
    """The Markdown of Table 1 (a pipe table and a list of notes) as HTML."""
    lines = [html.escape(line) for line in markdown.splitlines()]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    heading, _, *body = [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
    notes = "".join(f"<li>{line[2:]}</li>" for line in lines if line.startswith("- "))
    head = "".join(f"<th>{cell}</th>" for cell in heading)
    return f"<table><tr>{head}</tr>{rows}</table><ul>{notes}</ul>"


def _figure(run: Path, name: str, caption: str) -> str:
    path = run / "figures" / f"{name}.png"
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{encoded}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
