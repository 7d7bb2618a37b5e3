"""The command ``report``: one page with everything that a run made, and the run's checksums."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import jinja2

from spectrafm import files
from spectrafm.evaluation.metrics import read_metrics
from spectrafm.report import content
from spectrafm.report.chain import exchanged_parts
from spectrafm.report.stages import read_stages
from spectrafm.report.sums import write_run_checksums

logger = logging.getLogger(__name__)

FUNNEL = {"cut": "cut", "rows": "rows left", "stars": "stars left"}
FLAGS = {
    "cut": "cut",
    "flag": "flag",
    "rows_with_flag": "rows with this flag",
    "rows_removed_only_by_it": "rows that no other flag removes",
}


def report(output: Path) -> None:
    """Write one page with everything that a run made, and the checksums of the run.

    The page is made from the files in its folder, the run's, and lists what is missing there. A
    part that is not the one with which another part was made is named on the page and logged as a
    warning, since a page of a run under way is wanted too; `verify` takes it for an error.
    ``SHA256SUMS`` is written beside the page: ``sha256sum -c SHA256SUMS`` checks the run.

    Parameters
    ----------
    output : pathlib.Path
        HTML file to write, at the top of the run's folder: results/<run>/report.html.

    Raises
    ------
    SpectraFMError
        When the run has no metrics.json, or a file of the run is damaged.

    Examples
    --------
    $ spectrafm report results/demo/report.html
    """
    files.require_suffix(output, ".html")
    output = Path(output)
    page = _template().render(_content(output.parent))
    files.write_text(output, page)
    listed = write_run_checksums(output.parent)
    logger.info("%s: %d bytes; SHA256SUMS lists %d files", output, len(page), listed)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spectrafm.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def _content(run: Path) -> dict[str, Any]:
    """Values of the template's variables for a run's folder."""
    metrics = read_metrics(run / "metrics.json")
    exchanged = exchanged_parts(run)
    for line in exchanged:
        logger.warning("%s", line)
    stages = read_stages(run)
    survey = content.survey_of(run)
    figures = content.figures(run)
    parts = {
        "funnel": content.csv_table(run / "catalogue/funnel.csv", FUNNEL, 1),
        "flags": content.csv_table(run / "catalogue/flags.csv", FLAGS, 2),
        "table1": content.table1(run),
    }
    missing = [
        name
        for name, there in (
            ("selected stars", "stars" in survey),
            ("list of missing spectra", survey["counts"]),
            ("funnel", parts["funnel"]),
            ("counts of flags", parts["flags"]),
            ("models", stages),
            ("Table 1", parts["table1"]),
            *((figure.title, figure.image) for figure in figures),
        )
        if not there
    ]
    predictions = [f"predictions/{name}.parquet" for name in metrics["predictions"]]
    return {
        "run": run.name,
        "mock": metrics["mock"] or any(stage.mock for stage in stages),
        "date": content.now(),
        "machine": content.machine(),
        "survey": survey,
        "stages": stages,
        "outcome": content.outcome(metrics),
        "times": content.run_times(run, stages),
        "scores": content.scores(metrics, stages),
        "flagged": [
            f"{name}: {facts['flagged']:,} of {facts['asked']:,} rows"
            for name, facts in metrics["predictions"].items()
            if facts.get("flagged")
        ],
        "figure4_published": content.figure4_beside_published(metrics),
        "figures": figures,
        "missing": missing,
        "exchanged": exchanged,
        "files": [name for name in ("metrics.json", *predictions) if (run / name).exists()],
        "tables": sorted(f"tables/{path.name}" for path in run.glob("tables/[!.]*")),
        **parts,
    }
