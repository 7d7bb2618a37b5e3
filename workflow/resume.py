"""Go on with a run whose Snakemake was killed: what it left locked or half-made is no obstacle.

Usage, in the run's folder: ``python workflow/resume.py --profile demo all``, with the arguments
that Snakemake had. The lock of a Snakemake that still lives is left alone.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

#: Seconds to wait for processes that were killed a moment ago, and have not ended yet.
PATIENCE = 10.0

#: The folder with Snakemake's locks, and the file that each living Snakemake holds (common.smk).
LOCKS, ALIVE = Path(".snakemake/locks"), Path(".snakemake/alive")


def unlock() -> None:
    """Delete Snakemake's locks if no Snakemake lives in this folder; else exit with a line."""
    if not LOCKS.exists():
        return
    with open(ALIVE, "a") as handle:
        try:
            if not _locked(handle):
                sys.exit(f"resume: a Snakemake, or one of its jobs, still runs in {Path.cwd()}")
        except OSError as error:
            sys.exit(
                f"resume: cannot tell whether a Snakemake runs in {Path.cwd()} ({error.strerror}); "
                "if none does: snakemake --unlock"
            )
        shutil.rmtree(LOCKS)


def _locked(handle: IO) -> bool:
    """Lock a file, unless another process holds it for longer than `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)


def main(arguments: list[str]) -> int:
    """Unlock the folder and run Snakemake, also for what a killed job has left incomplete."""
    unlock()
    command = [sys.executable, "-m", "snakemake", "--rerun-incomplete", *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
