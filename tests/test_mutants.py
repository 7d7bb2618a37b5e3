# Tests of: tests/
"""Whether the tests notice faults: each listed mutation of the package makes one of them fail."""

from pathlib import Path

import pytest

from making import mutations as running
from mutants import AREAS, MUTANTS


def test_there_are_enough_and_each_applies():
    """Code that was rewritten needs its mutations rewritten: here one sees which."""
    assert len(MUTANTS) >= 60
    assert {name.split("-")[0] for name in MUTANTS} == set(AREAS)
    faults = {name: fault for name, m in MUTANTS.items() if (fault := running.fault_of(m))}
    assert not faults
    assert len({(m.file, m.old, m.new) for m in MUTANTS.values()}) == len(MUTANTS)
    for name, mutant in MUTANTS.items():
        assert mutant.why, name
        for test in mutant.tests.split():
            path, _, function = test.partition("::")
            text = (Path(running.REPOSITORY) / path).read_text()
            assert not function or f"def {function.split('[')[0]}(" in text, name


def test_a_fault_that_no_test_notices_is_told(monkeypatch, capsys):
    """A comment survives, a wrong unit is killed, and what does not apply is neither."""
    some = next(m for m in MUTANTS.values() if "by_hand" in m.tests)
    quick = "tests/test_by_hand.py::test_an_unknown_error_counts_as_none"
    monkeypatch.setattr(running, "MUTANTS", {
        "a": some._replace(
            file="spectrafm/training/objective.py", old="0.5 * (", new="0.25 * (", tests=quick
        ),
        "b": some._replace(
            file="spectrafm/training/objective.py", old="# Fill before", new="# Fill", tests=quick
        ),
        "c": some._replace(old="no such text", tests=quick),
    })  # fmt: skip
    monkeypatch.setattr("sys.argv", ["mutations.py"])
    assert running.main() == 1
    told = capsys.readouterr().out
    assert "1 of 3 mutations killed" in told
    assert "not killed: b              survived" in told
    assert "not killed: c              does not apply" in told


@pytest.mark.slow
def test_every_mutation_is_killed():
    found = running.fates(MUTANTS)
    assert len(found) == len(MUTANTS)
    assert not [running.line_of(fate) for fate in found if not fate.killed]
