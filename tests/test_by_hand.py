# Tests of: spectrafm/inference/, spectrafm/training/, spectrafm/networks/base.py
"""Predictions, uncertainties and losses in absolute numbers, which were calculated by hand.

The networks answer the same of every star: 0.5 standard deviations above the centre, 4700 K, with
a variance of 0.04. A standard deviation is 600 K, so the answer is 5000 K, and one sigma is 120 K.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch

from making import toy_store
from making.model_folder import write_model
from making.toy_training import TINY as MODEL
from spectrafm.files import read_parquet
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictor import infer
from spectrafm.labels import PAPER_LABELS, error_column
from spectrafm.networks.base import Answer, requested
from spectrafm.networks.ridge import Ridge
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import load_stars
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.training.interruption import Interruption
from spectrafm.training.objective import gaussian_loss
from spectrafm.training.options import Stage
from spectrafm.training.processes import ALONE
from spectrafm.training.stars import to_device
from spectrafm.training.step import Learner
from spectrafm.training.validation import validate

STAGE = Stage(spectra="synthetic", windows=toy_store.WINDOWS, sampling={"tokens": 24}, epochs=1)
TEFF = PAPER_LABELS[:1]
CPU = torch.device("cpu")

#: Of the stars: in standard deviations they are 1 above the centre, with an error of 0.1.
TRUE_TEFF, TEFF_ERROR = 5300.0, 60.0

#: (1 - 0.5)^2 / (2 V) + ln(V) / 2 with V = 0.2^2 + 0.1^2 = 0.05.
LOSS = 2.5 - 0.5 * math.log(20.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_store.toy_stars(40)
    stars.table["TEFF"] = TRUE_TEFF
    stars.table[error_column("TEFF")] = TEFF_ERROR
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


@pytest.fixture
def network():
    """A network with attention whose head answers the same whatever it reads."""
    torch.manual_seed(0)
    network = SpectraFM(MODEL, TEFF).eval()
    with torch.no_grad():
        network.label_centre.fill_(4700.0)
        network.label_scale.fill_(600.0)
        for layer, answer in (
            (network.head.mean, 0.5),
            (network.head.log_variance, math.log(0.04)),
        ):
            layer.weight.zero_()
            layer.bias.fill_(answer)
    return network


def predicted(network, store, folder, tokens, **options):
    model = write_model(folder / "model", network, toy_store.WINDOWS, tokens)
    output = folder / "model--all.parquet"
    predict(model, store, name="all", output=output, options=Predict(split="all", **options))
    return read_parquet(output)


# Uncertainties. Windows of 96 and 64 pixels are two chunks of up to 96 pixels, or five of up to 32.


@pytest.mark.parametrize(
    ("tokens", "combine", "sigma"),
    [
        (96, "inverse_variance", 120.0),
        (32, "inverse_variance", 120.0),
        (96, "mean", 120.0),
    ],
)
def test_a_prediction_and_its_uncertainty_are_in_kelvin(
    network, store, tmp_path, tokens, combine, sigma
):
    table = predicted(network, store, tmp_path, tokens, combine=combine)
    assert len(table) == 40
    np.testing.assert_allclose(table["TEFF_predicted"], 5000.0, rtol=1e-6)
    np.testing.assert_allclose(table["TEFF_uncertainty"], sigma, rtol=1e-6)
    assert (table["TEFF_actual"] == TRUE_TEFF).all()
    assert (table["TEFF_error"] == TEFF_ERROR).all()


def test_a_network_of_one_grid_answers_in_kelvin(store, tmp_path):
    inside = np.concatenate([
        np.flatnonzero((low <= WAVELENGTH) & (WAVELENGTH <= high))
        for low, high in toy_store.WINDOWS
    ])  # fmt: skip
    network = Ridge(torch.from_numpy(WAVELENGTH[inside]), TEFF)
    network.label_centre.fill_(4700.0)
    network.label_scale.fill_(600.0)
    network.bias.fill_(0.5)
    network.log_variance.fill_(math.log(0.04))
    table = predicted(network, store, tmp_path, len(inside))
    np.testing.assert_allclose(table["TEFF_predicted"], 5000.0, rtol=1e-6)
    np.testing.assert_allclose(table["TEFF_uncertainty"], 120.0, rtol=1e-6)


def test_an_infinite_pixel_is_missing_and_the_star_is_answered(store):
    torch.manual_seed(0)
    network = SpectraFM(MODEL, PAPER_LABELS).eval()
    stars = load_stars(store, "synthetic", "test", toy_store.WINDOWS)
    chunks = network.contexts(stars.wavelength, toy_store.WINDOWS, 40)
    answers = {}
    for value in (np.nan, np.inf, -np.inf):
        flux = stars.flux.copy()
        flux[3, ::5] = value
        answers[value] = infer(network, flux, stars.wavelength, network.labels, chunks)
    missing = answers.pop(np.nan)
    assert np.isfinite(missing.value).all()
    assert len(answers) == 2
    for answer in answers.values():
        np.testing.assert_array_equal(answer.value, missing.value)
        np.testing.assert_array_equal(answer.uncertainty, missing.uncertainty)


def test_a_chunk_is_what_the_network_makes_of_its_pixels(store):
    """One chunk of every third pixel, and labels in an order that is not the network's."""
    torch.manual_seed(0)
    network = SpectraFM(MODEL, PAPER_LABELS).eval()
    with torch.no_grad():
        network.label_centre.copy_(torch.tensor([4700.0, 2.5, 0.1, 0.1, -0.6]))
        network.label_scale.copy_(torch.tensor([600.0, 1.0, 0.1, 0.1, 0.5]))
    stars = load_stars(store, "synthetic", "test", toy_store.WINDOWS)
    chunk = np.arange(2, len(stars.wavelength), 3)
    found = infer(network, stars.flux, stars.wavelength, ["FE_H", "TEFF"], [chunk])
    with torch.no_grad():
        answer = network(
            torch.from_numpy(stars.flux[:, chunk]),
            network.encoding(torch.from_numpy(stars.wavelength[chunk])),
        )
    for column, (label, centre, scale) in enumerate([(4, -0.6, 0.5), (0, 4700.0, 600.0)]):
        mean, sigma = answer.mean[:, label], (answer.log_variance[:, label] / 2).exp()
        np.testing.assert_allclose(found.value[:, column], mean * scale + centre, rtol=1e-5)
        np.testing.assert_allclose(found.uncertainty[:, column], sigma * scale, rtol=1e-5)


