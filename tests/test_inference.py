"""Inference: chunks, their combination, the table of predictions, attention maps."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray

from making import toy_store
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.inference import predict as inference
from spectrafm.inference.chunks import chunks_of
from spectrafm.inference.map_attention import map_attention, mean_attention
from spectrafm.inference.options import Attention, Predict
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.fcnn import FCNN
from spectrafm.networks.options import Model
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import load_stars
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.training import train
from spectrafm.training.options import Stage

MODEL = Model(
    dimension=16,
    encoder=[{"heads": 2, "feedforward": 32}],
    decoder=[{"heads": 2, "feedforward": 32}],
    head=[16],
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_store.toy_stars()
    stars.spectra["observed"][9] = np.nan  # a test star without a good pixel
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    stage = Stage(
        spectra="synthetic",
        windows=toy_store.WINDOWS,
        sampling={"tokens": 24},
        epochs=2,
        batch=16,
        validate_every=2,
    )
    folder = tmp_path_factory.mktemp("models") / "base"
    train.train(store, name="base", output=folder, stage=stage, model=MODEL)
    return folder


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SpectraFM(MODEL, PAPER_LABELS).eval()


def test_chunks_cover_each_window_once(network):
    chunks = chunks_of(network, WAVELENGTH, [(15_152.2, 16_028.0)], 512)
    assert len(chunks) == 8
    assert np.array_equal(np.sort(np.concatenate(chunks)), np.arange(3757))
    assert {len(chunk) for chunk in chunks} <= {469, 470}, "no short last chunk"


def test_chunks_keep_windows_apart(network):
    chunks = chunks_of(network, WAVELENGTH, toy_store.WINDOWS, 40)
    blue = WAVELENGTH < 16_000
    assert all(blue[chunk].all() or not blue[chunk].any() for chunk in chunks)


def test_the_baseline_reads_its_window_in_one_piece():
    inside = (WAVELENGTH >= 16_105.8) & (WAVELENGTH <= 16_220.0)
    network = FCNN(torch.from_numpy(WAVELENGTH[inside]), PAPER_LABELS[-1:])
    (chunk,) = chunks_of(network, WAVELENGTH, [(16_105.8, 16_220.0)], 16)
    assert np.array_equal(chunk, np.flatnonzero(inside))


def test_inverse_variance_of_two_chunks():
    means = torch.tensor([[[1.0]], [[4.0]]])
    variances = torch.tensor([[[1.0]], [[2.0]]])
    mean, sigma = inference.inverse_variance(means, variances)
    assert mean.item() == pytest.approx(2.0)
    assert sigma.item() == pytest.approx((1 / 1.5) ** 0.5)


def test_plain_mean_of_two_chunks():
    means = torch.tensor([[[1.0]], [[4.0]]])
    variances = torch.tensor([[[1.0]], [[4.0]]])
    mean, sigma = inference.plain_mean(means, variances)
    assert mean.item() == 2.5
    assert sigma.item() == 1.5


@pytest.mark.parametrize("combine", inference.COMBINATIONS.values())
def test_a_chunk_without_pixels_does_not_count(combine):
    means = torch.tensor([[[1.0]], [[torch.nan]]])
    mean, sigma = combine(means, means.abs())
    assert (mean.item(), sigma.item()) == (1.0, 1.0)
    nothing = torch.full((2, 1, 1), torch.nan)
    assert all(part.isnan().all() for part in combine(nothing, nothing))


def test_long_spectra_equal_their_chunks_combined(network, store):
    stars = load_stars(store, "observed", "test", toy_store.WINDOWS)
    chunks = chunks_of(network, stars.wavelength, toy_store.WINDOWS, 40)
    together = inference.infer(network, stars.flux, stars.wavelength, LABELS, chunks)
    alone = [
        inference.infer(network, stars.flux, stars.wavelength, LABELS, [chunk]) for chunk in chunks
    ]
    weight = np.stack([part.uncertainty**-2 for part in alone])
    expected = (weight * np.stack([part.value for part in alone])).sum(0) / weight.sum(0)
    np.testing.assert_allclose(together.value, expected, rtol=1e-4, atol=1e-6)


def test_other_stars_do_not_change_a_stars_result(network, store):
    stars = load_stars(store, "observed", "test", toy_store.WINDOWS)
    chunks = chunks_of(network, stars.wavelength, toy_store.WINDOWS, 40)
    whole = inference.infer(network, stars.flux, stars.wavelength, LABELS, chunks)
    flux = stars.flux.copy()
    flux[0] = np.nan
    flux[2, ::2] = np.nan
    changed = inference.infer(network, flux, stars.wavelength, LABELS, chunks)
    others = np.setdiff1d(np.arange(len(flux)), [0, 2])
    np.testing.assert_allclose(changed.value[others], whole.value[others], rtol=1e-4, atol=1e-5)
    assert np.isnan(changed.value[0]).all()


def test_the_table_of_predictions(model, store, tmp_path):
    options = Predict(windows=toy_store.WINDOWS, labels=["TEFF", "FE_H"])
    inference.predict(model, store, tmp_path / "base--toy.parquet", "toy", options)
    table = read_parquet(tmp_path / "base--toy.parquet")
    assert list(table) == [
        "apogee_id", "split",
        "TEFF_actual", "TEFF_error", "TEFF_predicted", "TEFF_uncertainty",
        "FE_H_actual", "FE_H_error", "FE_H_predicted", "FE_H_uncertainty",
        "flags",
    ]  # fmt: skip
    stars = load_stars(store, "observed", "test")
    assert table["apogee_id"].tolist() == stars.apogee_id.tolist()
    assert (table["split"] == "test").all()
    np.testing.assert_array_equal(table["FE_H_actual"], stars.label[:, 4])
    unread = table["apogee_id"] == "2M00000009"
    assert unread.sum() == 1
    assert (table["flags"] == np.where(unread, "no good pixel", "")).all()
    assert np.array_equal(table["TEFF_predicted"].isna(), unread)
    assert (table.loc[~unread, "TEFF_uncertainty"] > 0).all()
    assert table.attrs["units"]["TEFF_uncertainty"] == "K"
    assert table.attrs["mock"] is True
    assert table.attrs["trained"]["spectra"] == "synthetic"
    assert table.attrs["training_stars"] == 96


def test_asking_for_what_the_network_does_not_know(model, store, tmp_path):
    options = Predict(windows=[[15_800.0, 15_860.0]])
    with pytest.raises(SpectraFMError, match="no pixel lies in"):
        inference.predict(model, store, tmp_path / "x.parquet", "x", options)
    with pytest.raises(SpectraFMError, match="no such model"):
        inference.predict(tmp_path / "nothing", store, tmp_path / "x.parquet", "x", options)


def test_attention_maps_open_in_xarray(model, store, tmp_path):
    options = Attention(windows=toy_store.WINDOWS)
    map_attention(model, store, tmp_path / "base.zarr", options)
    with xarray.open_zarr(tmp_path / "base.zarr") as maps:
        assert maps["attention"].dims == ("population", "request", "wavelength")
        assert maps["population"].values.tolist() == ["dwarfs", "giants"]
        assert maps["request"].values.tolist() == list(LABELS)
        assert maps["wavelength"].attrs["units"] == "Angstrom"
        (low, high), (from_, to) = toy_store.WINDOWS
        blue, green = (low <= WAVELENGTH) & (WAVELENGTH <= high), (from_ <= WAVELENGTH)
        expected = WAVELENGTH[blue | (green & (WAVELENGTH <= to))]
        assert np.array_equal(maps["wavelength"], expected)
        # Relative to uniform attention: 1 on average.
        np.testing.assert_allclose(maps["attention"].mean("wavelength"), 1.0, atol=0.02)
        assert maps.attrs["mock"]


def test_attention_finds_the_pixel_that_matters(store):
    """A network whose last block attends to one wavelength must show a peak there."""
    torch.manual_seed(0)
    options = MODEL.model_copy(update={"encoding": "log_wavelength", "dimension": 64})
    network = SpectraFM(options, PAPER_LABELS).eval()
    stars = load_stars(store, "synthetic", "test", toy_store.WINDOWS)
    target = network.encoding(torch.tensor([15_757.0], dtype=torch.float64))[0]
    with torch.no_grad():
        for block in network.encoder:  # let tokens through unchanged, up to a norm
            block.attention.out.weight.zero_()
            block.feedforward[-1].weight.zero_()
        attention = network.decoder[-1].attention
        attention.query.weight.zero_()
        attention.query.bias.copy_(target)
        attention.key.weight.copy_(torch.eye(64))
        network.embedding.flux_weight.zero_()
        network.embedding.flux_bias.zero_()
    chunks = chunks_of(network, stars.wavelength, toy_store.WINDOWS, 40)
    rows = np.arange(10)
    found = mean_attention(network, stars, rows, chunks)
    # Within two pixels: each head sees half of the encoding's periods.
    assert abs(stars.wavelength[found[0].argmax()] - 15_757.0) < 0.5


def test_attention_needs_both_populations(model, store, tmp_path, monkeypatch):
    from spectrafm.inference import map_attention as module

    def giants_only(*args, **kwargs):
        stars = load_stars(*args, **kwargs)
        label = stars.label.copy()
        label[:, 1] = 2.0
        return dataclasses.replace(stars, label=label)

    monkeypatch.setattr(module, "load_stars", giants_only)
    with pytest.raises(SpectraFMError, match="no dwarfs"):
        map_attention(model, store, tmp_path / "x.zarr", Attention())
