"""The stars of a stage: those that it learns from, is validated on, and replays."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.twin import Twin
from spectrafm.labels import names_in
from spectrafm.store.read import StarSet, load_stars
from spectrafm.training.gap import Gap, fit_gap, painted, twin_of
from spectrafm.training.options import Stage, Stars
from spectrafm.training.stars import balanced, choose, meets, subset, with_labelled
from spectrafm.training.teaching import pseudo_labelled, remembered

#: Number of stars of a stage below which none is set aside, or left out of a second training.
FEWEST = 50


class StageStars(NamedTuple):
    """Stars of a stage."""

    drawn: StarSet  # all stars of the stage: the training stars and those that are set aside
    training: StarSet
    validation: StarSet
    calibration: StarSet  # of the validation split: the validation stars, but with `paper`
    replayed: StarSet | None  # of the training split, not painted yet
    gap: Gap | None  # fitted to the training stars, where spectra are painted
    twin: Twin | None  # by which all these spectra but the replayed ones are read
    lessons: tuple[StarSet, ...]  # all that the stage learns from, replayed ones too, no twins
    unseen: StarSet  # `calibration`, no twins


def stars_of(
    store: Path,
    stage: Stage,
    errors: bool,
    start: TrainedModel | None = None,
    teacher: TrainedModel | None = None,
) -> StageStars:
    """Load the stars of a stage.

    Validation stars fulfil the same condition as the training stars and are of the validation
    split. With ``selection: paper`` they are instead those of the authors: stars of the training
    split, half of them iron-poor. With ``selection: painted`` they are synthetic spectra of the
    whole validation split, painted with what the gap leaves of the stars that are set aside, or
    else of the training stars, whose residuals a network learns to overlook: it seems more exact on
    spectra painted with them than it is. A stage with a twin gets the twins of all of these. With a
    teacher all stars have its labels, which the condition then refers to.

    Parameters
    ----------
    store : pathlib.Path
    stage : Stage
    errors : bool
        Whether the network reads errors of the flux.
    start : TrainedModel, optional
        The model that the stage starts from.
    teacher : TrainedModel, optional
        The model that labels the stars.

    Raises
    ------
    SpectraFMError
        When no star fulfils the stage's condition, or the store lacks the spectra.
    """
    paints = stage.replay.spectra == "painted" or stage.selection == "painted"
    needs_gap = paints or stage.twin.components is not None
    # Labels are loaded in any case; what else a condition names is a column.
    conditions = (stage.stars.where, *stage.stars.labelled.values())
    named = [name for one in conditions for name in names_in(one) if name.islower()]
    columns = tuple(dict.fromkeys([*stage.inputs, *named]))
    options = (stage.windows, stage.flux_range, errors or needs_gap, columns)
    everyone = load_stars(store, stage.spectra, "train", *options)
    if teacher is not None:
        everyone = pseudo_labelled(everyone, teacher, store, "train")
    drawn = training = choose(with_labelled(everyone, stage.stars.labelled), stage.stars)
    aside = replayed = synthetic = gap = judging = twin = None
    if stage.stars.aside and len(drawn) >= FEWEST:
        training, aside = _parted(drawn, stage.stars)
    if stage.replay.spectra in ("synthetic", "painted") or needs_gap:
        synthetic = replayed = load_stars(store, "synthetic", "train", *options)
    if stage.replay.spectra == "start":
        replayed = remembered(everyone, start, store)
    if needs_gap:
        gap = fit_gap(training, synthetic)
        judging = gap if aside is None else gap.seen_in(aside, synthetic)
    calibration = _of_validation_split(store, stage, judging, options, teacher)
    validation = calibration
    if stage.selection == "paper":
        validation = balanced(everyone)
    elif not len(validation):
        condition = "a label" if stage.stars.where is None else stage.stars.where
        raise SpectraFMError(f"{store}: no validation star has {condition}")
    lessons, unseen = (training,), calibration
    if stage.replay.spectra is not None:
        again = replayed
        if stage.replay.spectra == "painted":
            again = painted(synthetic, gap, stage.flux_range, stage.seed)
        lessons = (training, again)
    if stage.twin.components is not None:
        twin = twin_of(gap, synthetic, stage.twin.components)
        training, validation, calibration = map(twin.of, (training, validation, calibration))
    return StageStars(
        drawn, training, validation, calibration, replayed, gap, twin, lessons, unseen
    )


def _parted(stars: StarSet, options: Stars) -> tuple[StarSet, StarSet]:
    """Divide the stars of a stage into those that it learns from and those set aside."""
    order = np.random.default_rng(options.seed).permutation(len(stars))
    count = round(options.aside * len(stars))
    return subset(stars, np.sort(order[count:])), subset(stars, np.sort(order[:count]))


def _of_validation_split(
    store: Path, stage: Stage, gap: Gap | None, options: tuple, teacher: TrainedModel | None
) -> StarSet:
    """Load the stars of the validation split that are of the kind that the stage learns from."""
    if stage.selection == "painted":
        synthetic = load_stars(store, "synthetic", "validation", *options)
        return painted(synthetic, gap, stage.flux_range, stage.seed)
    windows, flux_range, _, columns = options
    # With errors, for the signal-to-noise ratios.
    found = load_stars(store, stage.spectra, "validation", windows, flux_range, True, columns)
    if teacher is not None:
        found = pseudo_labelled(found, teacher, store, "validation")
    found = with_labelled(found, stage.stars.labelled)
    return subset(found, meets(found, stage.stars.where))