def test_labels_that_are_requested_keep_their_own_uncertainties():
    every = Answer(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]]))
    found = requested(every, torch.tensor([2, 0]))
    assert [part.tolist() for part in found[:2]] == [[[3.0, 1.0]], [[30.0, 10.0]]]


def test_a_label_that_all_stars_share_is_not_divided_by_its_scatter(network):
    network.scale_labels(np.full((5, 1), 5000.0, np.float32))
    assert network.label_scale.tolist() == [1.0]
    network.scale_labels(np.array([[4000.0], [5000.0], [6000.0], [np.nan]], np.float32))
    assert network.label_centre.tolist() == [5000.0]
    assert network.label_scale.item() == pytest.approx(1482.6, rel=1e-4)


# Losses.


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (0.5, 0.5 * (0.25 / 0.45 + math.log(0.45))),
        (0.0, 0.5 * (0.25 / 0.2 + math.log(0.2))),
        (math.nan, 0.5 * (0.25 / 0.2 + math.log(0.2))),
    ],
)
def test_an_unknown_error_counts_as_none(error, expected):
    """Half a unit off, with a predicted variance of 0.2 and the error of the label."""
    answer = Answer(torch.tensor([[0.5]]), torch.tensor([[math.log(0.2)]]))
    label, wanted = torch.tensor([[1.0]]), torch.tensor([[True]])
    found = gaussian_loss(answer, label, torch.tensor([[error]]), wanted)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def on_device(network, store):
    stars = load_stars(store, "synthetic", "train", toy_store.WINDOWS)
    request = torch.tensor([0])
    return to_device(stars, network, request, toy_store.WINDOWS, CPU), request


def test_errors_of_labels_are_in_standard_deviations(network, store):
    stars, _ = on_device(network, store)
    np.testing.assert_allclose(stars.label, 1.0, rtol=1e-6)
    np.testing.assert_allclose(stars.label_error, 0.1, rtol=1e-6)


def test_the_validation_loss_and_the_error_in_kelvin(network, store):
    stars, request = on_device(network, store)
    with Interruption(ALONE, CPU) as interruption:
        loss, (rmse,) = validate(network, stars, request, STAGE.sampling, interruption)
    assert loss == pytest.approx(LOSS, rel=1e-5)
    assert rmse == pytest.approx(300.0, rel=1e-5)


def test_the_training_loss(network, store):
    stars, request = on_device(network, store)
    learner = Learner(STAGE, network, request, stars)
    learner.step(torch.arange(16), step=0, epoch=0, learning_rate=0.0)
    assert learner.tally.steps.item() == 1
    assert learner.tally.loss.item() == pytest.approx(LOSS, rel=1e-5)


def test_the_training_loss_is_the_mean_over_known_labels_each_with_its_own_error(network, store):
    """Of three stars one is 0.5 off with an error of 0.1, one right without, one has no label."""
    stars, request = on_device(network, store)
    kind = torch.arange(len(stars)) % 3
    label = torch.tensor([1.0, 0.5, math.nan])[kind][:, None]
    error = torch.tensor([0.1, math.nan, 0.3])[kind][:, None]
    stars = dataclasses.replace(stars, label=label, label_error=error)
    learner = Learner(STAGE, network, request, stars)
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 6])
    learner.step(rows, step=0, epoch=0, learning_rate=0.0)
    expected = (3 * LOSS + 2 * 0.5 * math.log(0.04)) / 5
    assert learner.tally.steps.item() == 1
    assert learner.tally.loss.item() == pytest.approx(expected, rel=1e-5)
