"""Signals that stop a training: a signal becomes an exception at the next safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from spectrafm.errors import InterruptedTraining
from spectrafm.signals import handled

if TYPE_CHECKING:
    import torch

    from spectrafm.training.processes import Processes

Item = TypeVar("Item")


class Interruption:
    """Context that records signals, for a training to check at safe points.

    A signal only sets a flag, since an exception in the middle of an optimizer step would leave
    weights and moments that do not belong together.

    Parameters
    ----------
    processes : Processes
        Processes that must stop after the same step; else one would wait for the others in vain.
    device : torch.device
        Device through which the processes exchange the flag.
    """

    def __init__(self, processes: Processes, device: torch.device):
        self._processes, self._device = processes, device
        self._received = 0
        self._handled = handled(self._receive)

    def __enter__(self) -> Interruption:
        self._handled.__enter__()
        return self

    def __exit__(self, *_) -> None:
        self._handled.__exit__(None, None, None)

    def _receive(self, number: int, _) -> None:
        self._received = number

    def check(self) -> None:
        """Raise an exception if a signal has arrived; every process must call this together.

        Raises
        ------
        InterruptedTraining
            When any of the processes has received a signal.
        """
        received = self._processes.largest(self._received, self._device)
        if received:
            raise InterruptedTraining(f"stopped by {signal.Signals(received).name}")

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items``, and without other processes call `check` before each."""
        for item in items:
            if self._processes.count == 1:
                self.check()
            yield item
