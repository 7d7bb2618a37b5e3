"""A limit on the time of each test: a test that hangs fails by its name, and the others go on.

A pytest plugin. The alarm interrupts Python code and most system calls; against code in C that
never returns, the whole process ends a while later, with the place where it hung.
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator

import pytest

#: Seconds for a test with its fixtures: quick, and marked slow or slurm.
QUICK, LONG = 900, 3 * 3600

#: Seconds after which a process ends whose test does not react to the alarm.
GRACE = 60


def limit_of(item: pytest.Item) -> int:
    """Seconds that a test may take: those of its mark ``limit``, or of its kind."""
    own = item.get_closest_marker("limit")
    if own is not None:
        return own.args[0]
    return LONG if {"slow", "slurm"} & {mark.name for mark in item.iter_markers()} else QUICK


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Set the alarm for each part of a test: setup, call, teardown."""
    seconds = limit_of(item)

    def too_long(*_) -> None:
        pytest.fail(f"{item.nodeid}: took longer than {seconds} s", pytrace=True)

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
