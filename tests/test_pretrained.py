# Tests of: spectrafm/inference/pretrained.py, answers.py, predict_files.py, saliency.py, sources.py
"""SpectraFM in Python and `predict` of files: one, many, ragged; units; flags; tables; sources."""

import functools
import hashlib
import http.server
import json
import shutil
import sys
import threading
import types

import numpy as np
import pandas as pd
import pytest
import torch
from astropy import units as u
from astropy.table import QTable, Table

from making import toy_store
from making.drawn_spectra import Drawn
from making.model_folder import write_model
from making.toy_training import MODEL, TINY, stage
from spectrafm import Spectra, SpectraFM, cli
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_json, read_parquet, write_json
from spectrafm.inference import flags, sources
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.integrity import write_checksums
from spectrafm.labels import PAPER_LABELS
from spectrafm.networks import transformer
from spectrafm.store.read import load_stars
from spectrafm.training.train import train

REST = {"medium": "vacuum", "frame": "rest"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    stars = toy_store.toy_stars(300)
    stars.table["snr"] = np.random.default_rng(0).uniform(100, 300, 300)
    return toy_store.write_toy_store(tmp_path_factory.mktemp("toy") / "store.zarr", stars)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    """A model with calibration and domain: ridge regression, which reads its own pixels."""
    options = stage(
        spectra="observed", architecture="ridge", sampling={"scheme": "all"}, epochs=1,
        labels=["TEFF", "LOGG", "FE_H"],
    )  # fmt: skip
    made = tmp_path_factory.mktemp("models") / "x"
    train(store, name="x", output=made, stage=options, model=MODEL)
    return marked(made, mock=False)


def marked(folder, mock):
    """A model as if it had learned from real stars, or from mock ones."""
    write_json(folder / "config.json", read_json(folder / "config.json") | {"mock": mock})
    write_checksums(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return SpectraFM.from_pretrained(folder)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A model of random weights that reads any pixels."""
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("models") / "random"
    network = transformer.SpectraFM(TINY, PAPER_LABELS)
    return SpectraFM.from_pretrained(write_model(made, network, toy_store.WINDOWS, tokens=24))


@pytest.fixture(scope="module")
def stars(store):
    return load_stars(store, "observed", "test", errors=True)


def spectra_of(stars, rows, **about):
    error = np.full_like(stars.flux[rows], 0.003)
    about = {"normalisation": "aspcap", **REST, **about}
    return Spectra(stars.flux[rows], stars.wavelength * u.AA, error, **about)


def test_a_table_has_units_intervals_flags_and_the_model(model, stars, store, folder, tmp_path):
    table = model.predict(spectra_of(stars, slice(0, 40)))
    assert isinstance(table, QTable)
    assert table["TEFF"].unit == u.K
    assert table["LOGG"].unit == u.Unit("dex(cm s-2)")
    assert table["LOGG_uncertainty"].unit == u.dex
    assert (table["TEFF_lower95"] < table["TEFF_lower68"]).all()
    assert (table["TEFF_lower68"] < table["TEFF"]).all()
    assert (table["TEFF"] < table["TEFF_upper68"]).all()
    assert table.meta["labels"] == ["TEFF", "LOGG", "FE_H"]
    assert len(table.meta["model_sha256"]) == 64
    assert set(table.meta["flags"]) == set(flags.FLAGS)
    np.testing.assert_allclose(table["snr"], 1 / 0.003, rtol=0.1)
    # The same stars of the store have the same labels.
    predict(folder, store, name="y", output=tmp_path / "x--y.parquet", options=Predict())
    found = read_parquet(tmp_path / "x--y.parquet").iloc[:40]
    np.testing.assert_allclose(table["TEFF"].value, found["TEFF_predicted"], rtol=1e-5)
    np.testing.assert_allclose(table["TEFF_upper68"].value, found["TEFF_upper68"], rtol=1e-4)
    np.testing.assert_array_equal(table["good_pixels"], found["good_pixels"])
    # One signal-to-noise ratio: flux over error, and not the survey's own number in the store.
    np.testing.assert_allclose(table["snr"], found["snr"], rtol=1e-5)
    assert not found["flags"].str.contains(flags.LOW_SNR).any()
    np.testing.assert_allclose(table["ood_score"], found["ood_score"], rtol=1e-4)


def test_one_many_and_ragged_spectra_have_the_same_answers(network, stars):
    whole = network.predict(spectra_of(stars, slice(0, 4)))
    for row in range(4):
        alone = network.predict(spectra_of(stars, slice(row, row + 1))[0])
        assert alone["FE_H"].value == pytest.approx(whole["FE_H"][row].value, rel=1e-4)
    # Other pixels outside the windows, another order, another unit: the same.
    keep = np.flatnonzero(stars.wavelength < 16_200)[::-1]
    ragged = Spectra(
        [stars.flux[0], stars.flux[1, keep]],
        [stars.wavelength / 1e4 * u.um, (stars.wavelength[keep] / 10) * u.nm],
        normalisation="aspcap", **REST,
    )  # fmt: skip
    found = network.predict(ragged)
    np.testing.assert_allclose(found["TEFF"].value, whole["TEFF"][:2].value, rtol=1e-4)
    assert list(found["name"]) == ["spectrum 1", "spectrum 2"]
    assert network.predict(ragged, labels=["FE_H"]).colnames[:3] == [
        "name", "FE_H", "FE_H_uncertainty",
    ]  # fmt: skip
    with pytest.raises(SpectraFMError, match="not C_FE"):
        network.predict(ragged, labels=["C_FE"])


def named(table, row=0):
    return [name for name in flags.names_in(table["flags"][row]) if name != flags.MOCK_TRAINED]


def test_wrong_spectra_are_never_answered_without_a_word(model, network, stars):
    flux, wavelength = stars.flux[:1], stars.wavelength
    right = model.predict(spectra_of(stars, slice(0, 1)))
    assert named(right) == []
    # A flux as observed, in any unit, is normalised, and this is said.
    observed = Spectra(flux * 3e-17 * u.Unit("erg s-1 cm-2 AA-1"), wavelength * u.AA, **REST)
    found = model.predict(observed)
    assert "continuum-normalised with aspcap" in found["notes"][0]
    assert found["TEFF"][0].value == pytest.approx(right["TEFF"][0].value, abs=200)
    # Of another wavelength range.
    optical = Spectra(np.ones(500), np.linspace(4000, 9000, 500) * u.AA, normalisation="aspcap")
    for one in (model, network):
        found = one.predict(optical)
        assert flags.NO_ANSWER in named(found)
        assert "no good pixel within 15750.0-15770.7, 16105.8-16119.9 Angstrom" in found["notes"][0]
        assert np.isnan(found["TEFF"][0].value)
    # Shuffled, at the velocity of a forgotten correction, too few pixels, low signal-to-noise.
    mixed = flux[:, np.random.default_rng(0).permutation(len(wavelength))]
    found = model.predict(Spectra(mixed, wavelength * u.AA, normalisation="aspcap", **REST))
    assert flags.OUT_OF_DISTRIBUTION in named(found)
    few = np.isin(wavelength, wavelength[toy_pixels(wavelength)][::5])
    one = Spectra(np.where(few, flux[0], np.nan), wavelength * u.AA, normalisation="aspcap", **REST)
    assert flags.FEW_PIXELS in named(model.predict(one))
    noisy = Spectra(
        flux, wavelength * u.AA, 0.1 * np.ones_like(flux), normalisation="aspcap", **REST
    )
    assert flags.LOW_SNR in named(model.predict(noisy))
    # Numbers without a unit are taken as Angstrom, and flagged.
    found = model.predict(Spectra(flux[0], wavelength, normalisation="aspcap", **REST))
    assert named(found) == [flags.ASSUMED_UNITS]


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_drawn_spectra_have_an_answer_or_a_flag(model, network, count):
    """Whatever a spectrum holds: no exception, and no label without an uncertainty."""
    spectra = [Drawn(seed, 15_700.0, 16_150.0).made() for seed in range(count)]
    for one in (model, network):
        found = one.predict(spectra)
        assert len(found) == count
        answered = np.isfinite(found["FE_H"].value)
        assert answered.sum() > 0.2 * count
        assert (found["FE_H_uncertainty"].value[answered] > 0).all()
        unanswered = [flags.NO_ANSWER in named(found, row) for row in range(count)]
        np.testing.assert_array_equal(unanswered, ~answered)


def toy_pixels(wavelength):
    return np.flatnonzero(
        np.any([(wavelength >= a) & (wavelength <= b) for a, b in toy_store.WINDOWS], axis=0)
    )


def test_a_grid_of_ones_own_is_interpolated_for_a_network_that_needs_its_pixels(model, stars):
    own = np.arange(15_700, 16_200, 0.1)
    flux = np.interp(own, stars.wavelength, np.nan_to_num(stars.flux[0], nan=1.0))
    found = model.predict(Spectra(flux, own * u.AA, normalisation="aspcap", **REST))
    assert "interpolated to the pixels that the model reads" in found["notes"][0]
    right = model.predict(spectra_of(stars, slice(0, 1)))
    assert found["TEFF"][0].value == pytest.approx(right["TEFF"][0].value, abs=150)


def test_what_is_no_spectrum_is_refused(model):
    with pytest.raises(SpectraFMError, match=r"ndarray is no spectrum: make one with"):
        model.predict(np.ones((2, 100)))
    with pytest.raises(SpectraFMError, match="the model does not read colour"):
        model.predict(Spectra(np.ones(9), np.linspace(1.5, 1.6, 9) * u.um), inputs={"colour": 1.0})


def test_a_mock_trained_model_says_so(folder, stars, tmp_path):
    mock = shutil.copytree(folder, tmp_path / "mock")
    model = SpectraFM.from_pretrained(marked(mock, mock=True))
    table = model.predict(spectra_of(stars, slice(0, 3)))
    assert all(flags.MOCK_TRAINED in text for text in table["flags"])
    assert "MOCK SURVEY" in repr(model)
    assert "not for use on real spectra" in model._repr_html_()


def test_a_model_shows_what_it_is(model):
    shown = model._repr_html_()
    for text in ("Ridge regression", "TEFF (K)", "15750.0-15770.7", "observed spectra", "aspcap"):
        assert text in shown
    assert repr(model) == "<SpectraFM x: TEFF, LOGG, FE_H>"


# Where the model looks.


def test_gradients_are_those_of_finite_differences(network, model, stars):
    spectra = spectra_of(stars, slice(0, 1))
    (table,) = network.attention(spectra)
    assert {"wavelength", "flux", "TEFF_gradient", "TEFF_attention"} <= set(table.colnames)
    assert np.nanmean(table["TEFF_attention"]) == pytest.approx(1, rel=0.05)
    pixel = int(np.nanargmax(np.abs(table["TEFF_gradient"].value)))
    place = int(np.searchsorted(stars.wavelength, table["wavelength"][pixel].value - 1e-6))
    change = []
    for step in (-0.01, 0.01):
        flux = stars.flux[:1].copy()
        flux[0, place] += step
        found = Spectra(flux, stars.wavelength * u.AA, normalisation="aspcap", **REST)
        change.append(network.predict(found)["TEFF"][0].value)
    # Chunks are combined with weights that change little.
    slope = (change[1] - change[0]) / 0.02
    assert slope == pytest.approx(table["TEFF_gradient"][pixel].value, rel=0.5)
    (ridge,) = model.attention(spectra)
    assert "TEFF_attention" not in ridge.colnames
    nearest = np.abs(ridge["wavelength"].value[:, None] - toy_store.LINES["TEFF"]).min(axis=1)
    weight = np.abs(ridge["TEFF_gradient"].value)
    assert np.nanmean(weight[nearest < 1]) > 3 * np.nanmean(weight[nearest > 3])


# Files.


@pytest.fixture(scope="module")
def tables(stars, tmp_path_factory):
    """Files of spectra of a user, and one that is none."""
    made = tmp_path_factory.mktemp("files")
    for row in range(3):
        Table(
            {
                "wavelength": stars.wavelength * u.AA,
                "flux": np.nan_to_num(stars.flux[row]) * 1e3,
                "flux_error": np.full(len(stars.wavelength), 5.0),
            }
        ).write(made / f"star{row}.ecsv", format="ascii.ecsv")
    (made / "bad.csv").write_text("a,b\n1,2\n")
    return sorted(made.glob("*.*"))


@pytest.mark.parametrize("suffix", [".parquet", ".fits", ".ecsv", ".csv"])
def test_files_are_predicted_to_a_table(folder, tables, tmp_path, suffix, capsys):
    output = tmp_path / f"out{suffix}"
    assert cli.main(["predict", str(folder), *map(str, tables), "-o", str(output)]) == 0
    error = capsys.readouterr().err
    found = {
        ".parquet": lambda: read_parquet(output),
        ".csv": lambda: pd.read_csv(output, keep_default_na=False),
        ".fits": lambda: QTable.read(output),
        ".ecsv": lambda: QTable.read(output),
    }[suffix]()  # fmt: skip
    assert [str(name).strip() for name in found["name"]][:4] == [
        "bad.csv", "star0.ecsv", "star1.ecsv", "star2.ecsv",
    ]  # fmt: skip
    text = [str(value).strip() for value in found["flags"]]
    assert text[0] == flags.NO_ANSWER
    assert "bad.csv" in str(found["notes"][0])
    values = [str(getattr(value, "value", value)) or "nan" for value in found["TEFF"]]
    assert np.isfinite(np.float64(values[1:])).all()
    assert not np.isfinite(np.float64(values[0].replace("———", "nan")))
    if suffix in (".fits", ".ecsv"):
        assert found["TEFF"].unit == u.K
    if suffix == ".parquet":
        assert found.attrs["units"]["LOGG"] == "dex(cm s-2)"
        assert found.attrs["model"] == "x"
    assert "1 files not read" in error or not error


def test_without_an_output_the_labels_are_printed(folder, tables, capsys):
    assert cli.main(["predict", str(folder), str(tables[1])]) == 0
    shown = capsys.readouterr().out
    assert "TEFF" in shown
    assert "±" in shown
    assert "star0" in shown


def test_what_a_store_and_files_cannot_share_is_refused(folder, store, tables, tmp_path):
    with pytest.raises(SpectraFMError, match="give one store, or files"):
        predict(folder, [store, tables[0]], output=tmp_path / "x.csv", options=Predict())
    with pytest.raises(SpectraFMError, match="need --output"):
        predict(folder, [store], options=Predict())
    with pytest.raises(SpectraFMError, match="--split: an option for a store"):
        predict(folder, tables, options=Predict(split="all"))
    with pytest.raises(SpectraFMError, match="txt"):
        predict(folder, tables, output=tmp_path / "x.txt", options=Predict())


# Where models come from.


def test_a_name_that_is_no_model_lists_what_there_is(monkeypatch):
    with pytest.raises(SpectraFMError, match="no such model; shipped with the package: "):
        SpectraFM.from_pretrained("nothing")
    monkeypatch.setattr(sources, "shipped", lambda: {"a-name": "a-folder"})
    assert sources.model_folder("a-name") == "a-folder"


def test_a_repository_needs_a_commit_and_the_client(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for name in ("someone/model", "someone/model@main"):
        with pytest.raises(SpectraFMError, match="name the commit too"):
            SpectraFM.from_pretrained(name)
    with pytest.raises(SpectraFMError, match=r"pip install 'spectrafm\[hub\]'"):
        SpectraFM.from_pretrained("someone/model", revision="0" * 40)


def test_a_repository_is_fetched_once_without_code_and_checked(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def snapshot_download(repository, *, revision, allow_patterns, local_dir):
        asked.append((repository, revision, allow_patterns))
        shutil.copytree(folder, local_dir)

    client = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    commit = "0123456789" * 4
    for _ in range(2):
        assert repr(SpectraFM.from_pretrained(f"someone/model@{commit}")).startswith("<SpectraFM x")
    assert asked == [("someone/model", commit, sources.PATTERNS)]
    assert not any(pattern.endswith((".py", ".bin", ".pkl")) or pattern == "*"
                   for pattern in sources.PATTERNS)  # fmt: skip
    (weights,) = tmp_path.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(SpectraFMError, match="damaged"):
        SpectraFM.from_pretrained(f"someone/model@{commit}")


def test_the_hubs_own_client_fetches_only_files_of_a_model(monkeypatch, tmp_path, folder):
    """Against a server that answers as the Hub does: the tree of a commit, and its files."""
    client = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    commit = "0123456789" * 4
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    files |= {"pytorch_model.bin": b"a pickle", "run.py": b"print('hostile')"}
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, _ = self.path.partition("?")
            name = path.rsplit("/", 1)[1]
            asked.append(name)
            if path.startswith("/api/models/someone/model/tree/"):
                content = json.dumps(
                    [{"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                     for n, c in files.items()]
                ).encode()  # fmt: skip
            elif path.startswith("/api/models/someone/model"):
                siblings = [{"rfilename": n} for n in files]
                about = {"id": "someone/model", "sha": commit, "siblings": siblings}
                content = json.dumps(about).encode()
            else:
                content = files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        client, "snapshot_download",
        functools.partial(
            client.snapshot_download, endpoint=f"http://127.0.0.1:{server.server_address[1]}",
            token=False,
        ),
    )  # fmt: skip
    try:
        model = SpectraFM.from_pretrained("someone/model", revision=commit)
    finally:
        server.shutdown()
        server.server_close()
    assert repr(model).startswith("<SpectraFM x")
    assert "model.safetensors" in asked
    assert not {"pytorch_model.bin", "run.py"} & set(asked)
