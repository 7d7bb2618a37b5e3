"""Inference: chunks, their combination, the table of predictions, attention maps."""

import dataclasses
import subprocess

import numpy as np
import pytest
import torch
import xarray

from making import toy_store
from making.toy_training import TINY as MODEL
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.collect_metrics import collect_metrics
from spectrafm.figures.figure5 import figure5
from spectrafm.files import read_json, read_parquet
from spectrafm.inference import model as inference_model
from spectrafm.inference import predictor
from spectrafm.inference.attention_maps import read_maps
from spectrafm.inference.flags import names_in
from spectrafm.inference.map_attention import map_attention, mean_maps
from spectrafm.inference.options import Attention, Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import read_predictions
from spectrafm.labels import LABELS, PAPER_LABELS
from spectrafm.networks.fcnn import FCNN
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import StarReader, load_stars
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.training import train
from spectrafm.training.options import Stage


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
    chunks = network.contexts(WAVELENGTH, [(15_152.2, 16_028.0)], 512)
    assert len(chunks) == 8
    assert np.array_equal(np.sort(np.concatenate(chunks)), np.arange(3757))
    assert {len(chunk) for chunk in chunks} <= {469, 470}, "no short last chunk"


def test_chunks_keep_windows_apart(network):
    chunks = network.contexts(WAVELENGTH, toy_store.WINDOWS, 40)
    blue = WAVELENGTH < 16_000
    assert all(blue[chunk].all() or not blue[chunk].any() for chunk in chunks)


def test_the_baseline_reads_its_window_in_one_piece():
    inside = (WAVELENGTH >= 16_105.8) & (WAVELENGTH <= 16_220.0)
    network = FCNN(torch.from_numpy(WAVELENGTH[inside]), PAPER_LABELS[-1:])
    (chunk,) = network.contexts(WAVELENGTH, [(16_105.8, 16_220.0)], 16)
    assert np.array_equal(chunk, np.flatnonzero(inside))


def test_inverse_variance_of_two_chunks():
    means = torch.tensor([[[1.0]], [[4.0]]])
    variances = torch.tensor([[[1.0]], [[2.0]]])
    mean, sigma = predictor.inverse_variance(means, variances)
    assert mean.item() == pytest.approx(2.0)
    # Weights 1 and 1/2: (1 x 1 + 1/2 x 2) / 1.5 is the mean variance.
    assert sigma.item() == pytest.approx((2 / 1.5) ** 0.5)


@pytest.mark.parametrize("chunks", [1, 2, 15])
def test_more_chunks_do_not_shrink_the_uncertainty(chunks):
    """Chunks of one spectrum share their errors."""
    means, variances = torch.zeros(chunks, 1, 1), torch.full((chunks, 1, 1), 0.04)
    _, sigma = predictor.inverse_variance(means, variances)
    assert sigma.item() == pytest.approx(0.2)


def test_a_single_chunk_keeps_its_uncertainty_to_the_bit():
    variances = torch.rand(1, 1000, 5, dtype=torch.float64) * 1e3 + 1e-6
    _, sigma = predictor.inverse_variance(torch.rand_like(variances), variances)
    assert torch.equal(sigma, variances[0].reciprocal().rsqrt())


def test_chunks_without_a_pixel_do_not_count_in_the_uncertainty():
    means = torch.tensor([[[1.0]], [[torch.nan]], [[4.0]]])
    variances = torch.tensor([[[1.0]], [[torch.nan]], [[2.0]]])
    mean, sigma = predictor.inverse_variance(means, variances)
    assert mean.item() == pytest.approx(2.0)
    assert sigma.item() == pytest.approx((2 / 1.5) ** 0.5)


def test_plain_mean_of_two_chunks():
    means = torch.tensor([[[1.0]], [[4.0]]])
    variances = torch.tensor([[[1.0]], [[4.0]]])
    mean, sigma = predictor.plain_mean(means, variances)
    assert mean.item() == 2.5
    assert sigma.item() == 1.5


