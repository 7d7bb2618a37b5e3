# Tests of: tests/
"""Whether the tests notice faults: each listed mutation of the package makes one of them fail."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from making import mutations as running
from mutants import AREAS, MUTANTS


def test_there_are_enough_and_each_applies():
    """Code that was rewritten needs its mutations rewritten: here one sees which."""
    assert len(MUTANTS) > 150
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


def test_a_fault_that_no_test_notices_is_told():
    """A comment survives, a wrong unit is killed, and what does not apply is neither."""
    file, tests = "spectrafm/training/objective.py", "tests/test_by_hand.py"
    test = f"{tests}::test_an_unknown_error_counts_as_none"
    command = f"""
import sys
sys.path[:0] = ["tests/making", "tests"]
import mutations
from mutants import Mutant
mutations.MUTANTS = {{
    "killed": Mutant("{file}", "each = 0.5 *", "each = 0.25 *", "{test}", "x"),
    "survives": Mutant("{file}", "# Fill before", "# Fill", "{test}", "x"),
    "gone": Mutant("{file}", "no such text", "", "{test}", "x"),
    "broken": Mutant("{file}", "each = 0.5 *", "each = (", "{test}", "x"),
}}
sys.exit(mutations.main())
"""
    run = subprocess.run(
        [sys.executable, "-c", command], cwd=running.REPOSITORY, capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "1 of 4 mutations killed" in run.stdout
    told = [line.split()[2:4] for line in run.stdout.splitlines() if line.startswith("not killed")]
    assert sorted(told) == [["broken", "is"], ["gone", "does"], ["survives", "survived"]]


def test_a_name_of_no_mutation_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mutations.py", "training-1", "training-999"])
    with pytest.raises(SystemExit):
        running.main()
    assert "no mutation's name begins with training-999" in capsys.readouterr().err


def test_a_hang_is_no_kill_unless_said(tmp_path):
    mutant = next(iter(MUTANTS.values()))
    run = running.Run(SimpleNamespace(exitcode=-signal.SIGKILL), tmp_path, began=0.0)
    assert running.judged("x", mutant._replace(may_hang=False), run).ending == "hung"
    assert running.judged("x", mutant._replace(may_hang=True), run).ending == "killed"


@pytest.mark.slow
def test_every_mutation_is_killed():
    command = [sys.executable, "tests/making/mutations.py"]
    run = subprocess.run(
        command, cwd=running.REPOSITORY, capture_output=True, text=True, check=False
    )
    assert f"{len(MUTANTS)} of {len(MUTANTS)} mutations killed" in run.stdout, run.stdout
    assert run.returncode == 0
