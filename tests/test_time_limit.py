"""A test that hangs fails by its name, and those after it run."""

import os
import subprocess
import sys
from pathlib import Path

HANGING = """
import time
import pytest

@pytest.mark.limit(1)
def test_that_hangs():
    time.sleep(60)

@pytest.mark.limit(1)
@pytest.mark.parametrize("stuck", [1], indirect=True)
def test_whose_fixture_hangs(stuck):
    pass

@pytest.fixture
def stuck(request):
    while True:
        pass

@pytest.mark.limit(1)
def test_in_time():
    pass
"""


def test_a_test_that_hangs_fails_by_its_name_and_the_next_one_runs(tmp_path):
    (tmp_path / "test_hanging.py").write_text(HANGING)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "making.time_limit",
         "-o", "markers=limit(seconds): time limit", "test_hanging.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert found.returncode == 1
    assert "1 failed, 1 passed, 1 error" in found.stdout
    for name in ("test_that_hangs", "test_whose_fixture_hangs[1]"):
        assert f"test_hanging.py::{name}: took longer than 1 s" in found.stdout
