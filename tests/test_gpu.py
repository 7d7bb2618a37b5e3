"""What only a GPU can show; left out where there is none."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from making import toy_store
from making.toy_training import MODEL, stage
from spectrafm.labels import PAPER_LABELS
from spectrafm.networks.transformer import SpectraFM
from spectrafm.training import loop
from spectrafm.training.train import train as train_stage
from test_resume import contents, train, train_until

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr")


def test_five_of_five_stopped_trainings_end_the_same(store, tmp_path, monkeypatch):
    options = stage(epochs=8, deterministic=True)
    train(store, tmp_path / "whole", options)
    expected = contents(tmp_path / "whole")
    steps = np.random.default_rng(0).choice(47, 5, replace=False)
    for step in steps:
        at = tmp_path / f"cut {step}"
        train_until(store, at, options, step, monkeypatch)
        train(store, at, options)
        assert contents(at) == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_waits_for_the_gpu(store, tmp_path, monkeypatch, precision):
    options = stage(
        precision=precision, sampling={"scheme": "mixed", "tokens": 24, "known_labels": 0.2}
    )
    step = loop.Training.train_step

    def watched(under_way):
        # The first epoch compiles and looks once at how many pixels are valid.
        if under_way.step < under_way.steps_per_epoch:
            return step(under_way)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(under_way)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop.Training, "train_step", watched)
    train_stage(store, name="x", output=tmp_path / "m", stage=options, model=MODEL)


def test_flash_attention_takes_what_a_step_shows():
    network = SpectraFM(MODEL, PAPER_LABELS).cuda().train()
    flux = torch.rand(8, 24, device="cuda")
    position = network.encoding(torch.linspace(15_200, 16_900, 24, device="cuda"))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):
        network(flux, position).mean.float().sum().backward()


def test_a_gpu_learns_what_the_cpu_learns(store, tmp_path, monkeypatch):
    options = stage(epochs=2, precision="float32", compile="never")
    exact = MODEL.model_copy(update={"dropout": 0.0})
    train_stage(store, name="x", output=tmp_path / "gpu", stage=options, model=exact)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        train_stage(store, name="x", output=tmp_path / "cpu", stage=options, model=exact)
    # Generators of another device draw other pixels: near, not equal.
    losses = [
        np.genfromtxt(tmp_path / at / "metrics.csv", delimiter=",", names=True)["validation_loss"]
        for at in ("gpu", "cpu")
    ]
    np.testing.assert_allclose(*losses, atol=0.1)
