"""The workflow on a real SLURM of one node (tests/slurm/up.sh), undisturbed, killed in many ways.

Whatever happens to a job or to Snakemake, a run ends with the contents of an undisturbed local one.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from making.digests import contents

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SLURM = REPOSITORY / "tests/slurm"

pytestmark = pytest.mark.slurm

#: The profile is asked after each 40 s or more; these tests have less time.
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5")
TINY = (REPOSITORY / "tests/tiny.yaml", SLURM / "kills.yaml")
LOG = "results/tiny/logs/train/pretrain.log"
PREDICTION = "results/tiny/predictions/finetune_observed--first_half.parquet"

#: Each Snakemake that a test has started.
STARTED: list[subprocess.Popen] = []

#: No step of a test lasts longer: a status command may hang for ever.
PATIENCE = 400
HOUR = 3600


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A cluster; one that was there before remains."""
    up = subprocess.run([SLURM / "up.sh"], capture_output=True, text=True, check=False)
    assert up.returncode == 0, up.stderr
    yield
    stop_all()
    if "started" in up.stdout:
        subprocess.run([SLURM / "down.sh"], check=True)


def checkout(folder: Path) -> Path:
    """The workflow's files in a new folder, where `--profile slurm` means what it says."""
    folder.mkdir()
    names = ("Snakefile", "config.yaml", "workflow", "configs", "envs", "slurm", "demo")
    # The whole package: a survey's rules stand in it, and Snakemake imports from where it stands.
    for name in (*names, "spectrafm"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy2
        copy(REPOSITORY / name, folder / name)
    return folder


#: How Snakemake is started: by its own name, or after it was killed.
SNAKEMAKE, RESUME = ("snakemake",), ("python", "workflow/resume.py")


def start(folder: Path, *arguments, command=SNAKEMAKE) -> subprocess.Popen:
    """Start Snakemake as a user does in the folder, its words going to snakemake.log."""
    # As a user runs it: the number of threads is the workflow's own.
    environment = {name: v for name, v in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    with open(folder / "snakemake.log", "a") as log:
        snakemake = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Processes that a shell starts in the background would never hear of Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    STARTED.append(snakemake)
    return snakemake


def on_slurm(folder: Path, target: str, configurations=TINY, command=SNAKEMAKE) -> subprocess.Popen:
    profile = ("--profile", "slurm", *QUICK, "--configfile", *configurations)
    return start(folder, *profile, "--", target, command=command)


def locally(folder: Path, target: str, configurations=TINY) -> None:
    command = start(folder, "--cores", "2", "--configfile", *configurations, "--", target)
    finish(command, folder, HOUR)


def finish(snakemake: subprocess.Popen, folder: Path, patience: float = PATIENCE) -> str:
    """Wait for Snakemake to end well; what it said."""
    try:
        code = snakemake.wait(patience)
    except subprocess.TimeoutExpired:
        stop(snakemake)
        code = "hung"
    said = (folder / "snakemake.log").read_text()
    assert code == 0, said[-5000:]
    return said


def stop(snakemake: subprocess.Popen) -> None:
    """Ctrl-C, and if that does not help kill."""
    snakemake.send_signal(signal.SIGINT)
    try:
        snakemake.wait(60)
    except subprocess.TimeoutExpired:
        snakemake.kill()


def stop_all() -> None:
    """Stop each Snakemake that a failed test has left."""
    for snakemake in STARTED:
        if snakemake.poll() is None:
            stop(snakemake)


def until(condition, what: str, patience: float = PATIENCE):
    """Wait until a condition gives something; that."""
    last = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < last, f"waited too long for {what}"
        time.sleep(0.2)
    return found


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def queue(folder: Path) -> list[str]:
    """The jobs of a folder that wait or run."""
    lines = slurm("squeue", "--noheader", "--format", "%A %Z").splitlines()
    return [job for job, where in map(str.split, lines) if where == str(folder)]


def facts(job: str) -> dict[str, str]:
    """What SLURM knows of a job."""
    return dict(re.findall(r"(\S+?)=(\S*)", slurm("scontrol", "show", "job", job)))


def trainer(folder: Path) -> Path | None:
    """The process of a training in the folder, in /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"train" in words[1:3] and os.readlink(process / "cwd") == str(folder):
                return process
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def training(folder: Path) -> str:
    """Wait until the pre-training is well under way; its SLURM job."""
    log = folder / LOG
    until(lambda: log.exists() and "epoch 20," in log.read_text(), "epoch 20")
    (job,) = queue(folder)
    return job


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory):
    """A folder in which everything is ready for training."""
    folder = checkout(tmp_path_factory.mktemp("slurm") / "run")
    locally(folder, "store")
    return folder


@pytest.fixture(scope="module")
def undisturbed(surveyed, tmp_path_factory):
    """Contents of the undisturbed local run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(surveyed, folder)
    locally(folder, PREDICTION)
    return contents(folder / "results/tiny")


@pytest.fixture
def run(surveyed, tmp_path):
    """A copy of that folder; afterwards neither a Snakemake nor a job is left."""
    shutil.copytree(surveyed, tmp_path / "run")
    yield tmp_path / "run"
    stop_all()
    if jobs := queue(tmp_path / "run"):
        slurm("scancel", *jobs)
        until(lambda: not queue(tmp_path / "run"), "the queue to be empty", 60)


def check(folder: Path, undisturbed: dict[str, str]) -> None:
    """The training went on, and the contents are those of the undisturbed run."""
    assert "pretrain: resumed after step" in (folder / LOG).read_text()
    found = contents(folder / "results/tiny")
    assert "models/pretrain/metrics.csv" in found
    assert {name for name, digest in found.items() if digest != undisturbed[name]} == set()
    assert not list((folder / "results/tiny/checkpoints").glob("*")), "no checkpoint remains"


@pytest.fixture
def demo(tmp_path):
    """Configurations of the demo, and the contents of its local run.

    The one of `make demo`, where it stands in the checkout; otherwise one with short trainings is
    made.
    """
    made = REPOSITORY / "results/demo"
    if (made / "report.html").exists():
        return ("configs/demo.yaml",), contents(made)
    configurations = ("configs/demo.yaml", SLURM / "demo.yaml")
    folder = checkout(tmp_path / "local")
    locally(folder, "all", configurations)
    return configurations, contents(folder / "results/demo")


def test_the_demo_is_the_same_on_slurm(demo, tmp_path):
    configurations, expected = demo
    folder = checkout(tmp_path / "run")
    said = finish(on_slurm(folder, "all", configurations), folder, HOUR)
    assert (folder / "results/demo/report.html").exists()
    assert len(expected) > 300
    assert contents(folder / "results/demo") == expected
    submitted = re.findall(r"results/logs/slurm/rule_(\w+)/", said)
    assert {"fetch_spectra", "build_store", "train", "predict"} < set(submitted)
    assert not {name for name in submitted if re.match(r"figure|table|report|collect", name)}
    assert (folder / "results/demo/logs/train/pretrain.log").exists()


def test_a_gpu_is_granted_and_ctrl_c_leaves_nothing_running(run, undisturbed):
    snakemake = on_slurm(run, "pretrain")
    granted = facts(training(run))
    seen = (trainer(run) / "environ").read_bytes().split(b"\0")
    stop(snakemake)
    assert snakemake.returncode == 1
    assert (granted["Partition"], granted["TresPerJob"]) == ("gpu", "gres:gpu:a100:1")
    assert (granted["TimeLimit"], granted["NumNodes"]) == ("00:10:00", "1")
    assert {b"CUDA_VISIBLE_DEVICES=0", b"CUDA_VISIBLE_DEVICES=1"} & set(seen)
    until(lambda: not queue(run), "the queue to be empty", 60)
    finish(on_slurm(run, "pretrain"), run)
    check(run, undisturbed)


def test_a_cancelled_job_is_tried_again_with_more(run, undisturbed):
    snakemake = on_slurm(run, "pretrain")
    first = training(run)
    slurm("scancel", first)
    second = until(lambda: set(queue(run)) - {first}, "the second try").pop()
    asked = facts(second)
    said = finish(snakemake, run)
    assert "SLURM status is: 'CANCELLED'" in said
    assert (asked["TimeLimit"], asked["MinMemoryNode"]) == ("00:20:00", "2000M")
    check(run, undisturbed)


def test_a_job_at_its_time_limit_is_tried_again(run, undisturbed):
    snakemake = on_slurm(run, "pretrain")
    job = training(run)
    # A training that would last longer than a minute, without making anyone wait for it.
    os.kill(int(trainer(run).name), signal.SIGSTOP)
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    said = finish(snakemake, run)
    assert "SLURM status is: 'TIMEOUT'" in said
    check(run, undisturbed)


def test_a_requeued_job_goes_on_under_its_number(run, undisturbed):
    snakemake = on_slurm(run, "pretrain")
    job = training(run)
    slurm("scontrol", "requeue", job)
    until(lambda: facts(job)["JobState"] == "RUNNING" and trainer(run), "the job to run again")
    assert queue(run) == [job]
    assert facts(job)["Restarts"] == "1"
    finish(snakemake, run)
    check(run, undisturbed)


def test_after_kill_9_of_snakemake_the_same_command_goes_on(run, undisturbed):
    snakemake = on_slurm(run, PREDICTION)
    job = training(run)
    snakemake.kill()
    snakemake.wait()
    assert queue(run) == [job], "SLURM's jobs do not need Snakemake"
    refused = on_slurm(run, PREDICTION)
    assert refused.wait(PATIENCE) == 1, "a second run on top of the first is refused"
    # As docs/cluster.md says.
    slurm("scancel", job)
    until(lambda: not queue(run), "the queue to be empty", 60)
    finish(on_slurm(run, PREDICTION, command=RESUME), run)
    check(run, undisturbed)
    assert contents(run / "results/tiny") == undisturbed