@pytest.mark.parametrize("combine", predictor.COMBINATIONS.values())
def test_a_chunk_without_pixels_does_not_count(combine):
    means = torch.tensor([[[1.0]], [[torch.nan]]])
    mean, sigma = combine(means, means.abs())
    assert (mean.item(), sigma.item()) == (1.0, 1.0)
    nothing = torch.full((2, 1, 1), torch.nan)
    assert all(part.isnan().all() for part in combine(nothing, nothing))


def test_long_spectra_equal_their_chunks_combined(network, store):
    stars = load_stars(store, "observed", "test", toy_store.WINDOWS)
    chunks = network.contexts(stars.wavelength, toy_store.WINDOWS, 40)
    together = predictor.infer(network, stars.flux, stars.wavelength, LABELS, chunks)
    alone = [
        predictor.infer(network, stars.flux, stars.wavelength, LABELS, [chunk]) for chunk in chunks
    ]
    weight = np.stack([part.uncertainty**-2 for part in alone])
    expected = (weight * np.stack([part.value for part in alone])).sum(0) / weight.sum(0)
    np.testing.assert_allclose(together.value, expected, rtol=1e-4, atol=1e-6)


def test_other_stars_do_not_change_a_stars_result(network, store):
    stars = load_stars(store, "observed", "test", toy_store.WINDOWS)
    chunks = network.contexts(stars.wavelength, toy_store.WINDOWS, 40)
    whole = predictor.infer(network, stars.flux, stars.wavelength, LABELS, chunks)
    flux = stars.flux.copy()
    flux[0] = np.nan
    flux[2, ::2] = np.nan
    changed = predictor.infer(network, flux, stars.wavelength, LABELS, chunks)
    others = np.setdiff1d(np.arange(len(flux)), [0, 2])
    np.testing.assert_allclose(changed.value[others], whole.value[others], rtol=1e-4, atol=1e-5)
    assert np.isnan(changed.value[0]).all()


def test_the_table_of_predictions(model, store, tmp_path):
    options = Predict(windows=toy_store.WINDOWS, labels=["TEFF", "FE_H"])
    predict(model, store, name="toy", output=tmp_path / "base--toy.parquet", options=options)
    table = read_parquet(tmp_path / "base--toy.parquet")
    assert list(table) == [
        "apogee_id", "split",
        "TEFF_actual", "TEFF_error", "TEFF_predicted", "TEFF_uncertainty",
        "TEFF_lower68", "TEFF_upper68", "TEFF_lower90", "TEFF_upper90", "TEFF_lower95",
        "TEFF_upper95",
        "FE_H_actual", "FE_H_error", "FE_H_predicted", "FE_H_uncertainty",
        "FE_H_lower68", "FE_H_upper68", "FE_H_lower90", "FE_H_upper90", "FE_H_lower95",
        "FE_H_upper95",
        "snr", "logg", "good_pixels", "ood_score", "flags",
    ]  # fmt: skip
    stars = load_stars(store, "observed", "test")
    assert table["apogee_id"].tolist() == stars.apogee_id.tolist()
    assert (table["split"] == "test").all()
    np.testing.assert_array_equal(table["FE_H_actual"], stars.label[:, 4])
    unread = table["apogee_id"] == "2M00000009"
    assert unread.sum() == 1
    # The model learned, and was calibrated, on synthetic spectra.
    void = "calibration does not hold: fitted on synthetic spectra"
    assert (table["flags"].str.endswith(void)).all()
    assert np.array_equal(table["flags"].str.startswith("no good pixel"), unread)
    assert np.array_equal(table["TEFF_predicted"].isna(), unread)
    assert (table.loc[~unread, "TEFF_uncertainty"] > 0).all()
    assert table.attrs["units"]["TEFF_uncertainty"] == "K"
    assert table.attrs["mock"] is True
    assert table.attrs["trained"]["spectra"] == "synthetic"
    assert table.attrs["training_stars"] == 96


def test_asking_for_what_the_network_does_not_know(model, store, tmp_path):
    options = Predict(windows=[[15_800.0, 15_860.0]])
    with pytest.raises(SpectraFMError, match="no pixel lies in"):
        predict(model, store, name="x", output=tmp_path / "x.parquet", options=options)
    with pytest.raises(SpectraFMError, match="no such model"):
        predict(
            tmp_path / "nothing", store, name="x", output=tmp_path / "x.parquet", options=options
        )


