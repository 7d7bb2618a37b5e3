"""Trainings of equal processor time: what each recipe reaches by then, whatever a step of it costs.

Other work on the machine lengthens the processor time of a step, by half where it shares a core's
caches. The steps of all recipes are therefore timed in turns, and each then trains for the number
of steps that its processor time allows: the load of the machine does not favour any of them, and a
result can be repeated.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from spectrafm.networks.options import PLAIN, Model, Reads
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import StarSet, load_stars
from spectrafm.training.interruption import Interruption
from spectrafm.training.options import Stage
from spectrafm.training.processes import ALONE
from spectrafm.training.stars import DeviceStars, to_device
from spectrafm.training.step import Learner
from spectrafm.training.validation import validate

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Reached:
    """What a network has reached: validation loss, RMSE of each label, steps so far."""

    steps: int
    loss: float
    rmse: dict[str, float]


def stars_of(store: Path, stage: Stage, split: str) -> StarSet:
    """The stars of a side of the split, as a stage reads them, with errors of the flux."""
    return load_stars(store, stage.spectra, split, stage.windows, stage.flux_range, True)


def new_network(model: Model, stars: StarSet, seed: int = 0, reads: Reads = PLAIN) -> SpectraFM:
    """A network with fresh weights that knows the labels of the stars."""
    torch.manual_seed(seed)
    return SpectraFM.start(model, stars, [label.name for label in stars.labels], reads)


def requests(network: SpectraFM) -> Tensor:
    """All labels of a network."""
    return torch.arange(len(network.labels))


def on_cpu(stars: StarSet, network: SpectraFM, stage: Stage) -> DeviceStars:
    """Stars as a training reads them."""
    return to_device(stars, network, requests(network), stage.windows, CPU)


def new_learner(
    model: Model, stage: Stage, stars: StarSet, seed: int = 0, kind: type[Learner] = Learner
) -> Learner:
    """A network with fresh weights and its training, on the CPU, before the first step."""
    network = new_network(model, stars, seed, stage.reads)
    return kind(stage, network, requests(network), on_cpu(stars, network, stage))


#: Steps of each recipe in a turn, and turns, in which the cost of a step is measured.
STEPS_A_TURN = 5
TURNS = 12


class Run:
    """A training that can be advanced step by step.

    Parameters
    ----------
    learner : Learner
        Or what has its ``step``, ``network``, ``stage`` and ``stars``.
    averaged : torch.optim.swa_utils.AveragedModel, optional
        Average of the weights, updated at every step and validated in place of the weights.
    seed : int
        Of the order of the stars.

    Attributes
    ----------
    steps : int
        Steps so far.
    """

    def __init__(self, learner: Learner, averaged: AveragedModel | None = None, seed: int = 0):
        self.learner, self.averaged, self.steps = learner, averaged, 0
        self._epochs = self._rows(torch.Generator().manual_seed(seed))

    def _rows(self, generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
        epoch = 0
        while True:
            shuffled = torch.randperm(len(self.learner.stars), generator=generator)
            yield from ((epoch, rows) for rows in shuffled.split(self.learner.stage.batch))
            epoch += 1

    def step(self, rate: float) -> None:
        """Do one step at a learning rate."""
        epoch, rows = next(self._epochs)
        self.learner.step(rows, self.steps, epoch, rate)
        if self.averaged is not None:
            self.averaged.update_parameters(self.learner.network)
        self.steps += 1

    def validate(self, validation: DeviceStars) -> Reached:
        """Loss and RMSE of the weights, or of their average."""
        network = self.learner.network
        shown = network if self.averaged is None else self.averaged.module
        with Interruption(ALONE, CPU) as interruption:
            loss, rmse = validate(
                shown, validation, requests(network), self.learner.stage.sampling, interruption
            )
        return Reached(self.steps, loss, dict(zip(network.labels, rmse, strict=True)))


def step_costs(runs: Mapping[str, Run], rate: float = 1e-4, turns: int = TURNS) -> dict[str, float]:
    """Processor time of a step of each training, s: medians of turns, which the trainings take.

    The trainings are advanced by these steps; use fresh ones for a result.
    """
    costs: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + turns):
        for name, run in runs.items():
            since = time.process_time()
            for _ in range(STEPS_A_TURN):
                run.step(rate)
            costs[name].append((time.process_time() - since) / STEPS_A_TURN)
    # The first turn allocates memory and warms the caches.
    return {name: statistics.median(each[1:]) for name, each in costs.items()}


def train_until(
    run: Run, steps: Sequence[int], rate: Callable[[int], float], validation: DeviceStars
) -> list[Reached]:
    """Train to each of some numbers of steps, and validate there.

    Parameters
    ----------
    run : Run
    steps : sequence of int
        Rising.
    rate : callable
        Learning rate of a step, by its number.
    validation : DeviceStars
    """
    reached = []
    for until in steps:
        while run.steps < until:
            run.step(rate(run.steps))
        reached.append(run.validate(validation))
    return reached


def cosine(peak: float, total: int, warmup: float = 0.02) -> Callable[[int], float]:
    """Learning rate by step: a linear warm-up for a share of the steps, then one cosine to zero."""

    def rate(step: int) -> float:
        share = (step + 0.5) / total
        return peak * min(share / warmup, 0.5 * (1 + math.cos(math.pi * share)))

    return rate
