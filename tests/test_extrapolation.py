# Tests of: spectrafm/training/extrapolation.py, and the correction in the model that it leaves
"""Answers beyond the stars of a stage: the factor that is measured, and where it is applied."""

import logging

import numpy as np
import pytest
import torch

from making import toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.predictor import infer
from spectrafm.networks.base import Extrapolation
from spectrafm.networks.saved import from_pretrained
from spectrafm.store.read import load_stars
from spectrafm.training import extrapolation
from spectrafm.training.extrapolation import LARGEST, factor_of
from spectrafm.training.train import train

WINDOW = toy_store.WINDOWS[1:]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(
        tmp_path_factory.mktemp("toy") / "store.zarr", toy_store.toy_stars(400)
    )


def few(**changes):
    """A training of an MLP on 100 stars and one label."""
    return stage(
        **{
            "architecture": "mlp",
            "spectra": "observed",
            "windows": WINDOW,
            "labels": ["FE_H"],
            "stars": {"count": 100, "seed": 1},
            "sampling": {"scheme": "all"},
            # So low a rate that the answers are still too near the mean.
            "epochs": 20,
            "schedule": {"learning_rate": 1e-4, "restart_epochs": 20},
            "selection": "last",
            **changes,
        }
    )


def trained(store, folder, options):
    train(store, name=folder.name, output=folder, stage=options, model=MODEL)
    return TrainedModel.load(folder)


def iron(model, stars):
    chunks = model.network.contexts(stars.wavelength, WINDOW, 1)
    found = infer(model.network, stars.flux, stars.wavelength, ["FE_H"], chunks)
    return found.value[:, 0], found.uncertainty[:, 0]


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory):
    return trained(store, tmp_path_factory.mktemp("models") / "plain", few())


@pytest.fixture(scope="module")
def corrected(store, tmp_path_factory):
    return trained(store, tmp_path_factory.mktemp("models") / "far", few(extrapolate=0.2))


def test_the_factor_is_that_of_least_squares_and_never_shrinks():
    label = np.linspace(-2, -1, 11)
    assert factor_of(0.7 * (label + 0.3) - 0.3, label, -0.3) == pytest.approx(1 / 0.7)
    assert factor_of(1.5 * (label + 0.3) - 0.3, label, -0.3) == 1.0
    assert factor_of(np.full(11, -0.3), label, -0.3) == 1.0, "no distance to multiply"
    assert factor_of(0.01 * (label + 0.3) - 0.3, label, -0.3) == LARGEST
    answer = 0.7 * (label + 0.3) - 0.3
    answer[4] = np.nan
    assert factor_of(answer, label, -0.3) == pytest.approx(1 / 0.7)


def test_a_network_multiplies_distances_and_uncertainties(plain):
    network, _ = from_pretrained(plain.folder)
    request = network.request_of(["FE_H"])
    mean, sigma = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.1], [0.3]])
    value, error = network.in_units(mean, sigma, request)
    network.extrapolate(Extrapolation("FE_H", -0.5, 1.5))
    after, wider = network.in_units(mean, sigma, request)
    assert torch.allclose(after, -0.5 + 1.5 * (value + 0.5))
    assert torch.allclose(wider, 1.5 * error)


def test_a_stage_leaves_its_own_answers_corrected(store, plain, corrected):
    by = corrected.facts["extrapolation"]
    assert plain.facts["extrapolation"] is None
    assert by["label"] == "FE_H"
    assert 1.03 < by["factor"] < LARGEST
    stars = load_stars(store, "observed", "test", WINDOW)
    value, sigma = iron(plain, stars)
    after, wider = iron(corrected, stars)
    assert np.allclose(after, by["centre"] + by["factor"] * (value - by["centre"]), atol=1e-4)
    assert np.allclose(wider, by["factor"] * sigma, rtol=1e-4)
    assert "multiplied with" in (corrected.folder / "README.md").read_text()


def test_the_factor_is_of_stars_that_the_second_training_has_not_seen(
    store, corrected, tmp_path, monkeypatch
):
    measured, began = [], []

    def spy(answer, label, centre):
        measured.append((answer, label, centre))
        return factor_of(answer, label, centre)

    class Spied(extrapolation.Training):
        def __init__(self, name, stage, network, request, stars, *rest):
            began.append(len(stars))
            super().__init__(name, stage, network, request, stars, *rest)

    monkeypatch.setattr(extrapolation, "factor_of", spy)
    monkeypatch.setattr(extrapolation, "Training", Spied)
    again = trained(store, tmp_path / "far", few(extrapolate=0.2))
    assert again.facts["extrapolation"] == corrected.facts["extrapolation"]
    stars = load_stars(store, "observed", "train", WINDOW)
    names = [label.name for label in stars.labels]
    values = dict(zip(stars.apogee_id, stars.label[:, names.index("FE_H")], strict=True))
    own = np.array([values[name] for name in again.facts["training_stars"]], np.float64)
    own = np.sort(own[np.isfinite(own)])
    ((answer, label, centre),) = measured
    assert np.array_equal(np.sort(label), own[: len(label)]), "the lowest labels"
    assert len(label) == pytest.approx(0.2 * len(own), abs=1)
    assert centre == pytest.approx(own[len(label) :].mean())
    assert again.facts["extrapolation"]["centre"] == pytest.approx(own.mean())
    assert len(answer) == len(label)
    assert began == [len(own) - len(label)], "the others alone"


def test_too_few_stars_leave_the_answers(store, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        model = trained(
            store, tmp_path / "small", few(stars={"count": 40, "seed": 1}, extrapolate=0.2)
        )
    assert model.facts["extrapolation"] is None
    assert "stars have FE_H, and 50 are needed" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": None},
        {"labels": ["FE_H", "TEFF"]},
        {"architecture": "ridge"},
        {"replay": {"spectra": "painted"}, "selection": "painted"},
        {"replay": {"spectra": "synthetic"}},
        {"replay": {"spectra": "start"}, "start_from": "base"},
    ],
)
def test_a_stage_that_cannot_be_measured_is_refused(changes):
    with pytest.raises((ValueError, SpectraFMError), match="extrapolate: needs one label"):
        few(extrapolate=0.2, **changes)
