"""Being told to stop: a signal becomes an exception at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from spectrafm.errors import InterruptedTraining

if TYPE_CHECKING:
    import torch

    from spectrafm.training.processes import Processes

Item = TypeVar("Item")

#: A scheduler's (SIGTERM; SIGUSR1 where it is asked to warn), and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interruption:
    """Listens for signals while its block runs.

    A signal only raises a flag, since an exception out of the middle of an optimizer step would
    leave weights and moments that do not belong together. The training asks at safe points.

    Parameters
    ----------
    processes : Processes
        Those that must stop after the same step, or one would wait for the others in vain.
    device : torch.device
        Where they talk to each other.
    """

    def __init__(self, processes: Processes, device: torch.device):
        self._processes, self._device = processes, device
        self._received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        # Python delivers signals to the main thread alone.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _) -> None:
        self._received = number

    def check(self) -> None:
        """A safe point, at which all processes must come by.

        Raises
        ------
        InterruptedTraining
            When a signal has come, to whichever of them.
        """
        received = self._processes.largest(self._received, self._device)
        if received:
            raise InterruptedTraining(f"stopped by {signal.Signals(received).name}")

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items``; for a process alone there is a safe point before each."""
        for item in items:
            if self._processes.count == 1:
                self.check()
            yield item
