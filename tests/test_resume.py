"""A training that is stopped and goes on: bit for bit as if nothing had happened."""

import logging
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from making import toy_store
from making.toy_training import MODEL, command, stage, train_and_signal
from spectrafm.errors import InterruptedTraining, SpectraFMError
from spectrafm.files import read_json, read_parquet
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.networks.saved import from_pretrained
from spectrafm.training import loop
from spectrafm.training import resume as resuming
from spectrafm.training.checkpoint import Checkpoints, State
from spectrafm.training.step import Learner
from spectrafm.training.train import train as train_stage

#: Steps an epoch: 96 training stars in batches of 16.
STEPS = 6

#: Seconds from a signal to the end of the process, at most (SLURM gives 30).
SECONDS_TO_STOP = 5.0


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr")


def train(store, folder, options, start=None):
    train_stage(
        store,
        name="x",
        output=folder / "model",
        stage=options,
        model=MODEL,
        start=start,
        checkpoints=folder / "checkpoints",
    )


def train_until(store, folder, options, step, monkeypatch):
    """Train and have SIGTERM come during a step."""
    learn = Learner.step

    def interrupted(learner, rows, number, epoch, rate):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        learn(learner, rows, number, epoch, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        with pytest.raises(InterruptedTraining, match=f"stopped by SIGTERM after step {step + 1}"):
            train(store, folder, options)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "model" / name).read_bytes() for name in RESULTS}


RESULTS = ("model.safetensors", "metrics.csv")


# Stopped anywhere.


def interrupted_runs(store: Path, folder: Path, wanted: int, seed: int) -> int:
    """Stop trainings at random moments and let them end; how many ended like the undisturbed.

    By turns SIGTERM, SIGKILL, and two signals; each run goes on from a checkpoint, and is checked
    in its weights, the optimizer's moments, the sums of the device, metrics.csv and predictions.
    """
    options = stage(epochs=60, validate_every=4, schedule={"learning_rate": 2e-3})
    model = MODEL.model_copy(update={"dropout": 0.1})

    def results(at: Path, end_state: Path):
        ended = Checkpoints(end_state)
        state = ended.read(ended.newest())
        facts = {k: v for k, v in state.facts.items() if k != "environments"}
        predict(at / "model", store, name="x", output=at / "p.parquet", options=Predict())
        return contents(at), state.tensors, facts, read_parquet(at / "p.parquet")

    undisturbed = folder / "undisturbed"
    end = train_and_signal(command(undisturbed, store, options, model), undisturbed / "end")
    assert end.code == 0
    expected = results(undisturbed, undisturbed / "end")
    rng = np.random.default_rng(seed)
    plans = [[signal.SIGTERM], [signal.SIGKILL], [signal.SIGTERM, signal.SIGKILL]]
    plans += [[signal.SIGUSR1, signal.SIGTERM]]
    equal = tries = 0
    while equal < wanted:
        tries += 1
        assert tries <= 10 * wanted, "too few were stopped while they trained"
        at = folder / f"try {tries}"
        arguments = command(at, store, options, model)
        plan = plans[equal % len(plans)]
        hits = 0
        for number in plan:
            moment = end.seconds * (0.15 + 0.8 * rng.random()) / len(plan)
            stopped = train_and_signal(arguments, at / "end", number, moment)
            if number != signal.SIGKILL and stopped.code == 75:
                assert stopped.seconds_after_signal < SECONDS_TO_STOP
            hits += stopped.code in (75, -number)
        if hits < len(plan) or not any((at / "checkpoints").glob("x-*/step-*")):
            continue  # a signal came before the first checkpoint, or after the end: another try
        assert train_and_signal(arguments, at / "end").code == 0
        assert not any((at / "checkpoints").iterdir()), "a finished training leaves no checkpoint"
        found = results(at, at / "end")
        assert found[0] == expected[0]
        assert found[1].keys() == expected[1].keys()
        assert all(torch.equal(found[1][name], expected[1][name]) for name in expected[1])
        assert found[2] == expected[2]
        pd.testing.assert_frame_equal(found[3], expected[3], check_exact=True)
        equal += 1
    return equal


def test_stopped_at_random_moments(store, tmp_path):
    assert interrupted_runs(store, tmp_path, wanted=2, seed=1) == 2


