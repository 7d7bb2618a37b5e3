"""The SLURM profile without a cluster: what is handed to sbatch, here one that refuses all."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

#: SLURM's commands, on a cluster without accounting where no submission succeeds.
STANDINS = {
    "sbatch": 'printf "%s\\n" "$*" >> sbatch.txt; echo refused >&2; exit 1',
    "sinfo": "echo PARTITION",
    "squeue": "exit 0",
    "scontrol": "echo MinJobAge = 300 sec",
    "sacct": "exit 1",
    "sacctmgr": "echo def-x; echo def-x_gpu",
    "sshare": "exit 1",
}


@pytest.fixture
def folder(tmp_path):
    """A run with a store, and SLURM's stand-ins beside it."""
    (tmp_path / "results/dr17/store.zarr").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, script in STANDINS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def train_on_slurm(folder, resources, *arguments):
    """Run only the rule train, with these ``resources`` in the config."""
    (folder / "resources.yaml").write_text(yaml.safe_dump({"resources": resources}))
    return subprocess.run(
        [BIN / "snakemake", "--profile", REPOSITORY / "slurm",
         "--snakefile", REPOSITORY / "Snakefile",
         "--configfile", REPOSITORY / "config.yaml", folder / "resources.yaml",
         "--slurm-init-seconds-before-status-checks", "1",
         "--allowed-rules", "train", *arguments,
         "--", "results/dr17/models/pretrain", "results/dr17/models/fcnn"],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip


def submissions(folder, resources):
    """The options of each sbatch, by stage."""
    found = train_on_slurm(folder, resources)
    assert "refused" in found.stdout + found.stderr
    lines = (folder / "sbatch.txt").read_text().splitlines()
    options = [line.split(" --wrap=")[0] for line in lines]
    return {
        stage: [shlex.split(line) for line in options if f"wildcards_{stage}" in line]
        for stage in ("pretrain", "fcnn")
    }


def after(words, flag):
    return words[words.index(flag) + 1]


def test_each_try_asks_for_more_memory_and_time(folder):
    tries = submissions(folder, {})["pretrain"]
    assert [after(words, "--mem") for words in tries] == ["32000", "64000", "96000"]
    assert [after(words, "-t") for words in tries] == ["720", "1440", "2160"]
    for words in tries:
        assert {"--gpus=1", "--nodes=1", "--cpus-per-task=8"} <= set(words)
        assert not {"-A", "-p"} & set(words), "the cluster's own choice"


def test_a_stage_asks_for_its_own(folder):
    own = {"gpus": 4, "gpu_model": "h100", "threads": 24, "account": "def-x_gpu"}
    tried = submissions(folder, {"default": {"account": "def-x", "gpus": 0}, "pretrain": own})
    pretrain, fcnn = tried["pretrain"][0], tried["fcnn"][0]
    assert {"--gpus=h100:4", "--cpus-per-task=24"} <= set(pretrain)
    assert (after(pretrain, "-A"), after(fcnn, "-A")) == ("def-x_gpu", "def-x")
    assert not [word for word in fcnn if word.startswith("--gpus")]


def test_several_gpus_are_trained_on_by_torchrun(folder):
    found = train_on_slurm(folder, {"pretrain": {"gpus": 4}}, "--dry-run")
    commands = re.findall(r"^Shell command: (.*?) --output", found.stdout, re.MULTILINE)
    assert sorted(commands) == [
        "exec spectrafm train results/dr17/store.zarr --name fcnn",
        "exec torchrun --standalone --nproc-per-node=4 -m spectrafm train results/dr17/store.zarr"
        " --name pretrain",
    ]


def test_nothing_is_used_that_loses_results():
    profile = yaml.safe_load((REPOSITORY / "slurm/config.yaml").read_text())
    assert profile["rerun-incomplete"] is True
    assert not {"keep-incomplete", "slurm-array-jobs", "groups", "group-components"} & set(profile)
    for rules in (REPOSITORY / "workflow/rules").glob("*.smk"):
        text = rules.read_text()
        assert "retries" not in text, "it would try again inside the same SLURM job"
        assert "group:" not in text
