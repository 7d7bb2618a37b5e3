# Tests of: spectrafm/surveys/own/, readers/labelled.py, spectra/grid.py
"""Your own survey: a table of spectra and labels becomes a store, on which networks learn."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.table import Table

from making.spectra_files import write_apstar, write_jwst
from making.toy_training import TINY, stage
from making.toy_training import command as training_command
from spectrafm.cli import main
from spectrafm.config import read_config
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.networks.saved import from_pretrained
from spectrafm.options import options as flags_of
from spectrafm.spectra.grid import on_grid
from spectrafm.store.read import labels_of, load_stars, open_store, read
from spectrafm.surveys.own.import_spectra import import_spectra
from spectrafm.surveys.own.options import LabelColumns, Spectra
from spectrafm.surveys.split import Split, SplitShares, split_of

STARS = 60
GRID = np.geomspace(5000.0, 5200.0, 150)


def own_table(layout: str = "arrays", **changes) -> Table:
    """Spectra of 60 stars at 500-520 nm with a line that deepens with age."""
    draw = np.random.default_rng(4)
    age = draw.uniform(1, 13, STARS)
    teff = draw.uniform(4000, 6000, STARS)
    line = np.exp(-0.5 * ((GRID - 5100) / 3) ** 2)
    flux = 1 - 0.04 * age[:, None] * line + draw.normal(0, 0.002, (STARS, len(GRID)))
    flux[3, 70:73] = np.nan
    content = {
        "star": [f"mine {n}" for n in range(STARS)],
        "wavelength": np.tile(GRID / 10, (STARS, 1)) * u.nm,
        "flux": flux,
        "flux_error": np.full(flux.shape, 0.002),
        "TEFF": teff / 1000 * u.kK,
        "TEFF_ERR": np.full(STARS, 0.05) * u.kK,
        "AGE": np.where(np.arange(STARS) == 5, -9999, age) * u.Gyr,
    }
    content |= changes
    meta = {"medium": "vacuum", "frame": "rest", "normalisation": "running"}
    if layout == "pixels":
        repeated = {
            name: np.repeat(content.pop(name), len(GRID)) for name in ("star", "TEFF", "AGE")
        }
        content = {name: content[name].ravel() for name in ("wavelength", "flux", "flux_error")}
        content |= repeated
    return Table(content, meta=meta)


def imported(table: Table, folder: Path, kind: str = "ecsv", **options) -> Path:
    path = folder / f"mine.{kind}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(path, format={"ecsv": "ascii.ecsv"}.get(kind, kind), overwrite=True)
    columns = options.pop("columns", ["TEFF", "AGE"])
    import_spectra(
        path,
        store=folder / "mine.zarr",
        selected=folder / "selected.parquet",
        funnel=folder / "funnel.csv",
        spectra=Spectra(**options),
        labels=LabelColumns(columns=columns),
        split=Split(),
    )
    return folder / "mine.zarr"


@pytest.mark.parametrize(("layout", "kind"), [("arrays", "parquet"), ("pixels", "ecsv")])
def test_a_table_becomes_a_store_on_its_own_grid(tmp_path, layout, kind):
    table = own_table()
    group = open_store(imported(own_table(layout), tmp_path, kind))
    np.testing.assert_allclose(read(group, "wavelength"), GRID, rtol=1e-9)
    assert read(group, "apogee_id").tolist() == list(table["star"])
    flux, mask = read(group, "observed"), read(group, "mask")
    assert mask.sum() == 3
    assert mask[3, 70:73].all()
    np.testing.assert_allclose(flux[~mask], np.asarray(table["flux"])[~mask], rtol=1e-6)
    labels = labels_of(group)
    assert [(label.name, label.unit) for label in labels] == [("TEFF", "K"), ("AGE", "Gyr")]
    values = read(group, "label")
    np.testing.assert_allclose(values[:, 0], 1000 * table["TEFF"].value, rtol=1e-6)
    assert np.isnan(values[:, 1]).nonzero()[0].tolist() == [5]
    if layout == "arrays":
        np.testing.assert_allclose(read(group, "label_error")[:, 0], 50, rtol=1e-6)
    assert np.isnan(read(group, "label_error")[:, 1]).all()
    expected = [split_of(star, SplitShares()) for star in table["star"]]
    assert read(group, "split").tolist() == expected
    assert set(expected) == {"train", "validation", "test"}
    assert group.attrs["normalisation"] == "running"
    assert group.attrs["mock"] is False
    np.testing.assert_allclose(read(group, "snr"), 480, rtol=0.06)
    assert len(read_parquet(tmp_path / "selected.parquet")) == STARS
    lines = (tmp_path / "funnel.csv").read_text().splitlines()
    assert lines[1:] == [
        "rows of the table,60,60",
        '"with a spectrum, a label and a good pixel",60,60',
        "with TEFF,60,60",
        "with AGE,59,59",
    ]


def test_networks_learn_from_it_and_predict_for_it(tmp_path):
    store = imported(own_table(), tmp_path, "parquet")
    training = stage(
        spectra="observed", windows=[[5040.0, 5160.0]], epochs=2, flux_range=[0.05, 1.5]
    )
    assert main(training_command(tmp_path, store, training, TINY)) == 0
    model = tmp_path / "model"
    _, facts = from_pretrained(model)
    assert facts["normalisation"] == "running"
    predictions = tmp_path / "all.parquet"
    arguments = ["predict", str(model), str(store), "--name=all", f"--output={predictions}"]
    assert main([*arguments, "--split=all"]) == 0
    table = read_parquet(predictions)
    assert len(table) == STARS
    assert np.isfinite(table["AGE_predicted"]).all()


def test_flux_as_observed_is_normalised_and_moving_stars_are_put_at_rest(tmp_path, caplog):
    velocity = np.linspace(-200, 200, STARS)
    shifted = GRID[None] * (1 + velocity[:, None] / 299792.458)
    line = np.exp(-0.5 * ((GRID - 5100) / 3) ** 2)
    flux = np.tile(1 - 0.4 * line, (STARS, 1)) * 1e-17
    table = own_table(
        wavelength=shifted * u.AA,
        flux=flux * u.erg / u.s / u.cm**2 / u.AA,
        flux_error=0.01 * flux * u.erg / u.s / u.cm**2 / u.AA,
        rv=velocity * u.km / u.s,
    )
    table.meta |= {"frame": "barycentric"}
    del table.meta["normalisation"]
    store = imported(table, tmp_path, normaliser="running", grid=(5010.0, 5190.0, 100))
    stars = load_stars(store, "observed")
    assert stars.normalisation == "running"
    assert stars.wavelength[[0, -1]] == pytest.approx([5010, 5190])
    deepest = stars.wavelength[np.nanargmin(stars.flux, axis=1)]
    assert np.abs(deepest - 5100).max() < 2.5, "pixels of 1.8 Angstrom"
    np.testing.assert_allclose(stars.flux[0], stars.flux[-1], atol=0.02)
    assert "60 of 60 spectra: interpolated to the grid" in caplog.text


def test_a_table_may_name_files_of_any_format(tmp_path, caplog):
    write_apstar(tmp_path / "a.fits", 1)
    for name in "bcdefgh":
        (tmp_path / f"{name}.fits").write_bytes((tmp_path / "a.fits").read_bytes())
    write_jwst(tmp_path / "none.fits")
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE  = no")
    names = [*"abcdefgh", "bad", "gone"]
    table = Table(
        {"file": [f"{name}.fits" for name in names], "TEFF": np.arange(10) + 5000.0, "name": names}
    )
    path = tmp_path / "stars.csv"
    table.write(path, format="ascii.csv")
    command = ["import-spectra", str(path), f"--store={tmp_path / 'mine.zarr'}"]
    assert main([*command, "--normaliser=aspcap", "--split.train=0.4", "--split.validation=0.3",
                 "--split.test=0.3"]) == 0  # fmt: skip
    stars = load_stars(tmp_path / "mine.zarr", "observed")
    assert stars.apogee_id.tolist() == list("abcdefgh")
    assert stars.normalisation == "aspcap"
    assert stars.flux.shape == (8, 7514)
    assert abs(np.nanmedian(stars.flux) - 1) < 0.1
    assert "left out: bad: " in caplog.text
    assert "gone.fits: no such file" in caplog.text


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"star": ["same"] * STARS}, {}, "star 'same' is in it 60 times"),
        ({"star": [" "] * STARS}, {}, "star 1 has no name"),
        ({"TEFF_ERR": np.full(STARS, -1.0)}, {}, "TEFF_ERR has a negative error"),
        ({"TEFF": np.full(STARS, 1.0) * u.m}, {}, "TEFF is in m, expected K"),
        ({"AGE": np.ones(STARS)}, {}, "AGE has no unit: give --units"),
        ({}, {"columns": ["C_FE"]}, "no column C_FE"),
        ({"flux": np.zeros((STARS, 150))}, {}, "no star is left: mine 0: no good pixel"),
    ],
)
def test_what_cannot_be_a_store_is_refused_with_the_reason(tmp_path, changes, options, message):
    with pytest.raises(SpectraFMError, match=message):
        imported(own_table(**changes), tmp_path, "parquet", **options)
    assert not (tmp_path / "mine.zarr").exists()


def test_a_side_of_the_split_without_a_star_is_refused(tmp_path):
    with pytest.raises(SpectraFMError, match=r"no star of 2 is on the side '\w+' of the split"):
        imported(own_table()[:2], tmp_path, "parquet")
    assert not (tmp_path / "mine.zarr").exists()


def test_a_grid_is_interpolated_within_the_spectrum_and_beside_good_pixels():
    from spectrafm.spectra import Spectra as Given

    wavelength = np.array([5000.0, 5001, 5002, 5003, 5004, 5020, 5021])
    flux = np.arange(1.0, 8.0)
    mask = np.array([0, 0, 1, 0, 0, 0, 0], bool)
    one = Given(flux, wavelength * u.AA, np.full(7, 0.1), mask, medium="vacuum")[0]
    grid = np.array([4999.0, 5000, 5000.5, 5001.5, 5002.5, 5003.5, 5010, 5020, 5020.5, 5022])
    found = on_grid(one, grid)
    bad = found.mask
    assert bad.nonzero()[0].tolist() == [0, 3, 4, 6, 9]
    np.testing.assert_allclose(found.flux[~bad], [1, 1.5, 4.5, 6, 6.5], rtol=1e-6)
    np.testing.assert_allclose(found.flux_error[2], 0.1 / np.sqrt(2), rtol=1e-6)
    assert on_grid(one, wavelength).flux is one.flux


def test_the_configuration_of_an_own_survey_is_whole():
    content = yaml.safe_load((Path(__file__).parents[1] / "configs/own.yaml").read_text())
    run = read_config(content)
    assert (run.survey.name, run.survey.columns) == ("own", list(run.labels))
    lines = flags_of(run.survey, only=[Spectra, LabelColumns])
    lines += flags_of(run.selection, only=["split"])
    assert '--columns=["TEFF", "LOGG", "FE_H"]' in lines
    assert not any(line.startswith("--preset") for line in lines)
