"""Repeats of a stage: the same training with other stars, another number of them, or another seed.

A repeat is a stage whose name is that of its family and what differs: ``fcnn_n30``,
``fcnn_draw78``, ``fcnn_seed5`` or ``fcnn_n30_draw78_seed5``. What equals the family's own is not
written, so that the first repeat is the stage itself.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import Field

from spectrafm.labels import LabelName
from spectrafm.options import Count, Name, Section
from spectrafm.training.options import Stage

#: Default number of draws of the target ``fewshot``.
DRAWS = 5

#: Largest number of draws, of seeds, and of numbers of stars.
MOST = 100

#: Default numbers of stars of the learning curve; 0: the model that the stage starts from.
COUNTS = (0, 10, 30, 100, 300, 1000)

_ENDING = re.compile(r"(_n\d+)?(_draw\d+)?(_seed\d+)?$")


class Repeat(NamedTuple):
    """What differs between a repeat and its family; None: nothing."""

    count: int | None = None  # number of stars
    draw: int | None = None  # seed of the draw of stars
    seed: int | None = None  # of weights and order

    def of(self, family: str) -> str:
        """Name of this repeat of a stage."""
        parts = zip(("n", "draw", "seed"), self, strict=True)
        return family + "".join(f"_{what}{value}" for what, value in parts if value is not None)


def family_of(name: str) -> str:
    """Name of the stage that a stage is a repeat of; its own for one that is no repeat."""
    return name[: _ENDING.search(name).start()]


class RepeatedStage(Stage):
    """A stage, and how often it is trained."""

    draws: Count = Field(1, le=MOST, description="trainings on different draws of stars.count")
    seeds: Count = Field(1, le=MOST, description="trainings of each draw with different seeds")


class FewShot(Section):
    """Comparison of recipes and baselines over draws and seeds, by the target `fewshot`."""

    stages: list[Name] = Field([], description="stages to compare, in the order of the table")
    draws: Count = Field(DRAWS, le=MOST, description="draws of each stage that has a stars.count")
    seeds: Count = Field(1, le=MOST, description="seeds of each stage")
    against: Name | None = Field(
        None, description="stage that the others are compared with; null: the first"
    )
    evaluation: Name | None = Field(
        None, description="evaluation whose options the predictions use"
    )
    label: LabelName = Field("FE_H", description="label that is scored")


class LearningCurve(Section):
    """Error against the number of stars that stages learn from, by the target `learning_curve`."""

    stages: list[Name] = Field([], description="stages with a stars.count, a curve each")
    counts: list[Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        list(COUNTS),
        min_length=1,
        max_length=MOST,
        description="numbers of stars; 0: the model that the stage starts from. The number of "
        "training steps is the same for all",
    )
    draws: Count = Field(1, le=MOST, description="draws at each number of stars")
    evaluation: Name | None = Field(
        None, description="evaluation whose options the predictions use"
    )
    label: LabelName = Field("FE_H", description="label that is scored")
