"""The learning rate: linear warm-up, then cosine annealing with warm restarts.

Loshchilov & Hutter 2017; the paper restarts every 50 epochs.
"""

from __future__ import annotations

import math

from spectrafm.training.options import Schedule


def learning_rate(schedule: Schedule, epoch: float) -> float:
    """Learning rate at a point of the training.

    Parameters
    ----------
    schedule : Schedule
    epoch : float
        Epochs done, with the fraction of the present one.
    """
    if epoch < schedule.warmup_epochs:
        return schedule.learning_rate * epoch / schedule.warmup_epochs
    cycle = (epoch - schedule.warmup_epochs) / schedule.restart_epochs
    cosine = (1 + math.cos(math.pi * (cycle % 1.0))) / 2
    return schedule.minimum + (schedule.learning_rate - schedule.minimum) * cosine
