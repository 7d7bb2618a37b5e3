"""Tests of training on a few stars: the synthetic gap, painted spectra, replay, selection."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from making.toy_store import LINES, WINDOWS, toy_stars, write_toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.scores import grouped_scores
from spectrafm.evaluation.table_attention import table_attention
from spectrafm.evaluation.wording import model_name
from spectrafm.inference.label_pixels import changes, own_pixels
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Attention, Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import read_predictions, values_of
from spectrafm.inference.twin import TWIN, read_twin
from spectrafm.labels import LABELS
from spectrafm.networks import saved
from spectrafm.networks.options import Token
from spectrafm.store.read import load_stars
from spectrafm.training.choice import stars_of
from spectrafm.training.gap import COMPONENTS, TIE, _best, _Fit, _regress, fit_gap, painted
from spectrafm.training.train import train

#: A gap that follows the lines: observed lines are a fifth deeper than their models.
DEEPER = 0.2

BOUND = MODEL.model_copy(update={"token": Token(width=2.2e-4, hidden=32), "norm": "pre"})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_stars(400)
    spectra = dict(stars.spectra)
    depth = 1.0 - spectra["synthetic"]
    spectra["observed"] = (spectra["observed"] - DEEPER * depth).astype(np.float32)
    path = tmp_path_factory.mktemp("gap") / "store.zarr"
    return write_toy_store(path, replace(stars, spectra=spectra))


def few(**changes):
    """A stage on forty stars that are not iron-poor."""
    return stage(
        **{
            "spectra": "observed",
            "windows": WINDOWS[1:],
            "labels": ["FE_H"],
            "stars": {"where": "FE_H > -0.6", "count": 40},
            "sampling": {"scheme": "window"},
            "replay": {"spectra": "painted"},
            "selection": "painted",
            **changes,
        }
    )


@pytest.fixture(scope="module")
def chosen(store):
    return stars_of(store, few(), errors=True)


def test_the_gap_of_iron_rich_stars_predicts_that_of_iron_poor_ones(store, chosen):
    poor = load_stars(store, "observed", "test", WINDOWS[1:])
    pairs = load_stars(store, "synthetic", "test", WINDOWS[1:])
    column = [label.name for label in poor.labels].index("FE_H")
    rows = poor.label[:, column] < -1
    assert rows.sum() >= 10
    difference = (poor.flux - pairs.flux)[rows]
    left = difference - chosen.gap.of(pairs.flux)[rows]
    # Noise of 0.003 is left, and what the ridge penalties hold back.
    assert np.sqrt(np.nanmean(left**2)) < 0.4 * np.sqrt(np.nanmean(difference**2))
    assert np.sqrt(np.nanmean(left**2)) < 2 * 0.003


def test_a_spectrum_without_lines_has_hardly_a_gap(chosen):
    continuum = np.ones((1, len(chosen.gap.offset)), np.float32)
    assert np.abs(chosen.gap.of(continuum)).max() < 0.01


def test_only_the_stages_own_stars_set_the_gap(store, chosen):
    observed = load_stars(store, "observed", "train", WINDOWS[1:], None, True)
    own = np.isin(observed.apogee_id, chosen.training.apogee_id)
    assert own.sum() == 40
    other = observed.flux.copy()
    other[~own] = 7.0
    changed = replace(observed, flux=np.where(own[:, None], observed.flux, other))
    rows = np.flatnonzero(own)
    for name in ("flux", "flux_error", "apogee_id"):
        changed = replace(changed, **{name: getattr(changed, name)[rows]})
    assert np.array_equal(fit_gap(changed, chosen.replayed).slope, chosen.gap.slope)
    assert 1 <= chosen.gap.directions.shape[1] <= COMPONENTS


def test_the_number_of_components_is_that_which_predicts_left_out_stars_best():
    """The error without a star is that of a fit to the others; noise asks for few components."""
    rng = np.random.default_rng(0)
    scores, slope = rng.normal(size=(30, 6)), rng.normal(size=(6, 50))
    noise = rng.normal(size=(30, 50))
    noise[3, 7] = np.nan

    def best(difference, stars):
        fits = [_regress(difference[:stars], scores[:stars, :count]) for count in range(1, 7)]
        return 1 + int(np.argmin([fit.error for fit in fits]))

    assert best(scores @ slope + noise, 30) == 6
    assert best(0.2 * scores @ slope + noise, 10) <= 2
    left = []
    for star in range(12):
        others = np.delete(np.arange(12), star)
        fit = _regress(noise[others], scores[others, :2])
        left.append(noise[star] - fit.solution[0] - scores[star, :2] @ fit.solution[1:])
    expected = np.sqrt(np.nanmean(np.square(left)))
    assert _regress(noise[:12], scores[:12, :2]).error == pytest.approx(expected, rel=1e-9)


def test_of_nearly_equal_gaps_the_one_with_more_components_is_used():
    def count(*errors):
        fits = [_Fit(np.zeros((2 + place, 1)), None, error) for place, error in enumerate(errors)]
        return len(_best(fits).solution) - 1

    assert count(1.0, 0.99 * TIE, 0.99, 1.2) == 3
    assert count(1.0, 0.99, 0.99 * TIE, 0.99 * 1.001 * TIE) == 3
    assert count(0.9, 1.0, 1.0) == 1


def test_a_missing_pixel_does_not_enter_the_gap(store, chosen):
    training = chosen.training
    flux = training.flux.copy()
    bad = np.zeros_like(flux, dtype=bool)
    bad[:5, 3] = True
    spoiled = fit_gap(replace(training, flux=np.where(bad, np.nan, flux)), chosen.replayed)
    every = np.delete(np.arange(flux.shape[1]), 3)
    assert np.array_equal(spoiled.slope[:, every], chosen.gap.slope[:, every])
    assert not np.array_equal(spoiled.slope[:, 3], chosen.gap.slope[:, 3])
    assert np.isfinite(spoiled.slope).all()
    assert np.isnan(spoiled.residual[:5, 3]).all()


def test_painted_spectra_look_like_observed_ones(store, chosen):
    synthetic = load_stars(store, "synthetic", "test", WINDOWS[1:])
    observed = load_stars(store, "observed", "test", WINDOWS[1:])
    paint = painted(synthetic, chosen.gap, (0.05, 1.2), seed=5)
    rms = np.sqrt(np.nanmean((paint.flux - observed.flux) ** 2))
    assert rms < 1.6 * 0.003 * np.sqrt(2), "two draws of noise"
    assert np.nanmax(np.abs(paint.flux_error - 0.003)) < 1e-6
    again = painted(synthetic, chosen.gap, (0.05, 1.2), seed=5)
    assert np.array_equal(paint.flux, again.flux, equal_nan=True)
    bounded = painted(synthetic, chosen.gap, (0.9, 1.2), seed=5)
    assert np.nanmin(bounded.flux) >= 0.9
    assert np.isnan(bounded.flux).mean() > 0.01


def test_validation_on_painted_spectra_includes_iron_poor_stars_and_no_observed_one(store, chosen):
    column = [label.name for label in chosen.validation.labels].index("FE_H")
    assert (chosen.validation.label[:, column] < -1).any()
    synthetic = load_stars(store, "synthetic", "validation", WINDOWS[1:])
    assert np.array_equal(chosen.validation.apogee_id, synthetic.apogee_id)
    observed = load_stars(store, "observed", "validation", WINDOWS[1:])
    assert not np.array_equal(chosen.validation.flux, observed.flux, equal_nan=True)


def test_stars_without_a_synthetic_spectrum_cannot_be_painted_from(chosen):
    names = chosen.training.apogee_id.copy()
    names[0] = "2M_unknown"
    with pytest.raises(SpectraFMError, match="1 have none, such as 2M_unknown"):
        fit_gap(replace(chosen.training, apogee_id=names), chosen.replayed)


@pytest.fixture(scope="module")
def base(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    options = stage(
        sampling={"scheme": "window", "noise": 0.01},
        epochs=40,
        schedule={"learning_rate": 3e-3, "restart_epochs": 40},
    )
    train(store, name="base", output=folder, stage=options, model=BOUND)
    return folder


def iron_poor_error(model, store) -> float:
    from spectrafm.inference.predictor import infer

    network, facts = saved.from_pretrained(model)
    stars = load_stars(store, "observed", "test", WINDOWS[1:], None, True)
    chunks = network.contexts(stars.wavelength, WINDOWS[1:], facts["tokens"])
    answer = infer(network, stars.flux, stars.wavelength, ["FE_H"], chunks, error=stars.flux_error)
    label = stars.label[:, [known.name for known in stars.labels].index("FE_H")]
    residual = (answer.value[:, 0] - label)[label < -1]
    return float(np.sqrt(np.nanmean(residual**2)))


def test_painted_replay_teaches_the_gap_of_stars_it_has_not_seen(store, base, tmp_path):
    options = {"start_from": "base", "epochs": 60, "batch": 20}
    options["schedule"] = {"learning_rate": 1e-3, "restart_epochs": 60}
    errors = {"base": iron_poor_error(base, store)}
    for name, replayed in {"alone": None, "painted": "painted"}.items():
        given = few(**options, replay={"spectra": replayed, "ratio": 2})
        train(store, name=name, output=tmp_path / name, start=base, stage=given, model=BOUND)
        errors[name] = iron_poor_error(tmp_path / name, store)
    assert errors["painted"] < 0.7 * errors["base"], errors
    assert errors["painted"] < errors["alone"], errors
    facts = saved.from_pretrained(tmp_path / "painted")[1]
    assert facts["training_star_count"] == 40
    assert facts["stage"]["replay"] == {"spectra": "painted", "ratio": 2.0}


def test_replay_shows_both_kinds_at_each_step_and_the_same_ones_again(store, base):
    from spectrafm.training.replay import replay_of
    from spectrafm.training.stars import to_device

    network, _ = saved.from_pretrained(base)
    request = network.request_of(["FE_H"])
    options = few(replay={"spectra": "painted", "ratio": 3})
    chosen = stars_of(store, options, errors=True)
    stars = to_device(chosen.training, network, request, options.windows, torch.device("cpu"))
    replay = replay_of(chosen.replayed, chosen.gap, options, network, request)
    rows = torch.tensor([4, 2, 9])
    joined = replay.beside(stars, rows, step=7)
    assert len(joined) == 3 + 9
    assert torch.equal(joined.flux[:3].nan_to_num(), stars.flux[rows].nan_to_num())
    assert torch.equal(joined.label[:3].nan_to_num(), stars.label[rows].nan_to_num())
    again, other = replay.beside(stars, rows, step=7), replay.beside(stars, rows, step=8)
    assert torch.equal(joined.flux.nan_to_num(), again.flux.nan_to_num())
    assert not torch.equal(joined.flux.nan_to_num(), other.flux.nan_to_num())
    assert (joined.flux_error[3:].nan_to_num(0.003) - 0.003).abs().max() < 1e-6
    plain = replay_of(chosen.replayed, None, options, network, request)
    shown = plain.beside(stars, rows, step=7).flux[3:]
    synthetic = torch.from_numpy(chosen.replayed.flux)
    assert all((synthetic == row).all(dim=1).any() for row in shown), "whole models, unpainted"


def test_stars_are_set_aside_for_painted_spectra_only():
    with pytest.raises(ValueError, match=r"stars\.aside needs selection: painted"):
        few(stars={"count": 60, "aside": 0.2}, selection="last")


@pytest.mark.parametrize(
    "changes",
    [{"spectra": "synthetic"}, {"architecture": "ridge", "sampling": {"scheme": "all"}}],
)
def test_stages_that_cannot_replay_are_refused(changes):
    with pytest.raises(ValueError, match="replay"):
        few(**changes, stars={})


def test_the_training_stars_of_a_painted_stage_are_written(store, base, tmp_path):
    train(
        store, name="x", output=tmp_path / "x", start=base, model=BOUND,
        stage=few(start_from="base", epochs=1),
    )  # fmt: skip
    assert len(pd.read_parquet(tmp_path / "x/training_stars.parquet")) == 40


def test_averaging_keeps_a_share_of_the_starting_weights(store, base, tmp_path):
    options = {"start_from": "base", "epochs": 2, "replay": {}, "selection": "last"}
    options["schedule"] = {"learning_rate": 1e-3, "restart_epochs": 2}
    weights = {"start": saved.from_pretrained(base)[0].state_dict()}
    for name, average in {
        "tuned": {},
        "quarter": {"with": "start", "weight": 0.25},
        "all": {"with": "start", "weight": 1.0},
    }.items():
        given = few(**options, average=average)
        train(store, name=name, output=tmp_path / name, start=base, stage=given, model=BOUND)
        network, facts = saved.from_pretrained(tmp_path / name)
        weights[name] = network.state_dict()
        assert (facts["averaged_validation_loss"] is None) == (name == "tuned")
    moved = 0
    for part, start in weights["start"].items():
        tuned = weights["tuned"][part]
        assert torch.equal(weights["all"][part], tuned), part
        assert torch.allclose(weights["quarter"][part], 0.75 * start + 0.25 * tuned, atol=1e-6)
        moved += not torch.equal(start, tuned)
    assert moved > 10, "the fine-tune changed weights, so that a share differs from all of them"
    loss = pd.read_csv(tmp_path / "all/metrics.csv")["validation_loss"].iloc[-1]
    assert facts["averaged_validation_loss"] == pytest.approx(loss)


def test_a_stage_from_scratch_has_no_start_to_average_with():
    with pytest.raises(ValueError, match=r"average\.with"):
        few(average={"with": "start"})


@pytest.fixture(scope="module")
def twin_model(store, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("twin") / "twin"
    options = few(start_from="base", replay={}, twin={"components": 8}, epochs=1)
    train(store, name="twin", output=folder, start=base, stage=options, model=BOUND)
    return folder


def predicted(model, store, path, **options):
    predict(model, store, name="all", output=path, options=Predict(**options))
    return read_predictions(path)


def poor_rmse(table) -> float:
    return grouped_scores(*values_of(table, "FE_H"), table["FE_H_actual"])["poor"]["rmse"]


def test_a_twin_is_the_synthetic_spectrum_behind_an_observed_one(store, twin_model):
    twin = TrainedModel.load(twin_model).twin
    assert len(twin.components) == 8
    observed = load_stars(store, "observed", "test", WINDOWS[1:])
    synthetic = load_stars(store, "synthetic", "test", WINDOWS[1:])
    found = twin.of(observed)
    before = np.nanstd(observed.flux - synthetic.flux)
    assert np.isfinite(found.flux).all(), "missing pixels are filled"
    assert np.std(found.flux - synthetic.flux) < 0.3 * before
    # The stated errors are those of the twin, within what the truncation to 8 components adds.
    pull = (found.flux - synthetic.flux) / found.flux_error
    assert 0.5 < np.std(pull) < 3
    flux = observed.flux.copy()
    flux[0] = np.nan
    assert np.isnan(twin.of(replace(observed, flux=flux)).flux[0]).all()
    assert np.array_equal(twin.of(replace(observed, flux=flux)).flux[1:], found.flux[1:])


def test_the_untouched_base_reads_twins_better_than_spectra(store, base, twin_model, tmp_path):
    start, kept = (saved.from_pretrained(m)[0].state_dict() for m in (base, twin_model))
    assert all(torch.equal(start[name], value) for name, value in kept.items())
    table = predicted(twin_model, store, tmp_path / "twin.parquet")
    plain = predicted(twin_model, store, tmp_path / "plain.parquet", twin=False)
    assert poor_rmse(table) < 0.75 * poor_rmse(plain)
    assert table.attrs["trained"]["twin"] == {"components": 8}
    assert model_name(table.attrs["trained"]) == "SpectraFM reading synthetic twins (40 stars)"
    assert plain.attrs["trained"]["twin"] == {"components": None}
    assert table["flags"].str.contains("synthetic twins").sum() == 0
    assert plain["flags"].str.contains("synthetic twins").all(), "the calibration does not hold"
    windows = [[16_105.8, 16_112.0]]
    with pytest.raises(SpectraFMError, match=r"predict in these, or with --twin=false"):
        predicted(twin_model, store, tmp_path / "x.parquet", windows=windows)


def test_a_damaged_twin_is_refused(twin_model, tmp_path):
    tensors = saved.read_weights(twin_model / TWIN)
    for name, value in {
        "variance": -tensors["variance"],
        "mean": tensors["mean"][:-1],
        "response": tensors["response"] * torch.nan,
        "other": tensors["mean"].clone(),
    }.items():
        saved.write_weights(tmp_path / TWIN, {**tensors, name: value})
        with pytest.raises(SpectraFMError, match="not a twin"):
            read_twin(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"start_from": None}, {"start_from": "base", "replay": {"spectra": "painted"}}]
)
def test_stages_that_cannot_have_a_twin_are_refused(changes):
    with pytest.raises(ValueError, match=r"twin\.components"):
        few(twin={"components": 8}, **{"replay": {}, **changes})


def test_the_pixels_that_change_with_a_label_are_those_of_its_lines(store):
    stars = load_stars(store, "synthetic", "train", WINDOWS)
    found = changes(stars, list(LABELS))
    for number, label in enumerate(LABELS):
        near = [np.argmin(np.abs(stars.wavelength - line)) for line in LINES[label]]
        assert set(near) <= set(np.argsort(-found[number])[:6]), label
        others = [name for name in LABELS if name != label]
        far = [np.argmin(np.abs(stars.wavelength - LINES[name][1])) for name in others]
        assert found[number, far].max() < 0.05 * found[number, near].min(), "others are fixed"
        assert own_pixels(found)[number, near].all()
        assert not own_pixels(found)[number, far].any()


def attention_rows(model, store, path):
    table_attention(model, store, output=path, options=Attention(windows=WINDOWS))
    return pd.read_csv(path).set_index("label"), path.with_suffix(".md").read_text()


def test_a_trained_network_looks_where_the_label_is_and_an_untrained_one_does_not(
    store, base, tmp_path
):
    rows, text = attention_rows(base, store, tmp_path / "attention.csv")
    iron = rows.loc["FE_H"]
    assert iron["share"] > iron["shifted_95"]
    assert iron["rmse_attended"] > 1.5 * max(iron["rmse_shifted"], iron["rmse_random"])
    assert "MOCK SURVEY" in text
    options = stage(
        sampling={"scheme": "window"}, epochs=1, schedule={"learning_rate": 1e-9}, selection="last"
    )
    train(store, name="raw", output=tmp_path / "raw", stage=options, model=BOUND)
    raw, text = attention_rows(tmp_path / "raw", store, tmp_path / "raw.csv")
    assert (raw["rmse_attended"] < 1.1 * raw["rmse"]).all(), "it reads nothing, so loses nothing"
    assert raw["share"].mean() < 0.6 * rows["share"].mean()
    verdicts = [line for line in text.splitlines() if line.startswith("- ")]
    assert all("does not hold for" in line for line in verdicts)


def test_validation_spectra_are_painted_with_residuals_that_no_network_was_shown(store, tmp_path):
    found = stars_of(
        store, few(stars={"where": "FE_H > -1", "count": 60, "aside": 0.2}), errors=True
    )
    assert (len(found.drawn), len(found.training)) == (60, 48)
    shown = set(found.training.apogee_id)
    aside = found.drawn.apogee_id[~np.isin(found.drawn.apogee_id, found.training.apogee_id)]
    assert shown | set(aside) == set(found.drawn.apogee_id)
    assert np.array_equal(fit_gap(found.training, found.replayed).slope, found.gap.slope)
    options = (WINDOWS[1:], (0.05, 1.2), True)
    synthetic = load_stars(store, "synthetic", "validation", *options)
    observed = load_stars(store, "observed", "train", *options)
    flux = {
        name: observed.flux[observed.apogee_id == name][0]
        - found.replayed.flux[found.replayed.apogee_id == name][0]
        - found.gap.of(found.replayed.flux[found.replayed.apogee_id == name])[0]
        for name in found.drawn.apogee_id
    }
    painting = found.validation.flux - synthetic.flux - found.gap.of(synthetic.flux)
    for row in painting:
        off = {name: np.nanmax(np.abs(row - residual)) for name, residual in flux.items()}
        nearest = min(off, key=off.get)
        assert off[nearest] < 1e-3  # this store rounds its flux
        assert nearest in aside
