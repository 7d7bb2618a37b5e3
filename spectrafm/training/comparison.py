"""How a fine-tuned model compares with simple ones, on stars set aside, and which one to use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.inference.answers import OPTIONS
from spectrafm.inference.model import TrainedModel
from spectrafm.networks.options import Model
from spectrafm.store.read import StarSet, load_stars
from spectrafm.training.labelled import Labelled
from spectrafm.training.options import Stage
from spectrafm.training.train import train

#: Shares of the stars: to compare on, to calibrate the final model on; and of those with the lowest
#: values of the main label, which the models of one more comparison never see.
TEST, VALIDATION, OUTSIDE = 0.25, 0.2, 0.15

FINETUNED, RIDGE, SCRATCH, TUNED = "fine-tuned", "ridge", "MLP from scratch", "pre-trained MLP"

#: What needs no training: the mean of the training stars' labels, and the start for what it knows.
MEAN, START = "mean label, no spectrum", "start, not fine-tuned"


def split_of(usable: np.ndarray, test: float, validation: float, rng: Any) -> np.ndarray:
    """A random side of the split for each usable star; empty for the others."""
    rows = rng.permutation(np.flatnonzero(usable))
    split = np.full(len(usable), "", dtype="U10")
    split[rows] = "train"
    tested = round(test * len(rows))
    split[rows[:tested]] = "test"
    split[rows[tested : tested + max(2, round(validation * (len(rows) - tested)))]] = "validation"
    return split


def compared(
    trained: TrainedModel,
    stages: dict[str, tuple[Stage, Path | None]],
    stars: Labelled,
    usable: np.ndarray,
    draws: int,
    seed: int,
    folder: Path,
) -> Iterator[dict[str, Any]]:
    """Train and score each model in each division of the stars.

    Parameters
    ----------
    trained : TrainedModel
        The start, which is scored as it is too.
    stages : dict of str to (Stage, pathlib.Path or None)
        The trainings by name: options, and the model that each starts from.
    stars : Labelled
    usable : numpy.ndarray of bool, shape (n,)
        Stars with a label and a good pixel.
    draws : int
        Number of random divisions; one more sets the stars with the lowest values aside.
    seed : int
        Of the divisions.
    folder : pathlib.Path
        For stores and models, which nobody needs afterwards.

    Yields
    ------
    dict
        One score: ``model``, ``draw``, ``stars`` (inside or outside the labels of the training
        stars), ``label``, ``n`` stars, ``rmse``, and ``relative`` to the spread of the label.
    """
    names = [label.name for label in stars.labels]
    main = names.index("FE_H") if "FE_H" in names else 0
    for draw in range(draws + 1):
        rng = np.random.default_rng([seed, draw])
        split = split_of(usable, TEST, 0.1, rng)
        where = "inside"
        if draw == draws:
            where = "outside"
            values = np.where(usable, stars.label[:, main], np.nan)
            known = np.flatnonzero(np.isfinite(values))
            lowest = known[np.argsort(values[known])][: max(3, round(OUTSIDE * len(known)))]
            rest = usable.copy()
            rest[lowest] = False
            split = split_of(rest, 0, 0.1, rng)
            split[lowest] = "test"
        store = stars.write(folder / f"{draw}.zarr", split)
        mean = np.nanmean(stars.label[split == "train"], axis=0)
        yield from _scored(mean - stars.label[split == "test"], MEAN, draw, where, stars)
        yield from _scores(trained, store, stages[FINETUNED][0], START, draw, where, stars)
        for name, (stage, start) in stages.items():
            made = folder / f"{draw}-{len(name)}"
            train(store, name="x", output=made, start=start, stage=stage, model=Model())
            made = TrainedModel.load(made)
            yield from _scores(made, store, stage, name, draw, where, stars)


def _scores(
    trained: TrainedModel,
    store: Path,
    stage: Stage,
    name: str,
    draw: int,
    where: str,
    stars: Labelled,
) -> Iterator[dict[str, Any]]:
    errors = trained.network.wants_errors
    tested = load_stars(store, "observed", "test", stage.windows, stage.flux_range, errors)
    chunks = trained.contexts(tested.wavelength, stage.windows)
    known = [label.name for label in stars.labels if label.name in trained.network.labels]
    off = np.full((len(tested), len(stars.labels)), np.nan)
    if known:
        value = trained.answer(tested, known, chunks, OPTIONS).value
        for column, label in zip(value.T, known, strict=True):
            place = [own.name for own in stars.labels].index(label)
            off[:, place] = column - _label(tested, label)
    yield from _scored(off, name, draw, where, stars)


def _scored(
    off: np.ndarray, name: str, draw: int, where: str, stars: Labelled
) -> Iterator[dict[str, Any]]:
    """Scores of the differences from the labels, shape (n, labels)."""
    for place, label in enumerate(stars.labels):
        difference = off[np.isfinite(off[:, place]), place]
        spread = np.nanstd(stars.label[:, place]) or 1.0
        rmse = float(np.sqrt(np.mean(difference**2))) if len(difference) else np.nan
        yield {
            "model": name, "draw": draw, "stars": where, "label": label.name, "n": len(difference),
            "rmse": rmse, "relative": rmse / spread,
        }  # fmt: skip


def _label(stars: StarSet, name: str) -> np.ndarray:
    return stars.label[:, [label.name for label in stars.labels].index(name)]


def summary_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Median over the draws of each model's RMSE, by label, inside and outside."""
    keys = ["model", "label", "stars"]
    return scores.groupby(keys, sort=False)[["rmse", "relative"]].median().reset_index()


def as_text(summary: pd.DataFrame, stars: Labelled, count: int, output: Path) -> str:
    """The comparison as a table, and which model it speaks for."""
    rmse = summary.pivot(index="model", columns=["label", "stars"], values="rmse")
    rmse = rmse.loc[list(dict.fromkeys(summary["model"]))]
    shown = pd.DataFrame(
        {
            f"{label.name}{f' [{label.unit}]' if label.unit else ''} {where}": rmse[label.name][
                where
            ]
            for label in stars.labels
            for where in ("inside", "outside")
        }
    ).map(lambda value: "-" if np.isnan(value) else f"{value:.3g}")
    relative = summary.pivot(index="model", columns=["label", "stars"], values="relative")
    # Who does not know one of the labels is no choice.
    relative = relative.loc[rmse.index].dropna(axis=1, how="all")
    best = {
        where: relative.xs(where, axis=1, level="stars").mean(axis=1, skipna=False).idxmin()
        for where in ("inside", "outside")
    }
    chosen = relative.mean(axis=1, skipna=False).idxmin()
    lines = [
        f"RMSE on stars set aside, {count} labelled spectra, median of the divisions. Inside: like "
        "the training stars; outside: with lower values than any of them.",
        shown.to_string(),
        f"Best inside: {best['inside']}. Best outside: {best['outside']}. Of these it would use: "
        f"{chosen}.",
    ]
    partial = relative.index[relative.isna().any(axis=1)]
    lines += [
        f"For {label} alone {first} is better {where}; it does not know every label."
        for (label, where), first in relative.idxmin().items()
        if first in partial
    ]
    lines.append(f"Written: {output}, {FINETUNED}.")
    if chosen != FINETUNED:
        lines.append(f"The model that is written is not the best one here: {chosen} is.")
    return "\n".join(lines)
