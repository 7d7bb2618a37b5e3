"""Put one mutation at a time into a copy of the checkout, and see whether its tests notice.

    python tests/making/mutations.py [--processes N] [NAME ...]

NAME selects mutations by the beginning of their name, such as ``training`` or ``data-3``. Exits
with 1 where a mutation survives, no longer applies, or spoils the file; with 2 where the named
tests fail without any mutation.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.append(str(Path(__file__).parents[1]))

from mutants import MUTANTS, Mutant

REPOSITORY = Path(__file__).parents[2]

#: Seconds that the tests of one mutation may take.
TIME_LIMIT = 300.0

#: Parts of a checkout that no test reads.
LEFT_OUT = (".git", ".venv", ".snakemake", "results", "build", "__pycache__", ".*_cache")

#: Loaded once; each run of the tests is a fork of this process, which saves most of its time.
LOADED = ("torch", "numpy", "pandas", "zarr", "xarray", "pyarrow.parquet", "astropy.table")


class Fate(NamedTuple):
    """What became of a mutation."""

    name: str
    ending: str  # killed, survived, hung, or what was wrong with the mutation or its tests
    seconds: float = 0.0
    noticed_by: str = ""  # the first test that failed

    @property
    def killed(self) -> bool:
        return self.ending == "killed"


class Run(NamedTuple):
    """Tests under way in a copy of the checkout."""

    process: BaseProcess
    output: Path
    began: float

    def ended(self, limit: float) -> bool:
        """Whether the tests have ended, or were out of time and are stopped now."""
        if self.process.is_alive() and time.monotonic() - self.began < limit:
            return False
        if self.process.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        return True


def fault_of(mutant: Mutant) -> str:
    """What is wrong with a mutation in the present checkout; empty where it applies."""
    if mutant.old == mutant.new:
        return "changes nothing"
    path = REPOSITORY / mutant.file
    text = path.read_text() if path.is_file() else ""
    if text.count(mutant.old) != 1:
        return f"does not apply: {mutant.old!r} occurs {text.count(mutant.old)} times"
    if path.suffix != ".py":
        return ""
    try:
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    except SyntaxError as error:
        return f"is no Python: {error}"
    return ""


def started(checkout: Path, tests: Iterable[str], *options: str) -> Run:
    """Start tests in a copy of the checkout, whose package and helpers they import."""
    output = checkout.parent / "output.txt"
    arguments = ["-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slurm", *options, *tests]
    arguments.append(f"--basetemp={checkout.parent / 'pytest'}")
    process = multiprocessing.get_context("fork").Process(
        target=_test, args=(checkout, arguments, output)
    )
    process.start()
    return Run(process, output, time.monotonic())


def _test(checkout: Path, arguments: list[str], output: Path) -> None:
    os.setsid()
    for number in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(checkout)
    # Caches are told apart by size and second, which two mutations of a file may share.
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in [name for name in sys.modules if name.split(".")[0] in ("making", "mutants")]:
        del sys.modules[name]
    sys.path[:] = [str(checkout), *(path for path in sys.path if not _of_repository(path))]
    code = pytest.main(arguments)
    assert sys.modules["spectrafm"].__file__.startswith(str(checkout))
    os._exit(int(code))


def _of_repository(path: str) -> bool:
    """Whether imports from a folder would be of the checkout, not of an environment in it."""
    return Path(path).resolve() in (REPOSITORY, REPOSITORY / "tests", REPOSITORY / "tests/making")


def judged(name: str, mutant: Mutant, run: Run) -> Fate:
    """What became of a mutation whose tests have ended."""
    code, seconds = run.process.exitcode, time.monotonic() - run.began
    if code == -signal.SIGKILL and seconds >= TIME_LIMIT:
        return Fate(name, "killed" if mutant.may_hang else "hung", seconds, "a test without end")
    if code == 0:
        return Fate(name, "survived", seconds)
    lines = run.output.read_text(errors="replace").splitlines()
    failed = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if code != 1 or not failed:
        return Fate(name, f"its tests did not run (pytest: {code})", seconds)
    return Fate(name, "killed", seconds, failed[0])


def fates(chosen: Mapping[str, Mutant], processes: int) -> list[Fate]:
    """Try mutations, one at a time in each of as many copies of the checkout as processes.

    Raises
    ------
    RuntimeError
        When the named tests fail without any mutation.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in LOADED:
        importlib.import_module(name)
    found = [Fate(name, fault) for name, mutant in chosen.items() if (fault := fault_of(mutant))]
    waiting = deque(name for name in chosen if name not in [fate.name for fate in found])
    running: dict[Path, tuple[str, str, Run]] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        free = [Path(temporary) / str(number) / "spectrafm" for number in range(processes)]
        for copy in free:
            shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        _require_health(free[0], [chosen[name] for name in waiting])
        while waiting or running:
            while waiting and free:
                name, copy = waiting.popleft(), free.pop()
                path, mutant = copy / chosen[name].file, chosen[name]
                whole = path.read_text()
                path.write_text(whole.replace(mutant.old, mutant.new))
                running[copy] = name, whole, started(copy, mutant.tests.split(), "-x")
            for copy, (name, whole, run) in [*running.items()]:
                if run.ended(TIME_LIMIT):
                    del running[copy]
                    (copy / chosen[name].file).write_text(whole)
                    free.append(copy)
                    found.append(judged(name, chosen[name], run))
                    print(line_of(found[-1], chosen), flush=True)
            time.sleep(0.1)
    return found


def _require_health(checkout: Path, mutants: Iterable[Mutant]) -> None:
    run = started(checkout, sorted({test for mutant in mutants for test in mutant.tests.split()}))
    while not run.ended(20 * TIME_LIMIT):
        time.sleep(0.1)
    if run.process.exitcode != 0:
        told = run.output.read_text(errors="replace")[-4000:]
        raise RuntimeError(f"the tests fail without a mutation:\n{told}")


def line_of(fate: Fate, chosen: Mapping[str, Mutant]) -> str:
    """One line of the table."""
    mutant = chosen[fate.name]
    noticed = f"  [{fate.noticed_by}]" if fate.noticed_by else ""
    return (
        f"{fate.name:<14} {fate.ending:<9} {fate.seconds:4.0f} s  {mutant.file}: {mutant.why}"
        f"{noticed}"
    )


def main() -> int:
    """Run the chosen mutations and print the table and the count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; default: every mutation")
    parser.add_argument("--processes", type=int, default=2)
    wanted = parser.parse_args()
    beginnings = tuple(wanted.names) or ("",)
    for beginning in beginnings:
        # With no tests to run, pytest would run all of them.
        if not any(name.startswith(beginning) for name in MUTANTS):
            parser.error(f"no mutation's name begins with {beginning}")
    chosen = {name: mutant for name, mutant in MUTANTS.items() if name.startswith(beginnings)}
    try:
        found = fates(chosen, wanted.processes)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    killed = sum(fate.killed for fate in found)
    print(f"{killed} of {len(found)} mutations killed")
    for fate in found:
        if not fate.killed:
            print(f"not killed: {line_of(fate, chosen)}")
    return int(killed < len(found) or not found)


if __name__ == "__main__":
    sys.exit(main())
