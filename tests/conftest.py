"""What holds for all tests: a time limit, a working Ctrl-C, one thread, and one run to copy.

Networks as small as these are fastest on one thread.
"""

import fcntl
import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has its background jobs ignore Ctrl-C, which the tests of it would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["making.time_limit"]


@pytest.fixture(scope="session")
def made_run(tmp_path_factory) -> Path:
    """A small run with everything in it, made once for all processes of the tests; to be copied."""
    from making.whole_run import make_run

    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    made = common / "made-run"
    with open(common / "made-run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make_run(tmp_path_factory.mktemp("making")).rename(made)
    return made