def test_attention_maps_open_in_xarray(model, store, tmp_path):
    options = Attention(windows=toy_store.WINDOWS)
    map_attention(model, store, output=tmp_path / "base.zarr", options=options)
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
        np.testing.assert_allclose(maps["gradient"].mean("wavelength"), 1.0, atol=0.02)
        # A tenth of the pixels are a label's own, and its lines are among them.
        own = maps["own"].sel(request="FE_H")
        assert own.dims == ("wavelength",)
        assert own.sum() == pytest.approx(0.1 * own.size, abs=1)
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
    chunks = network.contexts(stars.wavelength, toy_store.WINDOWS, 40)
    rows = np.arange(10)
    found = mean_maps(network, stars, rows, chunks).attention
    # Within two pixels: each head sees half of the encoding's periods.
    assert abs(stars.wavelength[found[0].argmax()] - 15_757.0) < 0.5


def with_logg(logg):
    """A reader of stars that all have one log g."""

    class Reader(StarReader):
        def load(self, stars):
            loaded = super().load(stars)
            label = loaded.label.copy()
            label[:, 1] = logg
            return dataclasses.replace(loaded, label=label)

    return Reader


def test_a_population_without_stars_is_left_out(model, store, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(inference_model, "StarReader", with_logg(2.0))
    output = tmp_path / "x.zarr"
    map_attention(model, store, output=output, options=Attention())
    assert "no dwarfs among the stars: skipped" in caplog.text
    maps = read_maps(output)
    assert maps["population"].values.tolist() == ["giants"]
    assert maps.attrs["left_out"] == ["dwarfs"]
    figure5(output, output=tmp_path / "figure5.png")
    monkeypatch.setattr(inference_model, "StarReader", with_logg(3.5))
    with pytest.raises(SpectraFMError, match="neither a giant nor a dwarf"):
        map_attention(model, store, output=tmp_path / "y.zarr", options=Attention())


def test_attention_maps_are_checked_by_sha256sum(model, store, tmp_path):
    output = tmp_path / "base.zarr"
    map_attention(model, store, output=output, options=Attention(windows=toy_store.WINDOWS[:1]))
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=output, check=False).returncode == 0
    maps = read_maps(output)
    assert maps["symbol"].values.tolist() == [label.symbol for label in PAPER_LABELS]
    with xarray.open_zarr(output) as opened:
        names = [type(part).__name__ for part in opened["attention"].encoding["compressors"]]
    assert "Crc32cCodec" in names
    (output / "attention/c/0/0/0").unlink()
    with pytest.raises(SpectraFMError, match="lacks its file attention/c/0/0/0"):
        read_maps(output)
    with pytest.raises(SpectraFMError, match=r"store\.zarr: not attention maps of map-attention"):
        read_maps(store)


# By default a model reads the windows and predicts the labels that it was trained on.


@pytest.fixture(scope="module")
def iron(model, store, tmp_path_factory):
    """A stage that trains one label in one of the windows of its start."""
    stage = Stage(
        spectra="observed",
        start_from="base",
        windows=toy_store.WINDOWS[:1],
        labels=["FE_H"],
        sampling={"tokens": 24},
        epochs=1,
        batch=16,
    )
    folder = tmp_path_factory.mktemp("models") / "iron"
    train.train(store, name="iron", output=folder, start=model, stage=stage, model=MODEL)
    return folder


def predicted(model, store, folder, **options):
    output = folder / "p.parquet"
    predict(model, store, name="p", output=output, options=Predict(**options))
    return read_predictions(output)


def without_names(table):
    """The flags of each row that say nothing of the model's domain."""
    parts = (flags.split("; ") for flags in table["flags"])
    return ["; ".join(text for text in each if not names_in(text)) for each in parts]


def test_by_default_a_model_is_asked_for_what_it_was_trained_for(iron, store, tmp_path, caplog):
    """Version 0.1 used the paper's windows and labels for every model, without a warning."""
    caplog.set_level("WARNING")
    default = predicted(iron, store, tmp_path)
    assert default.attrs["labels"] == ["FE_H"]
    assert default.attrs["windows"] == [list(toy_store.WINDOWS[0])]
    assert set(without_names(default)) == {"", "no good pixel"}
    assert not caplog.records
    given = predicted(iron, store, tmp_path, windows=toy_store.WINDOWS[:1], labels=["FE_H"])
    assert given.equals(default)


