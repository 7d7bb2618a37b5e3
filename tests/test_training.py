"""Training: what is drawn, the loss, the schedule, and what a stage leaves behind."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from snakemake.utils import update_config

from making import toy_store
from making.toy_training import MODEL, STAGE, stage
from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json
from spectrafm.labels import LABELS
from spectrafm.networks import saved
from spectrafm.networks.transformer import Answer, SpectraFM
from spectrafm.store.read import load_stars
from spectrafm.training import sampling, train
from spectrafm.training.batch import draw_batch
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Sampling, Schedule, Stars
from spectrafm.training.schedule import learning_rate, rate_of_step
from spectrafm.training.stars import DeviceStars, balanced, choose, meets, subset

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr")


@pytest.fixture(scope="module")
def pretrained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "pretrain"
    train.train(store, name="pretrain", output=folder, stage=STAGE, model=MODEL)
    return folder


# The loss.


def test_loss_is_the_papers_formula():
    mean, log_variance = torch.tensor([[0.3, 9.9]]), torch.tensor([[-1.0, 9.9]])
    label, error = torch.tensor([[1.0, torch.nan]]), torch.tensor([[0.5, torch.nan]])
    found = gaussian_loss(Answer(mean, log_variance), label, error, label.isfinite())
    variance = np.exp(-1.0) + 0.25
    expected = 0.7**2 / (2 * variance) + np.log(variance) / 2
    assert found.tolist() == [[pytest.approx(expected, rel=1e-5), 0.0]]


def test_missing_labels_give_no_gradient():
    mean = torch.zeros(2, 1, requires_grad=True)
    label = torch.tensor([[torch.nan], [1.0]])
    loss = gaussian_loss(Answer(mean, torch.zeros(2, 1)), label, label.abs(), label.isfinite())
    loss.sum().backward()
    assert mean.grad[0].item() == 0
    assert mean.grad[1].item() < 0


# The schedule.


def test_learning_rate_warms_up_anneals_and_restarts():
    schedule = Schedule(learning_rate=1e-3, minimum=1e-5, warmup_epochs=2, restart_epochs=10)
    assert learning_rate(schedule, 1) == pytest.approx(5e-4)
    assert learning_rate(schedule, 2) == pytest.approx(1e-3)
    assert learning_rate(schedule, 7) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(schedule, 11.999) == pytest.approx(1e-5, rel=1e-2)
    assert learning_rate(schedule, 12) == pytest.approx(1e-3)


def test_learning_rate_is_pytorchs_cosine():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7, eta_min=0.01)
    ours = Schedule(learning_rate=0.1, minimum=0.01, restart_epochs=7)
    for epoch in range(20):
        assert learning_rate(ours, epoch) == pytest.approx(theirs.get_last_lr()[0])
        theirs.step()


def stages_of(*overlays):
    """The stages of config.yaml with overlays on it, each with its steps per epoch."""
    content = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    for overlay in overlays:
        update_config(content, yaml.safe_load((REPOSITORY / overlay).read_text()))
    everyone = 90_000 if content.get("mock") is None else 1_200
    for name, options in read_config(content).stages.items():
        stars = options.stars.count or everyone
        yield pytest.param(options, -(-stars // options.batch), id=name)


@pytest.mark.parametrize(("options", "steps"), [*stages_of(), *stages_of("configs/demo.yaml")])
def test_the_last_step_of_each_cosine_runs_at_the_minimum(options, steps):
    """Not at the peak, which a restart that comes one step too early would give it."""
    schedule = options.schedule
    rates = [rate_of_step(schedule, step, steps) for step in range(options.epochs * steps)]
    assert min(rates) > 0
    nearly = schedule.minimum + 1e-3 * schedule.learning_rate
    end = schedule.warmup_epochs + schedule.restart_epochs
    while end <= options.epochs:
        last = round(end * steps) - 1
        assert rates[last] <= max(nearly, 1.1 * schedule.minimum), f"step {last}"
        assert rates[last] <= rates[last - 1]
        end += schedule.restart_epochs


def test_metrics_log_the_rate_that_the_last_step_used(pretrained, store):
    with open(pretrained / "metrics.csv") as handle:
        rows = list(csv.DictReader(handle))
    steps = int(rows[0]["step"])
    for row in rows:
        used = rate_of_step(STAGE.schedule, int(row["step"]) - 1, steps)
        assert float(row["learning_rate"]) == pytest.approx(used)
    assert float(rows[-1]["learning_rate"]) < 0.05 * STAGE.schedule.learning_rate


# Which pixels are shown.


@pytest.fixture
def stars():
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(8, 100, generator=generator) > 0.2
    valid[3] = False
    valid[3, :5] = True
    label = torch.randn(8, 5, generator=generator)
    label[0, 2] = torch.nan
    flux = torch.arange(800.0).view(8, 100)
    windows = (torch.arange(60), torch.arange(60, 100))
    names = np.array([f"star {n}" for n in range(8)])
    position = torch.arange(100.0)[:, None]
    encode = position.__getitem__
    return DeviceStars(flux, None, valid, label, label.abs(), encode, windows, names)


@pytest.mark.parametrize("scheme", ["scattered", "contiguous", "mixed", "paper"])
def test_only_valid_pixels_of_a_window_are_shown_once(stars, scheme):
    options = Sampling(scheme=scheme, tokens=20)
    seen = set()
    for step in range(12):
        batch = draw_batch(stars, torch.arange(8), options, seed=0, step=step, epoch=step // 4)
        pixel = batch.position.squeeze(-1).long()
        shown = torch.ones_like(pixel, dtype=torch.bool)
        if batch.missing is not None:
            shown = ~batch.missing
        assert stars.valid.gather(1, pixel)[shown].all()
        assert torch.equal(batch.flux[shown], stars.flux.gather(1, pixel)[shown])
        for row in range(8):
            assert len(set(pixel[row, shown[row]].tolist())) == shown[row].sum()
        assert shown[0].sum() == 20
        assert shown[3].sum() <= 5
        if scheme != "paper":
            assert (pixel[0] < 60).all() or (pixel[0] >= 60).all(), "one window a step"
        seen.add(tuple(sorted(pixel[0].tolist())))
    # Fresh pixels at each step, or at each epoch as in the authors' code.
    assert len(seen) == (3 if scheme == "paper" else 12)


def test_contiguous_pixels_are_neighbours(stars):
    every = torch.ones(8, 100, dtype=torch.bool)
    whole = replace(stars, valid=every, windows=(torch.arange(100),))
    options = Sampling(scheme="contiguous", tokens=20)
    batch = draw_batch(whole, torch.arange(8), options, seed=0, step=0, epoch=0)
    pixel = batch.position.squeeze(-1).sort(dim=1).values
    assert (pixel.diff(dim=1) == 1).all()
    assert len(set(pixel[:, 0].tolist())) > 1, "each star has a start of its own"


def test_paper_sampling_shows_all_stars_the_same_pixels(stars):
    whole = replace(stars, valid=torch.ones(8, 100, dtype=torch.bool))
    options = Sampling(scheme="paper", tokens=20)
    batch = draw_batch(whole, torch.arange(8), options, seed=0, step=0, epoch=0)
    pixel = batch.position.squeeze(-1).sort(dim=1).values
    assert (pixel == pixel[0]).all()


def test_a_batch_depends_on_seed_and_step_alone(stars):
    options = Sampling(scheme="mixed", tokens=20, noise=0.01, known_labels=0.3)

    def draw(seed, step):
        return draw_batch(stars, torch.arange(8), options, seed=seed, step=step, epoch=0)

    first = draw(0, 5)
    draw(0, 6)
    torch.manual_seed(99)
    again = draw(0, 5)
    assert torch.equal(first.flux, again.flux)
    assert torch.equal(first.requested, again.requested)
    for seed, step in ((1, 5), (0, 7)):  # odd steps show neighbouring pixels
        other = draw(seed, step)
        assert not torch.equal(first.flux, other.flux)
        assert not torch.equal(first.position, other.position)


def test_a_given_label_is_not_asked_and_a_missing_one_neither(stars):
    options = Sampling(tokens=20, known_labels=0.5)
    batch = draw_batch(stars, torch.arange(8), options, seed=0, step=0, epoch=0)
    given = batch.known.isfinite()
    assert given.any()
    assert batch.requested.any()
    assert not (given & batch.requested).any()
    assert torch.equal(given | batch.requested, stars.label.isfinite())


def test_lowest_valid_shows_nothing_of_a_star_without_pixels():
    rank = torch.rand(1, 10)
    _, missing = sampling.lowest_valid(rank, torch.zeros(1, 10, dtype=torch.bool), 4)
    assert missing.all()


# Which stars are learned from.


def test_conditions_on_labels(store):
    stars = load_stars(store, "observed", "train", toy_store.WINDOWS)
    iron = stars.label[:, LABELS.index("FE_H")]
    assert np.isnan(iron).any(), "the test needs a missing label"
    for condition, expected in {
        "FE_H > -1": iron > -1,
        "FE_H >= -0.5": iron >= -0.5,
        "FE_H<-1": iron < -1,
        "FE_H <= -1.5": iron <= -1.5,
    }.items():
        assert np.array_equal(meets(stars, condition), expected), condition


def test_a_star_without_any_label_is_not_learned_from(tmp_path):
    invented = toy_store.toy_stars()
    invented.table.loc[0, list(LABELS)] = np.nan
    store = toy_store.write_toy_store(tmp_path / "store.zarr", invented)
    stars = load_stars(store, "observed", "train", toy_store.WINDOWS)
    chosen = choose(stars, Stars())
    assert set(stars.apogee_id) - set(chosen.apogee_id) == {"2M00000000"}


def test_drawn_stars_do_not_depend_on_the_order_of_rows(store):
    stars = load_stars(store, "observed", "train", toy_store.WINDOWS)
    options = Stars(where="FE_H > -1", count=20, seed=77)
    chosen = choose(stars, options)
    assert len(set(chosen.apogee_id)) == 20
    assert (chosen.label[:, 4] > -1).all()
    turned = subset(stars, np.arange(len(stars.apogee_id))[::-1])
    assert set(choose(turned, options).apogee_id) == set(chosen.apogee_id)
    other = choose(stars, Stars(where="FE_H > -1", count=20, seed=78))
    assert set(other.apogee_id) != set(chosen.apogee_id)


def test_asking_for_more_stars_than_there_are(store):
    stars = load_stars(store, "observed", "train", toy_store.WINDOWS)
    with pytest.raises(SpectraFMError, match=r"1000 wanted, but only \d+ training stars"):
        choose(stars, Stars(where="FE_H > -1", count=1000))


def test_the_authors_checkpoint_choice_sees_as_many_poor_as_rich_stars(store):
    iron = balanced(load_stars(store, "observed", "train", toy_store.WINDOWS)).label[:, 4]
    assert (iron < -1).sum() == (iron >= -1).sum() > 0


def test_label_scaling_is_median_and_mad():
    from astropy.stats import mad_std

    label = np.random.default_rng(0).normal(size=(50, 5)) * [3, 1, 1, 1, 2] + 7
    centre, scale = SpectraFM.label_scaling(torch.from_numpy(label))
    np.testing.assert_allclose(centre, np.median(label, axis=0))
    np.testing.assert_allclose(scale, mad_std(label, axis=0), rtol=1e-4)


# What a stage leaves.


def test_a_trained_model_is_complete_and_better(store, pretrained):
    assert {path.name for path in pretrained.iterdir()} == {
        "model.safetensors", "config.json", "calibration.json", "domain.json",
        "domain.safetensors", "fingerprint.safetensors", "README.md", "metrics.csv", "SHA256SUMS",
    }  # fmt: skip
    facts = read_json(pretrained / "config.json")
    assert facts["stage"] == {**STAGE.model_dump(mode="json"), "labels": list(LABELS)}
    assert facts["mock"] is True
    assert "MOCK SURVEY" in (pretrained / "README.md").read_text()
    with open(pretrained / "metrics.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"])
    assert facts["epoch"] == 1 + int(np.argmin([float(row["validation_loss"]) for row in rows]))


def test_the_same_seed_gives_the_same_weights(store, pretrained, tmp_path):
    torch.manual_seed(123)
    train.train(store, name="pretrain", output=tmp_path / "again", stage=STAGE, model=MODEL)
    weights = (tmp_path / "again" / "model.safetensors").read_bytes()
    assert weights == (pretrained / "model.safetensors").read_bytes()
    train.train(store, name="pretrain", output=tmp_path / "other", stage=stage(seed=1), model=MODEL)
    assert weights != (tmp_path / "other" / "model.safetensors").read_bytes()


def test_validation_stars_without_the_label(tmp_path):
    stars = toy_store.toy_stars()
    stars.table.loc[stars.table["split"] == "validation", "O_FE"] = np.nan
    store = toy_store.write_toy_store(tmp_path / "store.zarr", stars)
    options = stage(labels=["O_FE"], selection="validation_rmse")
    with pytest.raises(SpectraFMError, match="no validation star has O_FE"):
        train.train(store, name="m", output=tmp_path / "m", stage=options, model=MODEL)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("what", ["labels", "spectra"])
def test_training_on_nothing_stops_with_a_clear_line(what, tmp_path):
    stars = toy_store.toy_stars()
    if what == "labels":
        stars.table.loc[stars.table["split"] == "train", "O_FE"] = np.nan
    else:
        stars.spectra["synthetic"][stars.table["split"] == "train"] = np.nan
    store = toy_store.write_toy_store(tmp_path / "store.zarr", stars)
    message = {"labels": "no training star has O_FE", "spectra": "no training star has a good pix"}
    with pytest.raises(SpectraFMError, match=message[what]):
        train.train(
            store, name="m", output=tmp_path / "m", stage=stage(labels=["O_FE"]), model=MODEL
        )
    assert not (tmp_path / "m").exists()


def test_frozen_parts_keep_their_weights(store, pretrained, tmp_path):
    options = stage(
        start_from="pretrain",
        spectra="observed",
        windows=toy_store.WINDOWS[1:],
        labels=["FE_H"],
        stars={"where": "FE_H > -1", "count": 40},
        freeze=["encoder.1", "decoder", "head"],
    )
    train.train(
        store, name="tuned", output=tmp_path / "tuned", stage=options, model=MODEL, start=pretrained
    )
    before, after = (
        saved.read_weights(folder / saved.WEIGHTS) for folder in (pretrained, tmp_path / "tuned")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ("encoder.1", "decoder", "head", "label_")
    assert changed
    assert not [name for name in changed if name.startswith(frozen)]
    assert any(name.startswith("encoder.0") for name in changed)
    facts = read_json(tmp_path / "tuned" / "config.json")
    assert len(facts["training_stars"]) == 40
    iron = load_stars(store, "observed", "train", toy_store.WINDOWS)
    chosen = np.isin(iron.apogee_id, facts["training_stars"])
    assert chosen.sum() == 40
    assert (iron.label[chosen, 4] > -1).all()


def test_the_baseline_trains_and_reads_only_its_window(store, tmp_path):
    options = stage(
        architecture="fcnn",
        spectra="observed",
        windows=toy_store.WINDOWS[1:],
        labels=["FE_H"],
        stars={"where": "FE_H > -1", "count": 40},
        sampling={"scheme": "all"},
        optimizer="adam",
        weight_decay=0,
        epochs=8,
        schedule={"learning_rate": 3e-4, "restart_epochs": 8},
    )
    train.train(store, name="fcnn", output=tmp_path / "fcnn", stage=options, model=MODEL)
    network, _ = saved.from_pretrained(tmp_path / "fcnn")
    stars = choose(load_stars(store, "observed", "train", toy_store.WINDOWS[1:]), options.stars)
    assert network.label_centre.item() == pytest.approx(np.nanmean(stars.label[:, 4]), rel=1e-5)
    np.testing.assert_allclose(
        network.flux_mean, np.nan_to_num(stars.flux, nan=1.0).mean(axis=0), rtol=1e-5
    )


def test_training_with_known_labels(store, tmp_path):
    options = stage(sampling={**STAGE.sampling.model_dump(), "known_labels": 0.3}, epochs=1)
    train.train(store, name="m", output=tmp_path / "m", stage=options, model=MODEL)


def test_half_precision_trains_to_nearly_the_same(store, pretrained, tmp_path):
    train.train(
        store, name="half", output=tmp_path / "half", stage=stage(precision="bfloat16"), model=MODEL
    )
    losses = []
    for folder in (pretrained, tmp_path / "half"):
        with open(folder / "metrics.csv") as handle:
            losses.append([float(row["training_loss"]) for row in csv.DictReader(handle)])
    assert losses[0] != losses[1], "the test needs another precision"
    np.testing.assert_allclose(losses[0], losses[1], atol=0.05)


def test_freezing_what_is_not_there(store, tmp_path):
    with pytest.raises(SpectraFMError, match=r"no part 'encoder\.7'"):
        train.train(
            store, name="m", output=tmp_path / "m", stage=stage(freeze=["encoder.7"]), model=MODEL
        )
    everything = ["embedding", "encoder", "decoder", "head"]
    with pytest.raises(SpectraFMError, match="nothing is left to train"):
        train.train(
            store, name="m", output=tmp_path / "m", stage=stage(freeze=everything), model=MODEL
        )


def test_a_window_without_pixels(store, tmp_path):
    with pytest.raises(SpectraFMError, match="no pixel lies in"):
        train.train(
            store,
            name="m",
            output=tmp_path / "m",
            stage=stage(windows=[[15_800, 15_860]]),
            model=MODEL,
        )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "metrics.csv"])
def test_a_damaged_model_is_refused(pretrained, tmp_path, name):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(pretrained, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises(SpectraFMError, match=name):
        saved.from_pretrained(damaged)
    (damaged / name).unlink()
    with pytest.raises(SpectraFMError, match=f"{name}: listed"):
        saved.from_pretrained(damaged)
