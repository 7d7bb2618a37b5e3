# Tests of: docs/trust.md
"""The page of promises: each has tests, in the tiers that it says; CI says what it ran of each."""

import subprocess
import sys

from making.promises import REPOSITORY, promises


def test_each_promise_has_its_tests_in_the_tiers_that_the_page_says():
    run = subprocess.run(
        [sys.executable, "tests/making/promises.py"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    promised = promises()
    assert len(promised) >= 20
    assert all(promise.number for promise in promised)
    lines = run.stdout.splitlines()
    assert [
        line.endswith(promise.text) for line, promise in zip(lines[1:-1], promised, strict=True)
    ]
    assert "slow" in lines[-1]


def test_ci_prints_it():
    assert "tests/making/promises.py" in (REPOSITORY / ".ci/run").read_text()
