"""Say which tests of each promise (docs/trust.md) CI runs, and which it leaves out.

    python tests/making/promises.py

The promises and their tests are read from the page's table, and what is left out from the markers
of the tests, so that nothing here is kept by hand. Exits with 1 where a promise has no test, or
tests of other tiers than the page says.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/trust.md"

#: Markers of tests that `make test` leaves out, or that only a machine with a GPU runs; tests with
#: none of them are quick.
TIERS = ("slow", "slurm", "gpu")


class Promise(NamedTuple):
    """One line of the page's table."""

    text: str
    number: str  # how much of it is tested
    tests: tuple[str, ...]  # files, or tests of a file, as pytest takes them
    tiers: frozenset[str]  # quick, slow, slurm, gpu: as the page says


def promises() -> list[Promise]:
    """The promises of the page, in its order."""
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 4 and (command := re.fullmatch(r"`pytest ([^`]+)`", cells[2])):
            tiers = frozenset(cells[3].strip("| ").split(", "))
            found.append(Promise(cells[0], cells[1], tuple(command[1].split()), tiers))
    return found


class _Collected:
    """A plugin of pytest that notes the tier of each test."""

    def __init__(self) -> None:
        self.tier: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            tiers = [name for name in TIERS if item.get_closest_marker(name)]
            self.tier[item.nodeid] = tiers[0] if tiers else "quick"


def tiers_of_tests() -> dict[str, str]:
    """The tier of every test of the repository, by pytest's name of it."""
    collected = _Collected()
    arguments = ["--collect-only", "-qq", "-p", "no:cacheprovider", str(REPOSITORY / "tests")]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = pytest.main([*arguments, f"--rootdir={REPOSITORY}"], plugins=[collected])
    if code != pytest.ExitCode.OK:
        raise RuntimeError(f"the tests cannot be collected:\n{told.getvalue()[-2000:]}")
    return collected.tier


def counts_of(promise: Promise, tier: dict[str, str]) -> Counter[str]:
    """Number of a promise's tests in each tier."""
    return Counter(
        tier[name]
        for name in tier
        if any(name == test or name.startswith((f"{test}::", f"{test}[")) for test in promise.tests)
    )


def main() -> int:
    """Print a line for each promise, and one for all tests together."""
    tier = tiers_of_tests()
    wrong = []
    print("CI, promise by promise (docs/trust.md): tests run, and tests left out")
    for promise in promises():
        counts = counts_of(promise, tier)
        print(f"  {_line(counts)} {promise.text}")
        if frozenset(counts) != promise.tiers:
            wrong.append(f"{promise.text}: its tests are {', '.join(sorted(counts)) or 'none'}")
    print(f"  {_line(Counter(tier.values()))} all tests together")
    print("\n".join(wrong), file=sys.stderr, end="")
    return int(bool(wrong))


def _line(counts: Counter[str]) -> str:
    left = ", ".join(f"{counts[name]} {name}" for name in TIERS if counts[name])
    return f"{counts['quick']:5} {f'(not {left})' if left else '':<28}"


if __name__ == "__main__":
    sys.exit(main())