def test_asked_for_anything_else_the_rows_are_flagged(iron, store, tmp_path, caplog):
    wide = predicted(iron, store, tmp_path, windows=toy_store.WINDOWS)
    assert "outside the model's windows" in caplog.text
    assert set(without_names(wide)) == {
        f"{own}outside the model's windows; calibration does not hold: fitted on other windows"
        for own in ("", "no good pixel; ")
    }
    caplog.clear()
    both = predicted(iron, store, tmp_path, labels=["TEFF", "FE_H"])
    assert "not trained for TEFF" in caplog.text
    assert both.attrs["labels"] == ["TEFF", "FE_H"]
    assert (both["flags"].str.endswith("not trained for TEFF")).all()
    with pytest.raises(SpectraFMError, match="knows TEFF, LOGG, O_FE, MG_FE, FE_H, not C_FE"):
        predicted(iron, store, tmp_path, labels=["C_FE"])


def test_a_model_of_simulated_stars_stays_marked(iron, store, tmp_path, monkeypatch, caplog):
    """The mock's mark was lost as soon as a mock-trained model met real stars."""

    class Real(StarReader):
        def __init__(self, *options):
            super().__init__(*options)
            self.mock = False

    monkeypatch.setattr(inference_model, "StarReader", Real)
    assert predicted(iron, store, tmp_path).attrs["mock"] is True
    assert "trained on the MOCK SURVEY" in caplog.text
    collect_metrics([tmp_path / "p.parquet"], output=tmp_path / "metrics.json")
    assert read_json(tmp_path / "metrics.json")["mock"] is True
    map_attention(iron, store, output=tmp_path / "iron.zarr", options=Attention())
    assert read_maps(tmp_path / "iron.zarr").attrs["mock"] is True


def test_a_prediction_holds_units_symbols_and_what_was_shown(iron, store, tmp_path):
    table = predicted(iron, store, tmp_path)
    assert table.attrs["label_units"] == {"FE_H": "dex"}
    assert table.attrs["symbols"] == {"FE_H": "[Fe/H]"}
    assert table.attrs["units"]["logg"] == "dex(cm s-2)"
    assert table.attrs["trained"]["freeze"] == []
    stars = load_stars(store, "observed", "test", toy_store.WINDOWS[:1], (0.05, 1.2))
    good = np.isfinite(stars.flux).sum(axis=1)
    np.testing.assert_array_equal(table["good_pixels"], good)
    np.testing.assert_array_equal(table["logg"], stars.label[:, 1])


def test_errors_go_to_networks_that_use_them(network, store, monkeypatch):
    stars = load_stars(store, "observed", "test", toy_store.WINDOWS)
    error = np.full_like(stars.flux, 0.01)
    seen = []
    forward = network.forward

    def spying(*args, error=None):
        seen.append(error)
        return forward(*args)

    network.forward = spying
    chunks = network.contexts(stars.wavelength, toy_store.WINDOWS, 40)
    for reads, given in ((True, None), (False, error), (True, error)):
        monkeypatch.setattr(type(network), "wants_errors", reads)
        predictor.infer(network, stars.flux, stars.wavelength, LABELS, chunks, error=given)
    without, with_errors = seen[: 2 * len(chunks)], seen[2 * len(chunks) :]
    assert without == [None] * len(without)
    assert len(with_errors) == len(chunks)
    assert all(part[:-2].eq(0.01).all() and part[-2:].isnan().all() for part in with_errors)


@pytest.mark.parametrize("name", ["x.csv", "x", "x.parquet.gz"])
def test_an_output_of_another_format_is_refused(model, store, tmp_path, name):
    with pytest.raises(SpectraFMError, match=r"must end in \.parquet"):
        predict(model, store, name="x", output=tmp_path / name, options=Predict())
    with pytest.raises(SpectraFMError, match=r"must end in \.zarr"):
        map_attention(model, store, output=tmp_path / name, options=Attention())
