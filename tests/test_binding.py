# Tests of: spectrafm/networks/binding.py, and its use in training and in attention maps
"""Tokens of several pixels: what they hold, and what they leave out."""

import math

import numpy as np
import pytest
import torch

from making import toy_store
from making.toy_training import MODEL, stage
from spectrafm.errors import SpectraFMError
from spectrafm.inference.map_attention import mean_maps
from spectrafm.labels import PAPER_LABELS
from spectrafm.networks.binding import Binding, cells_of, sharpened
from spectrafm.networks.encoding import LogWavelengthEncoding
from spectrafm.networks.options import Token
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import load_stars
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.training.batch import draw_batch
from spectrafm.training.stars import to_device
from spectrafm.training.train import train

TOKEN = Token(width=2.2e-4, harmonics=16, hidden=32)
BOUND = MODEL.model_copy(update={"token": TOKEN})
GRID = torch.from_numpy(WAVELENGTH[2000:2200])


@pytest.fixture
def cells():
    return cells_of(GRID, TOKEN, LogWavelengthEncoding(8))


@pytest.fixture
def network():
    torch.manual_seed(2)
    return SpectraFM(BOUND, PAPER_LABELS).eval()


def spectra(stars=3):
    generator = torch.Generator().manual_seed(4)
    return 1 + 0.1 * torch.randn(stars, len(GRID), generator=generator)


def test_a_token_is_a_fixed_step_in_ln_wavelength(cells):
    number = (GRID.log() / TOKEN.width).floor()
    assert len(cells.pixel) == len(number.unique()) == 13 or len(cells.pixel) == 14
    assert cells.there.sum() == len(GRID)
    assert sorted(cells.pixel[cells.there].tolist()) == list(range(len(GRID)))
    for row in range(len(cells.pixel)):
        inside = cells.pixel[row, cells.there[row]]
        assert len(number[inside].unique()) == 1
        assert (cells.token[inside] == row).all()
    full = cells.there.sum(dim=1)[1:-1]
    assert set(full.tolist()) <= {15, 16}, "an APOGEE pixel is 1.38e-5 in ln(wavelength)"


def test_the_projection_is_the_cosines_of_the_place_within_the_token(cells):
    pixel = int(cells.pixel[3, 5])
    place = math.log(GRID[pixel]) / TOKEN.width
    wanted = [math.cos(math.pi * k * (place % 1)) * math.sqrt(32) for k in range(16)]
    assert np.allclose(cells.harmonic[3, 5], wanted, atol=1e-4)
    assert (cells.harmonic[~cells.there] == 0).all()


def test_the_harmonics_tell_all_pixels_of_a_token_apart(cells):
    row = 4
    weights = cells.harmonic[row, cells.there[row]].double()
    assert torch.linalg.matrix_rank(weights) == cells.there[row].sum()
    assert torch.linalg.cond(weights) < 50


def test_a_token_without_a_valid_pixel_is_empty(network, cells):
    missing = torch.zeros(3, len(GRID), dtype=torch.bool)
    missing[1] = cells.token == 5
    _, empty = network.embedding.binding(
        spectra()[..., None], network.encoding(GRID), missing, None
    )
    assert empty[1].nonzero().tolist() == [[5]]
    assert not empty[[0, 2]].any()


def test_the_error_of_the_flux_enters_the_token_and_an_unknown_one_does_not(network):
    flux, position = spectra(), network.encoding(GRID)
    plain = network(flux, position).mean
    unknown = torch.full_like(flux, torch.nan)
    assert torch.equal(network(flux, position, error=unknown).mean, plain)
    small, large = (
        network(flux, position, error=torch.full_like(flux, size)).mean for size in (0.003, 0.1)
    )
    assert (small - plain).abs().max() > 1e-5
    assert (small - large).abs().max() > 1e-4


def test_the_errors_of_missing_pixels_and_of_no_pixel_are_not_read(network, cells):
    missing = torch.zeros(3, len(GRID), dtype=torch.bool)
    # Where a token has fewer pixels than the fullest one, an index stands for none of them.
    filler = int(cells.pixel[~cells.there].unique().item())
    missing[:, 7::9], missing[:, filler] = True, True
    error = torch.full((3, len(GRID)), 0.01)
    other = error.masked_fill(missing, 5.0)
    position = network.encoding(GRID)
    bound = [
        network.embedding.binding(spectra()[..., None], position, missing, e)[0]
        for e in (error, other)
    ]
    assert torch.equal(*bound)


def test_tokens_are_dropped_in_training_alone():
    torch.manual_seed(0)
    binding = Binding(8, TOKEN.model_copy(update={"drop": 0.5}))
    cells = cells_of(GRID, TOKEN, LogWavelengthEncoding(8))
    depth = torch.zeros(500, len(GRID), 1)
    share = binding.train()(depth, cells, None, None)[1].float().mean()
    assert 0.2 < share < 0.3, "half of the largest share, on average"
    assert not binding.eval()(depth, cells, None, None)[1].any()


