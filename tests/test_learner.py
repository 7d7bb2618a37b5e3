# Tests of: spectrafm/training/step.py, training/loop.py
"""One step: it waits for nothing, and no star spoils another's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from making import toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import load_stars
from spectrafm.training import loop, train
from spectrafm.training.checkpoint import Checkpoints
from spectrafm.training.loop import Training
from spectrafm.training.stars import to_device
from spectrafm.training.step import Tally

#: What makes the host wait until the device has an answer.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr")


def new_run(store, options, change=lambda stars: stars, model=MODEL) -> Training:
    """A training of the toy stage that has not begun; ``change`` spoils its stars."""
    torch.manual_seed(0)
    stars = load_stars(store, "synthetic", "train", options.windows)
    network = SpectraFM(model, PAPER_LABELS)
    network.scale_labels(stars.label)
    request = torch.arange(len(LABELS))
    learned = to_device(change(stars), network, request, options.windows, torch.device("cpu"))
    validation_stars = to_device(stars, network, request, options.windows, torch.device("cpu"))
    return Training("x", options, network, request, learned, validation_stars)


class NoWaiting(TorchDispatchMode):
    """Counts operations, and refuses those that read a value back from the device."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.operations += 1
        name = function.name().removeprefix("aten::").split(".")[0]
        assert name not in WAITING, f"{name} makes the host wait"
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("scheme", ["scattered", "contiguous", "mixed", "paper"])
def test_no_step_waits_for_the_device(store, scheme):
    options = stage(sampling={"scheme": scheme, "tokens": 24, "noise": 0.01, "known_labels": 0.2})
    under_way = new_run(store, options)
    under_way.train_step()
    with NoWaiting() as mode:
        for _ in range(8):
            under_way.train_step()
    assert mode.operations > 8 * 100
    with NoWaiting(), pytest.raises(AssertionError, match="makes the host wait"):
        under_way.learner.tally.loss.item()


# Stars that have nothing to teach.


def spoiled(how: str):
    """The same stars, star 3 without labels and with something wrong."""

    def change(stars):
        flux, error = stars.flux.copy(), stars.label_error.copy()
        label = stars.label.copy()
        label[3] = np.nan
        if how == "nan":
            flux[3, ::2] = np.nan
        elif how == "infinite":
            flux[3, 1::2] = np.inf
            flux[3, ::4] = -np.inf
        elif how == "all masked":
            flux[3] = np.nan
        elif how == "zero error":
            error[3] = 0
        elif how == "nan error":
            error[3] = np.nan
        elif how == "infinite label":
            label[3] = [np.inf, -np.inf, np.nan, np.inf, np.nan]
        elif how == "infinite error":
            label[3], error[3] = stars.label[3], np.inf
        elif how == "labels but no pixel":
            flux[3], label[3] = np.nan, stars.label[3]
        return replace(stars, flux=flux, label=label, label_error=error)

    return change


SPOILED = (
    "nan", "infinite", "all masked", "zero error", "nan error", "infinite label",
    "infinite error", "labels but no pixel",
)  # fmt: skip


def weights_after(under_way: Training, steps: int) -> dict[str, torch.Tensor]:
    for _ in range(steps):
        under_way.train_step()
    return under_way.network.state_dict()


@pytest.mark.parametrize("how", SPOILED)
def test_a_star_with_nothing_to_teach_changes_no_bit(store, how):
    # Whole windows, so that bad pixels do not change which good ones are drawn.
    options = stage(
        windows=toy_store.WINDOWS[:1], batch=96, sampling={"scheme": "scattered", "tokens": 24}
    )
    expected = weights_after(new_run(store, options, spoiled("nothing")), 4)
    found = new_run(store, options, spoiled(how))
    weights = weights_after(found, 4)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert found.learner.tally.skipped == 0
    assert math.isfinite(found.learner.tally.loss)


def test_the_spoiled_star_would_have_counted(store):
    options = stage(windows=toy_store.WINDOWS[:1], batch=96)
    without = weights_after(new_run(store, options, spoiled("nothing")), 1)
    with_it = weights_after(new_run(store, options), 1)
    assert any(not torch.equal(with_it[name], without[name]) for name in without)


# Steps that are not finite.


