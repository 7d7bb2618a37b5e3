"""Mutations of the package: faults that its tests must notice, by what they harm.

Each is one text of one file replaced by another. `making/mutations.py` puts one at a time into a
copy of the checkout and runs the named tests, one of which must fail.
"""

from importlib import import_module
from typing import NamedTuple


class Mutant(NamedTuple):
    """A fault, and the tests that must notice it."""

    file: str  # below the repository
    old: str  # occurs exactly once in the file
    new: str
    tests: str  # files, or tests of a file, as pytest takes them, separated by spaces
    why: str  # what the fault would do
    may_hang: bool = False  # whether a test that never ends counts as noticing it


AREAS = (
    "archive",
    "data",
    "inference",
    "networks",
    "training",
    "evaluation",
    "outputs",
    "readers",
    "spectra",
)

#: Every mutation, by its area and number, such as ``training-3``.
MUTANTS: dict[str, Mutant] = {
    f"{area}-{number}": mutant
    for area in AREAS
    for number, mutant in enumerate(import_module(f"mutants.{area}").MUTANTS, 1)
}
