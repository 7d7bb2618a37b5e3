"""Child processes that share work, and end with their parent, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from spectrafm.errors import SpectraFMError
from spectrafm.signals import SIGNALS

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_children(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in order, computed in child processes.

    Parameters
    ----------
    work : callable
        A function of a module, or a `functools.partial` of one.
    items : iterable
    processes : int
        Number of child processes.

    Raises
    ------
    SpectraFMError
        When a child was killed, for instance because the memory was exhausted.
    """
    # Fresh processes: a fork of one that runs threads (torch, OpenBLAS) may hang.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=_follow_parent) as pool:
        try:
            yield from pool.map(work, items)
        except BrokenProcessPool:
            raise SpectraFMError(
                "a child process was killed, perhaps because the memory was exhausted"
            ) from None
        except BaseException:
            # A signal stops this process: leaving the block would wait for what is under way.
            for child in multiprocessing.active_children():
                child.kill()
            # Nobody reads any more the work that a thread still hands to the children: do not
            # wait for that thread at the end of this process.
            pool._call_queue.cancel_join_thread()
            raise


def _follow_parent() -> None:
    """In a child: leave signals to the parent, and end as soon as the parent has ended."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