def absurd(*rows: int):
    """Stars with a finite flux that no arithmetic survives."""

    def change(stars):
        flux = stars.flux.copy()
        flux[list(rows)] = 3e38
        return replace(stars, flux=flux)

    return change


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(store):
    under_way = new_run(store, stage(), absurd(5))
    for _ in range(2 * under_way.steps_per_epoch):
        before = {name: value.clone() for name, value in under_way.network.state_dict().items()}
        moments = [m["exp_avg"].clone() for m in under_way.learner.optimizer.state.values()]
        skipped = under_way.learner.tally.skipped.item()
        has_it = 5 in under_way._rows(under_way.step)
        under_way.train_step()
        assert under_way.learner.tally.skipped.item() == skipped + has_it
        after = under_way.network.state_dict()
        same = all(torch.equal(before[name], after[name]) for name in after)
        assert same == has_it
        if has_it and moments:
            found = [m["exp_avg"] for m in under_way.learner.optimizer.state.values()]
            assert all(map(torch.equal, moments, found))
    assert under_way.learner.tally.skipped == 2
    assert math.isfinite(under_way.learner.tally.loss)


@pytest.fixture
def spoil(monkeypatch):
    """Have a training meet spoiled stars."""

    def spoiling(change):
        monkeypatch.setattr(
            "spectrafm.training.train.to_device",
            lambda stars, *rest: to_device(change(stars), *rest),
        )

    return spoiling


def test_skipped_steps_are_told_in_metrics_and_model(store, tmp_path, spoil):
    spoil(absurd(5))
    # All validation stars are sound: 32 of them, and star 5 is of the training stars.
    options = stage(selection="last", epochs=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "validate", lambda *_: (1.0, [1.0] * 5))
        train.train(store, name="x", output=tmp_path / "m", stage=options, model=MODEL)
    facts = read_json(tmp_path / "m/config.json")
    assert facts["skipped_steps"] == 3
    metrics = np.genfromtxt(tmp_path / "m/metrics.csv", delimiter=",", names=True)
    assert metrics["skipped_steps"].tolist() == [1, 2, 3]
    assert "3 steps without a finite loss" in (tmp_path / "m/README.md").read_text()


def test_ten_in_a_row_stop_it_and_name_the_stars(store, tmp_path, spoil, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    learn = loop.Learner.step
    good = []

    def turning_bad(learner, rows, step, epoch, rate):
        if step == 4:
            good.append([p.detach().clone() for p in learner.network.parameters()])
            for row in (5, 17):
                learner.stars.flux[row] = 3e38
        learn(learner, rows, step, epoch, rate)

    monkeypatch.setattr(loop.Learner, "step", turning_bad)
    with pytest.raises(SpectraFMError) as caught:
        train.train(
            store,
            name="x",
            output=tmp_path / "m",
            stage=stage(epochs=50, batch=96),
            model=MODEL,
            checkpoints=tmp_path / "c",
        )
    stars = load_stars(store, "synthetic", "train", toy_store.WINDOWS)
    assert f"look at {stars.apogee_id[5]}, {stars.apogee_id[17]} (2 of 96 stars)" in str(
        caught.value
    )
    assert "10 steps in a row" in str(caught.value)
    assert not (tmp_path / "m").exists()
    (folder,) = (tmp_path / "c").iterdir()
    kept = Checkpoints(folder)
    state = kept.read(kept.newest())
    names = [name for name, _ in SpectraFM(MODEL, PAPER_LABELS).named_parameters()]
    for name, value in zip(names, good[0], strict=True):
        assert torch.equal(state.tensors[f"network.{name}"], value), "the last good weights"


def test_the_tally_counts_skipped_steps_and_those_in_a_row():
    tally = Tally.zero(torch.device("cpu"))
    for loss in (1.0, np.nan, np.inf, 3.0, np.nan):
        tally = tally.add(torch.tensor(loss), torch.tensor(loss).isfinite())
    found = {name: value.item() for name, value in tally._asdict().items()}
    assert found == {"loss": 4.0, "steps": 2, "skipped": 3, "in_a_row": 1, "longest": 2}
    assert tally.next_epoch().loss == tally.next_epoch().steps == 0
    assert tally.next_epoch().skipped == 3


def test_a_training_that_diverges_blames_no_star(store, tmp_path):
    options = stage(epochs=80, clip=None, schedule={"learning_rate": 1e38})
    with pytest.raises(SpectraFMError, match=r"no single star causes it; try a smaller"):
        train.train(store, name="x", output=tmp_path / "m", stage=options, model=MODEL)


@pytest.mark.slow
def test_compiled_trains_to_the_same(store):
    # Dropout draws other masks when compiled.
    exact = MODEL.model_copy(update={"dropout": 0.0})
    compiled, plain = (
        new_run(store, stage(compile=when), model=exact) for when in ("always", "never")
    )
    for under_way in (compiled, plain):
        weights_after(under_way, 3)
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(compiled.network.state_dict()[name], value, rtol=0, atol=1e-4)
