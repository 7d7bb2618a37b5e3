"""Timing of several ways to do the same thing side by side, in one run.

On a shared machine two timings that run one after the other differ by a third even for the same
function. `sidebyside` therefore lets the ways take turns, in a new order each round, and `ratio`
compares them within a round: the same function against itself then agrees within a few per cent,
best in processor time. Processor time does not measure the work of a GPU: on a GPU, compare wall
time, read once the GPU is done.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Timing(NamedTuple):
    """Time of one turn, s: wall time, and processor time including that of child processes."""

    wall: float
    cpu: float


def timed(way: Callable[[], Any], finish: Callable[[], None] | None = None) -> Timing:
    """Time one run of one way, until ``finish`` returns."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    way()
    if finish is not None:
        finish()
    return Timing(time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def sidebyside(
    ways: Mapping[str, Callable[[], Any]],
    rounds: int = 9,
    seed: int = 0,
    finish: Callable[[], None] | None = None,
) -> dict[str, list[Timing]]:
    """Time several ways in turns.

    Parameters
    ----------
    ways : mapping
        Functions to time, by name; the caller has checked that they give the same result.
    rounds : int
        Turns of each way, after one that warms up and is not counted.
    seed : int
        Seed of the order within the rounds.
    finish : callable, optional
        Function that returns when all work is done: ``torch.cuda.synchronize`` on a GPU.

    Returns
    -------
    dict
        The timings of each way, round by round.
    """
    order = list(ways)
    for name in order:
        timed(ways[name], finish)
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    shuffle = random.Random(seed).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            timings[name].append(timed(ways[name], finish))
    return timings


def ratio(
    timings: Mapping[str, list[Timing]],
    candidate: str,
    peer: str,
    clock: str,
    amounts: Mapping[str, float] | None = None,
) -> float:
    """Compute how many times faster the candidate is: the median over rounds of peer / candidate.

    Parameters
    ----------
    timings : mapping
        From `sidebyside`.
    candidate, peer : str
    clock : {"wall", "cpu"}
    amounts : mapping, optional
        Amount of work of a turn of each way, where the amounts differ.
    """
    more = amounts[candidate] / amounts[peer] if amounts else 1.0
    pairs = zip(timings[peer], timings[candidate], strict=True)
    return more * statistics.median(
        getattr(theirs, clock) / getattr(ours, clock) for theirs, ours in pairs
    )


def table(
    timings: Mapping[str, list[Timing]],
    candidate: str,
    amount: float | Mapping[str, float] = 1.0,
    unit: str = "runs",
) -> str:
    """Format the medians of each way, and how many times faster than it the candidate is.

    Parameters
    ----------
    timings : mapping
        From `sidebyside`.
    candidate : str
        Name of the way that the others are compared with.
    amount : float or mapping
        Amount of work of one turn, such as its number of files; a mapping where the ways differ.
    unit : str
        Unit of ``amount``.
    """
    header = ("", f"{unit}/s", "wall s", "cpu s", "x wall", "x cpu")
    amounts = amount if isinstance(amount, Mapping) else dict.fromkeys(timings, amount)
    lines = [header]
    for name, turns in timings.items():
        wall = statistics.median(turn.wall for turn in turns)
        cpu = statistics.median(turn.cpu for turn in turns)
        faster = [ratio(timings, candidate, name, clock, amounts) for clock in ("wall", "cpu")]
        figures = (f"{amounts[name] / wall:.4g}", f"{wall:.3f}", f"{cpu:.3f}")
        lines.append((name, *figures, *(f"{times:.2f}" for times in faster)))
    return f"{aligned(lines)}\nx: how many times faster {candidate} is, within a round"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Align rows of text in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def write_timings(path: Path, timings: Mapping[str, list[Timing]], **facts: Any) -> None:
    """Write every turn as JSON, with a description of the machine and the given values."""
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    turns = {name: [turn._asdict() for turn in turns] for name, turns in timings.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **facts, "turns": turns}, indent=2) + "\n")
