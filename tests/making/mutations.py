"""Put one mutation at a time into a copy of the checkout, and see whether its tests notice.

    python tests/making/mutations.py [--processes N] [NAME ...]

NAME selects mutations by the beginning of their name, such as ``training`` or ``data-3``. Exits
with 1 where a mutation survives, no longer applies, or spoils the file; with 2 where the named
tests fail without any mutation.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[1]))

from mutants import MUTANTS, Mutant

REPOSITORY = Path(__file__).parents[2]

#: Seconds that the tests of one mutation may take.
TIME_LIMIT = 300

#: Parts of a checkout that no test reads.
LEFT_OUT = (".git", ".venv", ".snakemake", "results", "build", "__pycache__", ".*_cache")


class Fate(NamedTuple):
    """What became of a mutation."""

    name: str
    ending: str  # killed, survived, hung, or what was wrong with the mutation or its tests
    seconds: float
    noticed_by: str  # the first test that failed

    @property
    def killed(self) -> bool:
        return self.ending == "killed"


def fault_of(mutant: Mutant) -> str:
    """What is wrong with a mutation in the present checkout; empty where it applies."""
    path = REPOSITORY / mutant.file
    found = path.read_text().count(mutant.old) if path.is_file() else 0
    if mutant.old == mutant.new:
        return "changes nothing"
    return "" if found == 1 else f"does not apply: {mutant.old!r} occurs {found} times"


def copied(folder: Path) -> Path:
    """Copy the checkout to a folder."""
    return Path(shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(*LEFT_OUT)))


def outcome(checkout: Path, tests: Iterable[str], first_only: bool = True) -> tuple[int, str]:
    """Run tests in a copy of the checkout: pytest's exit code, or -1 out of time; and its output.

    The tests import the copy's package: its folder comes first on the path.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no"]
    command += ["-m", "not slurm", *(["-x"] if first_only else []), *tests]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        command.append(f"--basetemp={temporary}/pytest")
        try:
            run = subprocess.run(
                command, cwd=checkout, env=environment, capture_output=True, text=True,
                timeout=TIME_LIMIT if first_only else 20 * TIME_LIMIT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return -1, ""
    return run.returncode, run.stdout


def fate_of(name: str, mutant: Mutant, checkout: Path) -> Fate:
    """Put a mutation into a copy of the checkout, run its tests, and take it out again."""
    began = time.monotonic()
    path = checkout / mutant.file
    whole = path.read_text()

    def ended(ending: str, noticed_by: str = "") -> Fate:
        return Fate(name, ending, time.monotonic() - began, noticed_by)

    if fault := fault_of(mutant):
        return ended(fault)
    changed = whole.replace(mutant.old, mutant.new)
    try:
        compile(changed, mutant.file, "exec") if path.suffix == ".py" else None
    except SyntaxError as error:
        return ended(f"is no Python: {error}")
    path.write_text(changed)
    try:
        code, output = outcome(checkout, mutant.tests.split())
    finally:
        path.write_text(whole)
    if code == -1:
        return ended("killed" if mutant.may_hang else "hung", "a test that never ends")
    if code != 1:
        return ended({0: "survived"}.get(code, f"its tests did not run (pytest: {code})"))
    failed = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return ended("killed", failed[0].split()[1] if failed else "?")


def fates(names: Iterable[str], processes: int = 2) -> list[Fate]:
    """What became of each mutation, in as many copies of the checkout as processes.

    Raises
    ------
    RuntimeError
        When the named tests fail without any mutation.
    """
    chosen = {name: MUTANTS[name] for name in names}
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(processes):
            copies.put(copied(Path(temporary) / str(number) / "spectrafm"))
        every = sorted({test for mutant in chosen.values() for test in mutant.tests.split()})
        code, output = outcome(copies.queue[0], every, first_only=False)
        if code != 0:
            raise RuntimeError(f"the tests fail without a mutation:\n{output[-4000:]}")

        def fate(name: str) -> Fate:
            checkout = copies.get()
            try:
                found = fate_of(name, chosen[name], checkout)
            finally:
                copies.put(checkout)
            print(line_of(found), flush=True)
            return found

        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(fate, chosen))


def line_of(fate: Fate) -> str:
    """One line of the table."""
    mutant = MUTANTS[fate.name]
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
    names = [name for name in MUTANTS if name.startswith(tuple(wanted.names) or "")]
    try:
        found = fates(names, wanted.processes)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    killed = sum(fate.killed for fate in found)
    print(f"{killed} of {len(found)} mutations killed")
    for fate in found:
        if not fate.killed:
            print(f"not killed: {line_of(fate)}")
    return int(killed < len(found) or not found)


if __name__ == "__main__":
    sys.exit(main())
