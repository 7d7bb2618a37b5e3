"""Pseudo-labels: what a teacher says of stars from its own windows, for a stage on other windows.

A model of some wavelengths labels stars of which no catalogue label is read. A network of other
wavelengths learns these labels from the same stars, so that pairs of spectra without any label
carry what the teacher knows from the one instrument to the other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.inference.chunks import BLOCK
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.store.read import StarSet
from spectrafm.training.stars import meets, subset

#: Why a model that has learned pseudo-labels has no calibrated intervals.
NOT_CALIBRATED = "it learned labels of a teacher, whose errors its own do not contain"


def pseudo_labelled(stars: StarSet, teacher: TrainedModel, store: Path, split: str) -> StarSet:
    """Replace the labels of all stars of a side of the split by those that a teacher predicts.

    The error of a label is the teacher's uncertainty of it. A star that the teacher has learned
    from, as far as its model names them, loses its labels: a stage learns from the others.

    Parameters
    ----------
    stars : StarSet
        All stars of this side of the split.
    teacher : TrainedModel
    store : pathlib.Path
        Store of the stars, which has the teacher's windows too.
    split : {"train", "validation"}

    Raises
    ------
    SpectraFMError
        When the store lacks a label that the teacher knows, or has it in another unit.
    """
    units = {label.name: label.unit for label in stars.labels}
    known = {label.name: label.unit for label in teacher.network.label_table}
    for name in teacher.labels:
        if units.get(name) != known[name]:
            raise SpectraFMError(
                f"{teacher.folder}: the teacher's {name} is in {known[name]}, that of {store} in "
                f"{units.get(name, 'no unit: it has no such label')}"
            )
    column = [[label.name for label in stars.labels].index(name) for name in teacher.labels]
    options = Predict(spectra=teacher.facts["stage"]["spectra"])
    reader = teacher.open_stars(store, options.spectra, split, teacher.windows, None)
    chunks = teacher.contexts(reader.wavelength, teacher.windows)
    label, error = (np.full_like(part, np.nan) for part in (stars.label, stars.label_error))
    for number, some in enumerate(reader.blocks(BLOCK)):
        answer = teacher.answer(some, teacher.labels, chunks, options)
        rows = slice(number * BLOCK, number * BLOCK + len(some))
        label[rows, column], error[rows, column] = answer.value, answer.uncertainty
    own = np.isin(stars.apogee_id, teacher.facts.get("training_stars", []))
    label[own] = np.nan
    return replace(stars, label=label, label_error=error)


def remembered(stars: StarSet, start: TrainedModel, store: Path) -> StarSet:
    """Stars of the kind that a start learned from, with the labels that the start gives them.

    A stage that replays them keeps what its start says of them. Labels of the catalogue serve only
    in the start's condition, ``stars.where``, and not even there where it learned a teacher's.

    Parameters
    ----------
    stars : StarSet
        All stars of the training split.
    start : TrainedModel
    store : pathlib.Path
    """
    labelled = pseudo_labelled(stars, start, store, "train")
    stage = start.facts["stage"]
    taught = (stage.get("pseudo_labels") or {}).get("teacher") is not None
    of_its_kind = meets(labelled if taught else stars, stage["stars"]["where"])
    return subset(labelled, of_its_kind & np.isfinite(labelled.label).any(axis=1))
