"""Timing ways to do the same thing side by side, in one run.

On a shared machine two timers that run one after the other differ by a third even for the same
function. Here the ways take turns, in a new order each round, and are compared within a round:
the same function against itself then stays within a few per cent, most of all in CPU time.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Timing(NamedTuple):
    """One turn: seconds on the clock, and of processor time with that of child processes."""

    wall: float
    cpu: float


def timed(way: Callable[[], Any]) -> Timing:
    """Run one way once."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    way()
    return Timing(time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def sidebyside(
    ways: Mapping[str, Callable[[], Any]], rounds: int = 9, seed: int = 0
) -> dict[str, list[Timing]]:
    """Let the ways take turns.

    Parameters
    ----------
    ways : mapping
        What to time, by name; that they give the same result is for the caller to check before.
    rounds : int
        Turns of each, after one that warms up and is not counted.
    seed : int
        Of the order within the rounds.

    Returns
    -------
    dict
        The timings of each way, round by round.
    """
    order = list(ways)
    for name in order:
        ways[name]()
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    shuffle = random.Random(seed).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            timings[name].append(timed(ways[name]))
    return timings


def ratio(timings: Mapping[str, list[Timing]], candidate: str, peer: str, clock: str) -> float:
    """How many times faster the candidate is: the median over rounds of peer / candidate.

    Parameters
    ----------
    timings : mapping
        From `sidebyside`.
    candidate, peer : str
    clock : {"wall", "cpu"}
    """
    pairs = zip(timings[peer], timings[candidate], strict=True)
    return statistics.median(
        getattr(theirs, clock) / getattr(ours, clock) for theirs, ours in pairs
    )


def table(
    timings: Mapping[str, list[Timing]], candidate: str, amount: float = 1.0, unit: str = "runs"
) -> str:
    """The medians of each way, and how many times faster than it the candidate is.

    Parameters
    ----------
    timings : mapping
        From `sidebyside`.
    candidate : str
        The way that the others are compared with.
    amount : float
        How much one turn does, such as its number of files.
    unit : str
        Of ``amount``.
    """
    header = ("", f"{unit}/s", "wall s", "cpu s", "x wall", "x cpu")
    lines = [header]
    for name, turns in timings.items():
        wall = statistics.median(turn.wall for turn in turns)
        cpu = statistics.median(turn.cpu for turn in turns)
        faster = [ratio(timings, candidate, name, clock) for clock in ("wall", "cpu")]
        figures = (f"{amount / wall:.0f}", f"{wall:.3f}", f"{cpu:.3f}")
        lines.append((name, *figures, *(f"{times:.2f}" for times in faster)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
    return "\n".join([*text, f"x: how many times faster {candidate} is, within a round"])


def write_timings(path: Path, timings: Mapping[str, list[Timing]], **facts: Any) -> None:
    """Keep every turn as JSON, with what the machine was and the given facts."""
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