def test_a_share_of_the_stars_shows_a_stretch_of_neighbours_in_training():
    torch.manual_seed(0)
    binding = Binding(8, TOKEN.model_copy(update={"stretch": 0.5}))
    cells = cells_of(GRID, TOKEN, LogWavelengthEncoding(8))
    depth = torch.zeros(800, len(GRID), 1)
    shown = ~binding.train()(depth, cells, None, None)[1]
    assert shown.any(dim=1).all()
    steps = shown.int().diff(dim=1, prepend=torch.zeros(800, 1, dtype=torch.int))
    assert ((steps == 1).sum(dim=1) == 1).all(), "one stretch each"
    assert 0.45 < shown.all(dim=1).float().mean() < 0.65
    assert (shown.float().mean(dim=0) > 0.4).all()
    assert set(shown.sum(dim=1).tolist()) == set(range(1, shown.shape[1] + 1))
    assert not binding.eval()(depth, cells, None, None)[1].any()


@pytest.mark.parametrize("pixels", [1, 343, 5000])
def test_another_grid_is_read_with_the_same_weights(network, pixels):
    wavelength = torch.linspace(3400, 10_200, pixels, dtype=torch.float64)
    position = network.encoding(wavelength)
    with torch.no_grad():
        continuum = network(torch.ones(2, pixels), position).mean
        deeper = network(torch.full((2, pixels), 0.7), position).mean
    assert continuum.isfinite().all()
    assert (continuum - deeper).abs().max() > 1e-4


def test_pixels_share_the_attention_of_their_token_by_sensitivity(cells):
    generator = torch.Generator().manual_seed(1)
    of_token = torch.rand(len(cells.pixel), generator=generator)
    number = torch.bincount(cells.token)
    attention = (of_token / number)[cells.token].expand(2, 3, -1).clone()
    sensitivity = torch.rand(attention.shape, generator=generator)
    sensitivity[..., cells.token == 2] = 0
    missing = 20
    attention[0, :, missing] = 0
    found = sharpened(attention, sensitivity, cells)
    for token in range(len(cells.pixel)):
        inside = cells.token == token
        assert torch.allclose(found[1][:, inside].mean(-1), of_token[token])
    assert (found[0, :, missing] == 0).all()
    assert torch.allclose(found[1][:, cells.token == 2], of_token[2])
    ratio = found[1, 0, cells.token == 4] / sensitivity[1, 0, cells.token == 4]
    assert torch.allclose(ratio, ratio[0].expand_as(ratio))


# In training and in attention maps.


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr")


def test_noise_added_in_training_counts_as_error(store):
    network = SpectraFM(BOUND, PAPER_LABELS)
    request = torch.arange(5)
    windows = toy_store.WINDOWS
    options = stage(sampling={"scheme": "window", "noise": 0.02})
    for kind, floor in (("synthetic", 0.0), ("observed", 0.003)):
        some = load_stars(store, kind, "train", windows, None, True)
        stars = to_device(some, network, request, windows, torch.device("cpu"))
        batch = draw_batch(stars, torch.arange(20), options.sampling, 0, 1, 0)
        valid = ~batch.missing
        level = batch.error.where(valid, torch.nan)
        assert (level[valid] > floor).all()
        assert (level[valid] < math.hypot(0.0201, floor)).all()
        spread = torch.nanmean(level, dim=1)
        assert len(spread.unique()) == 20, "each star has a noise of its own"


def test_a_step_shows_one_window_whole_and_every_fourth_all(store):
    network = SpectraFM(BOUND, PAPER_LABELS)
    some = load_stars(store, "synthetic", "train", toy_store.WINDOWS, None, True)
    stars = to_device(some, network, torch.arange(5), toy_store.WINDOWS, torch.device("cpu"))
    options = stage(sampling={"scheme": "window"}).sampling
    sizes = [
        draw_batch(stars, torch.arange(4), options, 0, step, 0).flux.shape[1] for step in range(40)
    ]
    single = {len(window) for window in stars.windows}
    assert len(single) == 2
    assert set(sizes[::4]) == {len(some.wavelength)}
    assert set(sizes) == single | {len(some.wavelength)}


def test_single_pixels_are_refused(store, tmp_path):
    with pytest.raises(SpectraFMError, match="reads whole windows: choose one of window, all"):
        train(store, name="x", output=tmp_path / "x", stage=stage(), model=BOUND)


def test_the_attention_map_finds_the_pixels_within_a_token(store, tmp_path):
    options = stage(
        sampling={"scheme": "window"},
        epochs=15,
        schedule={"learning_rate": 3e-3, "restart_epochs": 15},
    )
    train(store, name="x", output=tmp_path / "x", stage=options, model=BOUND)
    from spectrafm.networks import saved

    network, _ = saved.from_pretrained(tmp_path / "x")
    stars = load_stars(store, "synthetic", "test", toy_store.WINDOWS, None, True)
    chunks = network.contexts(stars.wavelength, toy_store.WINDOWS, 512)
    found, gradient = mean_maps(network, stars, np.arange(len(stars)), chunks)
    assert found.shape == (5, len(stars.wavelength))
    assert np.allclose(found.mean(axis=1), 1, atol=1e-3)
    assert np.allclose(gradient.mean(axis=1), 1, atol=1e-3)
    assert found.std(axis=1).min() > 0.1, "pixels of a token differ"
