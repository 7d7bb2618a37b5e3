"""The learning rate: linear warm-up, then cosine annealing with warm restarts.

Loshchilov & Hutter 2017; the paper restarts every 50 epochs.
"""

from __future__ import annotations

import math

from spectrafm.training.options import Schedule


def rate_of_step(schedule: Schedule, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one step: the schedule's rate at the middle of the step.

    The rate at the end of a cosine's last step would be the peak of the restart, which would spoil
    the annealed weights; the rate at the beginning of a warm-up's first step would be 0.

    Parameters
    ----------
    schedule : Schedule
    step : int
        Number of the step, counted from 0 over the whole training.
    steps_per_epoch : int
    """
    return learning_rate(schedule, (step + 0.5) / steps_per_epoch)


def learning_rate(schedule: Schedule, epoch: float) -> float:
    """Learning rate at a point of the training.

    Parameters
    ----------
    schedule : Schedule
    epoch : float
        Epochs completed, with the fraction of the present one.
    """
    if epoch < schedule.warmup_epochs:
        return schedule.learning_rate * epoch / schedule.warmup_epochs
    cycle = (epoch - schedule.warmup_epochs) / schedule.restart_epochs
    cosine = (1 + math.cos(math.pi * (cycle % 1.0))) / 2
    return schedule.minimum + (schedule.learning_rate - schedule.minimum) * cosine
