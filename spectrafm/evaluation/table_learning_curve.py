"""The command ``table-learning-curve``: error against the number of training stars."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from spectrafm.evaluation.made_with import made_with_text
from spectrafm.evaluation.paired import LEVEL, Bootstrap
from spectrafm.evaluation.repeated import Family, families_of
from spectrafm.evaluation.scores import GROUPS
from spectrafm.evaluation.wording import survey_of
from spectrafm.files import code_version, require_suffix, write_text
from spectrafm.integrity import hashes_beside
from spectrafm.networks import NETWORKS

logger = logging.getLogger(__name__)


def table_learning_curve(predictions: Sequence[Path], *, label: str = "FE_H", output: Path) -> None:
    """Tabulate each stage's RMSE against the number of stars that it learned from.

    The model that a stage starts from stands at 0 stars, a stage on all stars at their number.

    Parameters
    ----------
    predictions : sequence of pathlib.Path
        Prediction files of the same stars: stages with several numbers of stars, and several draws
        of each, and the models that they start from.
    label : str
        Name of the label that is scored.
    output : pathlib.Path
        CSV file to write, one row a stage and number of stars: the median RMSE of all draws, and
        the ends of its bootstrap interval over stars and draws. A Markdown table is written beside
        it.

    Raises
    ------
    SpectraFMError
        When a file is missing or damaged, a prediction lacks the label, or the predictions are of
        different stars.

    Examples
    --------
    $ spectrafm table-learning-curve results/demo/predictions/*--iron_window.parquet
      --output=learning_curve.csv
    """
    require_suffix(output, ".csv")
    families = families_of(predictions, label)
    points = [point for family in families.values() for point in _points(family)]
    starts = {point.facts["trained"].get("start_from") for point in points}
    at = {}
    for point in points:
        stage, trained = point.facts["stage"], point.facts["trained"]
        if stage not in starts:
            count = (trained.get("stars") or {}).get("count")
            at[point.stage, count or point.facts.get("training_stars", 0)] = point
        if (start := trained.get("start_from")) in families and stage not in starts:
            at.setdefault((point.stage, 0), families[start])
    at = at or {(point.stage, point.facts.get("training_stars", 0)): point for point in points}
    bootstrap = Bootstrap(points[0].residual.shape[1])
    rows = pd.DataFrame(
        [
            {
                "stage": stage,
                "stars": stars,
                "label": label,
                "symbol": point.symbol,
                "unit": point.unit,
                **_scores(point, bootstrap),
            }
            for (stage, stars), point in sorted(at.items(), key=lambda item: item[0][1])
        ]
    )
    order = {stage: place for place, stage in enumerate(families)}
    rows = rows.sort_values("stage", key=lambda column: column.map(order), kind="stable")
    write_text(output, rows.to_csv(index=False, float_format="%.6g"))
    inputs = hashes_beside(output.parent, predictions)
    text = _markdown(rows, label, points[0].unit, _needs(points, rows["stars"]))
    write_text(output.with_suffix(".md"), f"{text}\n{made_with_text(inputs, [output])}")
    logger.info("%s: %d curves, %d points", output, rows["stage"].nunique(), len(rows))


def _points(family: Family) -> list[Family]:
    """Divide the repeats of a stage by their number of stars."""
    found: dict[Any, list[pd.DataFrame]] = {}
    for table in family.tables:
        count = (table.attrs["trained"].get("stars") or {}).get("count")
        found.setdefault(count, []).append(table)
    return [Family(family.stage, tables, family.label) for tables in found.values()]


def _needs(points: Sequence[Family], stars: pd.Series) -> list[str]:
    """Say which stages are missing at the smallest number of stars, since their network needs more.

    Only what a prediction says of its network counts: one of an unknown network needs nothing.
    """
    found = {}
    for point in points:
        trained = point.facts["trained"]
        network = NETWORKS.get(trained.get("architecture"))
        if network is not None:
            found[point.stage] = network.fewest(len(trained.get("labels") or ()))
    smallest = stars[stars > 0].min()
    return [
        f"{stage} is not trained on fewer than {fewest} stars, which its network needs."
        for stage, fewest in found.items()
        if fewest > smallest
    ]


def _scores(point: Family, bootstrap: Bootstrap) -> dict[str, Any]:
    """Number of draws, and RMSE with interval and number of stars of each group."""
    row: dict[str, Any] = {
        "survey": point.survey,
        "draws": len(point.tables),
    }
    first = point.rows()[0]
    for group, members in point.groups.items():
        found = bootstrap.rmse(point.residual, members)
        ends = (None, None, None) if found is None else found
        row[f"n_{group}"] = first[f"n_{group}"]
        row |= dict(zip((f"rmse_{group}", f"low_{group}", f"high_{group}"), ends, strict=True))
    return row


def _markdown(rows: pd.DataFrame, label: str, unit: str, needs: Sequence[str]) -> str:
    """Format a table for each group of stars: one line a stage, one column a number of stars."""
    survey = survey_of(rows)
    lines = [f"# RMSE of {label} ({survey}, {unit}) against the number of training stars", ""]
    for group, meaning in GROUPS.items():
        cells = rows.assign(
            cell=[
                _cell(row[f"rmse_{group}"], row[f"low_{group}"], row[f"high_{group}"])
                for _, row in rows.iterrows()
            ]
        )
        table = cells.pivot(index="stage", columns="stars", values="cell").fillna("")
        table = table.loc[list(dict.fromkeys(rows["stage"]))]
        lines += [f"## {meaning}", "", table.to_markdown(disable_numparse=True), ""]
    return "\n".join(
        [
            *lines,
            f"[{LEVEL:.0%} of bootstrap samples of test stars and draws]. 0 stars: the model that "
            "the stage starts from. Each stage takes the same number of steps for all numbers of "
            "stars.",
            *needs,
            "",
            f"Made by SpectraFM {code_version()}.",
            "",
        ]
    )


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or pd.isna(value):
        return "–"
    value, low, high = (f"{number:.3f}".lstrip("0") for number in (value, low, high))
    return f"{value} [{low}-{high}]"
