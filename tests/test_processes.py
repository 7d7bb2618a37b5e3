"""Two processes train what one trains."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from making import toy_store
from making.toy_training import MODEL, command, stage
from spectrafm.networks import saved
from spectrafm.training import train
from spectrafm.training.batch import draw_batch
from spectrafm.training.checkpoint import Checkpoints
from spectrafm.training.processes import Processes
from test_learner import new_run

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent

#: Each process draws dropout masks for its own stars, so that only without are the numbers equal.
WITHOUT_DROPOUT = MODEL.model_copy(update={"dropout": 0.0})

#: 96 stars in batches of 40, 40 and 16, of which 3 processes would get unequal shares.
OPTIONS = stage(epochs=30, batch=40, schedule={"learning_rate": 5e-3})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr")


def torchrun(*arguments: str, count: int = 2) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [BIN / "torchrun", "--standalone", f"--nproc-per-node={count}", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def test_what_the_processes_agree_on():
    output = finished(torchrun(str(HERE / "making/two_processes.py")))
    assert "process 0 agrees" in output
    assert "process 1 agrees" in output


@pytest.fixture(scope="module")
def by_two(store, tmp_path_factory):
    """A training by two processes, undisturbed."""
    folder = tmp_path_factory.mktemp("two")
    arguments = command(folder, store, OPTIONS, WITHOUT_DROPOUT)
    output = finished(torchrun("-m", "spectrafm", *arguments))
    assert "2 process(es)" in output
    assert output.count("validation_loss") == OPTIONS.epochs, "one of them logs"
    return folder


def test_two_processes_train_what_one_trains(store, by_two, tmp_path):
    train.train(store, name="x", output=tmp_path / "model", stage=OPTIONS, model=WITHOUT_DROPOUT)
    one, two = (pd.read_csv(at / "model/metrics.csv") for at in (tmp_path, by_two))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-5)
    assert one["training_loss"].iloc[-1] < one["training_loss"].iloc[0] - 0.01
    weights = [saved.read_weights(at / "model/model.safetensors") for at in (tmp_path, by_two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4)


def test_two_processes_stopped_and_going_on(store, by_two, tmp_path):
    arguments = command(tmp_path, store, OPTIONS, WITHOUT_DROPOUT)
    process = torchrun("-m", "spectrafm", *arguments)
    deadline = time.monotonic() + 120
    line = ""
    while "validation_loss" not in line and time.monotonic() < deadline:
        line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "stopped by SIGTERM" in output
    (folder,) = (tmp_path / "checkpoints").iterdir()
    kept = Checkpoints(folder)
    assert 0 < kept.read(kept.newest()).facts["step"] < 3 * OPTIONS.epochs
    assert "resumed after step" in finished(torchrun("-m", "spectrafm", *arguments))
    for name in ("model.safetensors", "metrics.csv"):
        found, expected = (at / "model" / name for at in (tmp_path, by_two))
        assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("scheme", ["scattered", "contiguous", "paper", "all"])
def test_the_shares_make_up_the_whole_step(store, count, scheme):
    sampling = {"scheme": scheme, "tokens": 24, "noise": 0.01, "known_labels": 0.3}
    if scheme == "all":
        sampling |= {"line_noise": 0.1, "continuum_noise": 0.03}
    under_way = new_run(store, stage(sampling=sampling))
    stars, options = under_way.stars, under_way.stage.sampling
    rows = torch.tensor([4, 9, 1, 50])
    whole = draw_batch(stars, rows, options, seed=0, step=3, epoch=0)
    shares = [
        draw_batch(stars, rows, options, 0, 3, 0, Processes(rank, count)) for rank in range(count)
    ]
    assert len({len(share.flux) for share in shares}) == 1
    assert all(share.count == whole.count for share in shares)
    assert sum(share.requested.sum() for share in shares) == whole.count
    shared = whole.position.dim() == 2  # one for all stars, where they show the same pixels
    assert not shared or all(torch.equal(share.position, whole.position) for share in shares)
    for part in ("flux", "label", "requested", *(() if shared else ("position",))):
        together = torch.cat([getattr(share, part) for share in shares])[: len(rows)]
        assert torch.equal(together.nan_to_num(), getattr(whole, part).nan_to_num()), part