@pytest.mark.slow
def test_twenty_of_twenty_stopped_at_random_moments(store, tmp_path):
    assert interrupted_runs(store, tmp_path, wanted=20, seed=2) == 20


def test_the_weights_of_the_best_validation_are_kept_also_by_a_resumed_training(
    store, tmp_path, monkeypatch
):
    losses, at_end = [3.0, 1.0, 2.0, 2.0], {}

    def scripted(training, stars, interruption):
        weights = training.network.state_dict()
        at_end[training.epoch + 1] = {name: value.clone() for name, value in weights.items()}
        return losses[training.epoch], [1.0] * len(training.request)

    monkeypatch.setattr(loop.Training, "_loss_and_rmse", scripted)
    options = stage(epochs=4)
    train(store, tmp_path / "whole", options)
    network, facts = from_pretrained(tmp_path / "whole/model")
    assert facts["epoch"] == 2
    kept = network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in at_end[2].items())
    assert not any(
        all(torch.equal(kept[name], value) for name, value in at_end[n].items()) for n in (1, 3, 4)
    )
    train_until(store, tmp_path / "cut", options, 3 * STEPS + 1, monkeypatch)
    train(store, tmp_path / "cut", options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize("step", [0, STEPS - 1, STEPS, STEPS + 3, 2 * STEPS + 3, 5 * STEPS - 1])
def test_stopped_in_any_step(store, tmp_path, monkeypatch, step):
    options = stage(epochs=5, validate_every=2)
    train(store, tmp_path / "whole", options)
    train_until(store, tmp_path / "cut", options, step, monkeypatch)
    assert not (tmp_path / "cut" / "model").exists(), "nothing unfinished at the final path"
    torch.manual_seed(5)
    train(store, tmp_path / "cut", options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_stopped_while_validating(store, tmp_path, monkeypatch):
    train(store, tmp_path / "whole", stage())
    validate = loop.validate
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", interrupted)
        with pytest.raises(InterruptedTraining, match=f"after step {2 * STEPS}"):
            train(store, tmp_path / "cut", stage())
    train(store, tmp_path / "cut", stage())
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_the_early_end_of_a_patient_training_is_the_same(store, tmp_path, monkeypatch):
    options = stage(epochs=60, patience=2, schedule={"learning_rate": 0.05})
    train(store, tmp_path / "whole", options)
    epochs = read_json(tmp_path / "whole/model/config.json")["epochs_trained"]
    assert epochs < 60
    train_until(store, tmp_path / "cut", options, epochs * STEPS - 1, monkeypatch)
    train(store, tmp_path / "cut", options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_without_checkpoints_a_signal_just_stops(store, tmp_path, monkeypatch):
    learn = Learner.step

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        learn(*arguments)

    monkeypatch.setattr(Learner, "step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedTraining, match=r"stage x: stopped by SIGINT after step 1$"):
        train_stage(store, name="x", output=tmp_path / "m", stage=stage(), model=MODEL)
    assert signal.getsignal(signal.SIGINT) is before


# The files.


def a_state(step: int) -> State:
    generator = torch.Generator().manual_seed(step)
    tensors = {"network.a": torch.randn(40, 7, generator=generator), "tally.steps": torch.zeros(())}
    return State(tensors, {"step": step, "metrics": [{"epoch": 1, "rmse": float("nan")}]})


def test_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "x-0")
    for step in (5, 99, 1000):
        checkpoints.save(a_state(step))
    assert [p.name for p in sorted((tmp_path / "x-0").iterdir())] == [
        "step-0000000099.safetensors",
        "step-0000001000.safetensors",
    ]
    found = checkpoints.read(checkpoints.newest())
    assert torch.equal(found.tensors["network.a"], a_state(1000).tensors["network.a"])


def test_of_100_damaged_checkpoints_none_is_used(tmp_path, caplog):
    rng = np.random.default_rng(0)
    damaged = before_used = 0
    for round_ in range(100):
        checkpoints = Checkpoints(tmp_path / f"x-{round_}")
        old, new = checkpoints.save(a_state(1)), checkpoints.save(a_state(2))
        content = bytearray(new.read_bytes())
        if round_ % 3:
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        else:
            del content[rng.integers(len(content)) :]
        new.write_bytes(content)
        damaged += 1
        caplog.clear()
        before_used += checkpoints.newest() == old
        assert "deleted, the previous checkpoint is used" in caplog.text
        assert not new.exists()
    assert before_used == damaged == 100


def test_a_damaged_newest_checkpoint_costs_only_time(store, tmp_path, monkeypatch, caplog):
    options = stage(epochs=4)
    train(store, tmp_path / "whole", options)
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    train_until(store, tmp_path / "cut", options, 15, monkeypatch)
    (folder,) = (tmp_path / "cut/checkpoints").iterdir()
    first, second = sorted(folder.iterdir())
    second.write_bytes(second.read_bytes()[:-9])
    with caplog.at_level(logging.INFO):
        train(store, tmp_path / "cut", options)
    assert f"{second}: " in caplog.text
    assert f"resumed after step 15 from {first}" in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_no_room_for_a_checkpoint(store, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    train_until(store, tmp_path, stage(), 3, monkeypatch)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(
            SpectraFMError, match=r"step-0000000005\.safetensors: .* after [\d,]+ b"
        ):
            train(store, tmp_path, stage())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    train(store, tmp_path, stage())
    train(store, tmp_path / "whole", stage())
    assert contents(tmp_path) == contents(tmp_path / "whole")


# Another training, another place.


def test_another_place_is_told_and_recorded(store, tmp_path, monkeypatch, caplog):
    train_until(store, tmp_path, stage(), 7, monkeypatch)
    elsewhere = resuming.environment
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "environment", lambda run: {**elsewhere(run), "threads": 64})
        train(store, tmp_path, stage())
    assert "was written with threads 1 (now 64): resuming nevertheless" in caplog.text
    first, second = read_json(tmp_path / "model/config.json")["environments"]
    assert (first["from_step"], first["threads"]) == (0, 1)
    assert (second["from_step"], second["threads"]) == (8, 64)
    assert "64 thread(s), from step 8" in (tmp_path / "model/README.md").read_text()


@pytest.mark.parametrize("changed", ["threads", "processes", "torch", "device"])
def test_another_place_is_refused_where_bits_count(store, tmp_path, monkeypatch, changed):
    options = stage(resume="exact")
    train_until(store, tmp_path, options, 7, monkeypatch)
    elsewhere = resuming.environment
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "environment", lambda run: {**elsewhere(run), changed: "new"})
        with pytest.raises(SpectraFMError, match=rf"{changed} .* \(now new\).*resume: continue"):
            train(store, tmp_path, options)
    train(store, tmp_path, stage())


def test_other_options_start_anew_and_say_so(store, tmp_path, monkeypatch, caplog):
    train_until(store, tmp_path, stage(), 7, monkeypatch)
    with pytest.raises(SpectraFMError, match=r"stage\.weight_decay 0\.01 \(now 0\.5\); delete"):
        train(store, tmp_path, stage(weight_decay=0.5, resume="exact"))
    train(store, tmp_path, stage(weight_decay=0.5))
    assert "starting from step 0" in caplog.text
    assert "stage.weight_decay 0.01 (now 0.5)" in caplog.text
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1, "the other one stays"
    train_stage(
        store, name="x", output=tmp_path / "undisturbed", stage=stage(weight_decay=0.5), model=MODEL
    )
    weights = (tmp_path / "undisturbed/model.safetensors").read_bytes()
    assert (tmp_path / "model/model.safetensors").read_bytes() == weights


def test_other_stars_start_anew_and_say_so(store, tmp_path, monkeypatch, caplog):
    train_until(store, tmp_path, stage(), 7, monkeypatch)
    other = toy_store.write_toy_store(tmp_path / "s.zarr", toy_store.toy_stars(seed=1))
    train(other, tmp_path, stage())
    assert "belongs to a training with other stars, fluxes or starting weights" in caplog.text


def test_more_epochs_go_on_exactly(store, tmp_path, monkeypatch):
    train(store, tmp_path / "whole", stage(epochs=5))
    train_until(store, tmp_path / "cut", stage(epochs=3), 2 * STEPS + 1, monkeypatch)
    train(store, tmp_path / "cut", stage(epochs=5))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_fewer_epochs_than_done_are_refused(store, tmp_path, monkeypatch):
    train_until(store, tmp_path, stage(epochs=5), 4 * STEPS, monkeypatch)
    with pytest.raises(SpectraFMError, match="is in epoch 5 already, but stage x has 2"):
        train(store, tmp_path, stage(epochs=2))
