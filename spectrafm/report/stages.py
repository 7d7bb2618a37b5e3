"""Reading of a run's trained models, in the order of training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict

from spectrafm.evaluation.wording import model_name, windows_text
from spectrafm.figures.models import facts_of
from spectrafm.reading import read_csv, reading
from spectrafm.report.curves import loss_curve


class Stage(NamedTuple):
    """A trained model as the page shows it."""

    name: str
    start: str  # stage that it started from, or scratch
    model: str  # architecture and kind of training
    windows: str
    stars: int
    epochs: str
    chosen: str
    loss: str
    seed: str
    seconds: float | None
    device: str
    options: list[tuple[str, Any]]
    curve: str  # SVG
    mock: bool

    @property
    def time(self) -> str:
        """Run time of the training as text."""
        return "unknown" if self.seconds is None else time_text(self.seconds)


def time_text(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def read_stages(run: Path) -> list[Stage]:
    """Read every model in ``models/``, each after the one that it started from.

    Raises
    ------
    SpectraFMError
        When a model is damaged.
    """
    folders = [path for path in sorted((run / "models").glob("[!.]*")) if path.is_dir()]
    facts = {folder.name: _facts(folder) for folder in folders}
    parents = {name: found["stage"]["start_from"] for name, found in facts.items()}
    return [_stage(run, name, facts[name]) for name in in_order(parents)]


class _Facts(BaseModel):
    """Facts of a model that only the page shows; versions before this one lack some."""

    model_config = ConfigDict(extra="ignore", strict=True)

    epoch: int | None = None
    epochs_trained: int | None = None
    validation_loss: float | None = None
    seconds: float | None = None
    environments: list[dict[str, Any]] | None = None


def _facts(model: Path) -> dict[str, Any]:
    """Read a model's ``config.json`` as `facts_of` does, and check what the page shows of it."""
    facts = facts_of(model)
    with reading(model / "config.json", "model's facts"):
        return facts | _Facts.model_validate(facts).model_dump(exclude_unset=True)


def in_order(parents: dict[str, str | None]) -> list[str]:
    """Order stages so that each comes after its start, the one with most descendants first.

    Parameters
    ----------
    parents : dict
        Name of each stage -> name of the stage that it starts from, or None.
    """
    children: dict[str | None, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent if parent in parents else None, []).append(name)

    def family(name: str) -> list[str]:
        own = sorted((family(child) for child in children.get(name, [])), key=_largest_first)
        return [name, *(member for branch in own for member in branch)]

    roots = sorted((family(root) for root in children.get(None, [])), key=_largest_first)
    return [name for branch in roots for name in branch]


def _largest_first(family: list[str]) -> tuple[int, str]:
    return -len(family), family[0]


def _stage(run: Path, name: str, facts: dict[str, Any]) -> Stage:
    stage = facts["stage"]
    metrics = _metrics(run / "models" / name / "metrics.csv")
    loss = facts.get("validation_loss")
    places = facts.get("environments") or []
    return Stage(
        name=name,
        start=stage["start_from"] or "scratch",
        model=model_name(stage),
        windows=windows_text(stage["windows"]),
        stars=facts["training_star_count"],
        epochs=f"{facts.get('epoch', '?')} of {facts.get('epochs_trained', '?')}",
        chosen=stage["selection"],
        loss=f"{loss:.3f}" if isinstance(loss, float) else "",
        seed=str(stage.get("seed", "")),
        seconds=_seconds(run, name, facts, metrics),
        device="; ".join(str(place.get("device", "?")) for place in places),
        options=list(_flat(stage)),
        curve=loss_curve(metrics),
        mock=bool(facts.get("mock", False)),
    )


def _metrics(path: Path) -> pd.DataFrame:
    """Read the course of a training; empty for a network that is solved in one step."""
    if not path.exists() or path.stat().st_size <= 1:
        return pd.DataFrame()
    with reading(path, "course of a training"):
        return read_csv(path, ["epoch"]).astype(float)


def _seconds(run: Path, name: str, facts: dict[str, Any], metrics: pd.DataFrame) -> float | None:
    """Run time that the model records, else that of the workflow's benchmark."""
    if isinstance(facts.get("seconds"), (int, float)):
        return float(facts["seconds"])
    if "seconds" in metrics and len(metrics):
        return float(metrics["seconds"].max())
    return benchmark_seconds(run, f"train/{name}")


def benchmark_seconds(run: Path, job: str) -> float | None:
    """Read a job's run time, s, from Snakemake's ``benchmarks/<job>.tsv``; None without it."""
    path = run / "benchmarks" / f"{job}.tsv"
    if not path.exists():
        return None
    with reading(path, "benchmark"):
        return float(read_csv(path, ["s"], "\t")["s"].astype(float).mean())


def _flat(options: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Flatten nested options to dotted keys."""
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
