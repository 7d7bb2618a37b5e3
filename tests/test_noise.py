# Tests of: spectrafm/training/noise.py
"""Noise and errors of models that a training adds to the flux."""

import numpy as np
import pytest
import torch

from making.toy_store import WINDOWS, toy_stars, write_toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.training.batch import draw_batch
from spectrafm.training.noise import correlated
from spectrafm.training.train import train
from test_learner import new_run


def test_correlated_noise_keeps_its_variance_and_is_correlated():
    white = torch.randn(400, 343, generator=torch.Generator().manual_seed(1))
    assert correlated(white, 0) is white
    smooth = correlated(white, 2.0)
    assert abs(smooth.std() - 1) < 0.03
    neighbour = (smooth[:, 1:] * smooth[:, :-1]).mean()
    assert abs(neighbour - np.exp(-1 / 16)) < 0.03
    assert abs((smooth[:, 20:] * smooth[:, :-20]).mean()) < 0.03


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_toy_store(tmp_path_factory.mktemp("store") / "store.zarr", toy_stars(300))


def change_of_flux(store, **sampling):
    """Flux without and with an error of the models, of 60 stars."""

    def flux(**more):
        options = stage(windows=WINDOWS[:1], sampling={"scheme": "window", **more})
        stars = new_run(store, options).stars
        return draw_batch(stars, torch.arange(60), options.sampling, seed=0, step=3, epoch=0).flux

    return flux(), flux(**sampling)


def test_line_noise_changes_the_depth_of_lines_and_no_continuum(store):
    before, after = change_of_flux(store, line_noise=0.2)
    known = before.isfinite()
    ratio = ((1 - after) / (1 - before))[known & ((1 - before).abs() > 0.01)]
    assert 0.05 < (ratio - 1).std() < 0.2, "sigmas from 0 to 0.2"
    # The continuum, where a line is shallower than the change could make it.
    flat = known & ((1 - before).abs() < 1e-3)
    assert ((after - before).abs()[flat] < 1e-3).all()


def test_continuum_noise_multiplies_the_flux_and_is_smooth(store):
    before, after = change_of_flux(store, continuum_noise=0.03)
    change = (after / before - 1).nan_to_num(0.0)
    assert 0.01 < change.std() < 0.03
    step = change[:, 1:] - change[:, :-1]
    assert step.std() < 0.1 * change.std(), "neighbouring pixels change together"


def test_another_step_has_other_errors_and_the_same_step_the_same(store):
    sampling = {"scheme": "window", "line_noise": 0.2, "continuum_noise": 0.03}
    under_way = new_run(store, stage(windows=WINDOWS[:1], sampling=sampling))
    options = under_way.stage.sampling

    def flux(step):
        return draw_batch(under_way.stars, torch.arange(9), options, 0, step, 0).flux

    assert torch.equal(flux(1).nan_to_num(), flux(1).nan_to_num())
    assert not torch.equal(flux(1).nan_to_num(), flux(2).nan_to_num())


@pytest.mark.parametrize("name", ["line_noise", "continuum_noise"])
def test_single_pixels_have_no_smooth_noise(store, tmp_path, name):
    sampling = {"scheme": "scattered", "tokens": 24, name: 0.1}
    with pytest.raises(SpectraFMError, match=f"sampling.{name}: scheme scattered shows single"):
        train(store, name="m", output=tmp_path / "m", stage=stage(sampling=sampling), model=MODEL)
