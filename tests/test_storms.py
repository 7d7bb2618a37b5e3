# Tests of: the whole workflow, workflow/resume.py
"""Storms: kill -9 of the workflow at random moments, and the documented command until done."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from snakemake.utils import update_config

from making.digests import contents
from making.zygote import Zygote
from spectrafm.config import read_config

REPOSITORY = Path(__file__).parents[1]
RESUME = REPOSITORY / "workflow/resume.py"
CONFIGURATIONS = [
    REPOSITORY / name for name in ("config.yaml", "tests/tiny.yaml", "tests/storm.yaml")
]

STORMS, KILLS = 30, 100
#: Mean time between two kills, as a share of the undisturbed run's time.
MEAN = 1 / 5
#: A storm calms down after as many kills.
AT_MOST = 5

#: Kills of each finished storm.
killed: dict[int, int] = {}


def workflow(folder: Path, zygote: Zygote | None = None, cores: int = 2) -> subprocess.Popen:
    """Start the workflow with the command of `make resume`, in a process group of its own."""
    log = open(folder / "log", "a")  # noqa: SIM115
    options = ["--snakefile", REPOSITORY / "Snakefile", "--cores", str(cores)]
    python = sys.executable if zygote is None else zygote.bin / "python"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if zygote is None else zygote.environment
    return subprocess.Popen(
        [python, RESUME, *options, "--configfile", *CONFIGURATIONS, "--", "all"],
        cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment,
    )  # fmt: skip


def text(folder: Path) -> str:
    return (folder / "log").read_text()[-5000:]


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    with Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        yield zygote


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, zygote):
    """Contents of an undisturbed run, and its seconds."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    assert workflow(folder, zygote).wait() == 0, text(folder)
    return contents(folder / "results/tiny"), time.monotonic() - start


def left_behind(folder: Path) -> list[Path]:
    return [p for p in folder.rglob(".*") if p.name.endswith((".partial", ".lock"))]


@pytest.mark.slow
@pytest.mark.parametrize("storm", range(STORMS))
def test_a_storm_changes_nothing(undisturbed, zygote, tmp_path, storm):
    expected, seconds = undisturbed
    rng = np.random.default_rng([7, storm])
    # Every tenth storm without the zygote: each command a process from its first import on.
    real = storm % 10 == 9
    mean = MEAN * seconds * (3 if real else 1)
    kills, code = 0, None
    while code is None:
        running = workflow(tmp_path, None if real else zygote)
        try:
            code = running.wait(rng.exponential(mean) if kills < AT_MOST else None)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            kills += 1
    assert code == 0, text(tmp_path)
    assert len(expected) > 100
    found = contents(tmp_path / "results/tiny")
    assert {name for name in expected if found.get(name) != expected[name]} == set()
    assert found.keys() == expected.keys()
    assert not left_behind(tmp_path / "results")
    killed[storm] = kills


@pytest.mark.slow
def test_the_storms_were_as_hard_as_promised():
    assert len(killed) == STORMS
    assert sum(killed.values()) >= KILLS


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 8])
def test_the_number_of_jobs_at_once_changes_nothing(undisturbed, zygote, tmp_path, cores):
    assert workflow(tmp_path, zygote, cores).wait() == 0, text(tmp_path)
    assert contents(tmp_path / "results/tiny") == undisturbed[0]


@pytest.mark.slow
def test_a_living_snakemake_is_not_unlocked(zygote, tmp_path):
    first = workflow(tmp_path, zygote)
    try:
        while not list(tmp_path.glob("results/tiny/.sas.*.partial")):
            assert first.poll() is None
            time.sleep(0.1)
        second = workflow(tmp_path, zygote)
        assert second.wait(60) == 1
        assert "resume: a Snakemake, or one of its jobs, still runs in" in text(tmp_path)
        assert list((tmp_path / ".snakemake/locks").iterdir())
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


def test_the_configuration_of_the_storms_is_valid():
    layered: dict = {}
    for path in CONFIGURATIONS:
        update_config(layered, yaml.safe_load(path.read_text()))
    assert 4 <= len(read_config(layered).predictions) <= 6


def test_resume_unlocks_only_what_nobody_holds(tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/tiny/store.zarr\n")

    def resumed() -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, RESUME, "--version"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    with open(tmp_path / ".snakemake/alive", "a") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        refused = resumed()
    assert refused.returncode == 1
    assert f"still runs in {tmp_path}" in refused.stderr
    assert locks.exists()
    done = resumed()
    assert done.returncode == 0
    assert done.stdout.split(".")[0].isdigit(), "Snakemake has run"
    assert not locks.exists()
