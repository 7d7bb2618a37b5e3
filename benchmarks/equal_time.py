"""Training for a given processor time: what a recipe reaches by then, whatever a step of it costs.

The learning rate is a function of the share of the time that is spent, so that a cosine to zero
ends with the time. One thread: processor time is then the work that was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from spectrafm.labels import PAPER_LABELS
from spectrafm.networks.options import Model
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

    seconds: float
    steps: int
    loss: float
    rmse: dict[str, float]


def stars_of(store: Path, stage: Stage, split: str) -> StarSet:
    """The stars of a side of the split, as a stage reads them, with errors of the flux."""
    return load_stars(store, stage.spectra, split, stage.windows, stage.flux_range, True)


def new_network(model: Model, stars: StarSet, seed: int = 0) -> SpectraFM:
    """A network with fresh weights that knows the labels of the stars."""
    torch.manual_seed(seed)
    network = SpectraFM(model, PAPER_LABELS)
    network.scale_labels(stars.label)
    return network


def requests(network: SpectraFM) -> Tensor:
    """All labels of a network."""
    return torch.arange(len(network.labels))


def on_cpu(stars: StarSet, network: SpectraFM, stage: Stage) -> DeviceStars:
    """Stars as a training reads them."""
    return to_device(stars, network, requests(network), stage.windows, CPU)


class Clock:
    """Processor time of this process since it was last started."""

    def __init__(self):
        self.seconds, self._since = 0.0, time.process_time()

    def start(self) -> None:
        self._since = time.process_time()

    def stop(self) -> None:
        self.seconds += time.process_time() - self._since


def train_for(
    learner: Learner,
    seconds: list[float],
    rate: Callable[[float], float],
    validation: DeviceStars,
    averaged: nn.Module | None = None,
    seed: int = 0,
) -> list[Reached]:
    """Train until each of some processor times, and validate there; validation takes no time.

    Parameters
    ----------
    learner : Learner
    seconds : list of float
        Increasing.
    rate : callable
        From seconds to learning rate.
    validation : DeviceStars
    averaged : torch.optim.swa_utils.AveragedModel, optional
        Average of the weights, updated at every step and validated in place of the weights.
    seed : int
        Of the order of the stars.
    """
    network, stage = learner.network, learner.stage
    generator = torch.Generator().manual_seed(seed)
    clock, reached, step, epoch = Clock(), [], 0, 0
    order = iter(())
    clock.start()
    for until in seconds:
        while clock.seconds < until:
            rows = next(order, None)
            if rows is None:
                shuffled = torch.randperm(len(learner.stars), generator=generator)
                order, epoch = iter(shuffled.split(stage.batch)), epoch + 1
                continue
            learner.step(rows, step, epoch - 1, rate(clock.seconds))
            if averaged is not None:
                averaged.update_parameters(network)
            step += 1
            clock.stop()
            clock.start()
        shown = network if averaged is None else averaged.module
        with Interruption(ALONE, CPU) as interruption:
            request = requests(network)
            loss, rmse = validate(shown, validation, request, stage.sampling, interruption)
        each = dict(zip(network.labels, rmse, strict=True))
        reached.append(Reached(clock.seconds, step, loss, each))
        clock.start()
    return reached
