# Tests of: spectrafm/surveys/apogee/, store/, inference/predict.py
"""The survey rules on real survey files: DR13 aspcapStar spectra and allStar rows.

The files lie beside the checkout, in ``../shared/data``, and are not part of the project.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from astropy.table import Table

from making.survey_run import fetch_catalogue, select
from spectrafm.files import read_parquet
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.integrity import write_checksums
from spectrafm.labels import LABELS, PAPER_LABELS, Labels
from spectrafm.networks.options import Model
from spectrafm.networks.saved import save_pretrained
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.build_store import build_store
from spectrafm.store.read import load_stars, open_store, read
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.allstar import read_allstar
from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.training.options import Stage

DATA = Path(__file__).parents[2] / "shared" / "data"
SPECTRA = DATA / "aspcapstar_dr13"
ALLSTAR = DATA / "allstar" / "allStar-dr13-8rows.fits"
SHARDS = 3
TWELVE = (
    *("C_FE", "N_FE", "O_FE", "MG_FE", "AL_FE", "SI_FE", "S_FE", "K_FE", "CA_FE", "MN_FE"),
    *("FE_H", "NI_FE"),
)
FLUX_RANGE = (0.05, 1.2)

#: Every cut as wide as it goes.
RELAXED = Selection(snr_above=0, starflag=[], aspcapflag=[], vscatter_below=None)

# Where the element arrays of DR13 hold oxygen, magnesium and iron (their ELEM_SYMBOL).
OXYGEN, MAGNESIUM, IRON = 3, 5, 17

NAN = float("nan")


class RealStar(NamedTuple):
    """What a file holds, read by astropy with no code of ours."""

    file: Path
    observed: np.ndarray  # all 8575 pixels
    error: np.ndarray
    synthetic: np.ndarray
    row: np.void


def read_real(path: Path) -> RealStar:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DR13 cards that are not standard FITS
        with fits.open(path, memmap=False) as hdus:
            spectra = [hdus[i].data.astype(np.float32) for i in (1, 2, 3)]
            return RealStar(path, *spectra, hdus[4].data[0])


def lay_out(root: Path, stars: list[RealStar], labels: dict[str, np.ndarray] | None) -> Survey:
    """Put the files where a SAS has them, under an allStar of their own HDU4 rows.

    With ``labels`` the catalogue also has these columns, as allStar does; without, it has only
    what HDU4 has: the arrays PARAM and X_H.
    """
    survey = Survey(source=root.as_uri(), release="dr13", aspcap="l30e2", shards=SHARDS, tries=1)
    for star in stars:
        names = ("apo25m", star.row["FIELD"].strip(), star.row["APOGEE_ID"].strip())
        path = root / paths.aspcapstar_path("dr13", "l30e2", *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(star.file, path)
        digest = hashlib.sha1(star.file.read_bytes()).hexdigest()
        with open(root / paths.sha1sum_path("dr13", "l30e2", *names[:2]), "a") as listed:
            listed.write(f"{digest}  {path.name}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [fits.getdata(star.file, 4) for star in stars]
    texts, numbers = ("APOGEE_ID", "FIELD"), ("RA", "DEC", "SNR", "STARFLAG", "ASPCAPFLAG")
    arrays = ("VSCATTER", "PARAM", "PARAM_COV", "X_H", "X_H_ERR", "FPARAM")
    content = {name: np.array([str(table[name][0]) for table in tables]) for name in texts}
    content |= {
        name: np.concatenate([np.asarray(table[name]) for table in tables])
        for name in (*numbers, *arrays)
    }
    content["TELESCOPE"] = np.full(len(stars), "apo25m")
    content |= labels or {}
    allstar = root / paths.allstar_path("dr13", "l30e2")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table(content))]).writeto(allstar)
    return survey


def label_columns(stars: list[RealStar]) -> dict[str, np.ndarray]:
    """The named columns of allStar.

    Most of the 13 stars have no calibrated value at all, and a star without any label is not
    selected; so that all 13 go the whole way, TEFF is the uncalibrated FPARAM here.
    """
    x_h = np.array([star.row["X_H"] for star in stars])
    x_h_error = np.array([star.row["X_H_ERR"] for star in stars])
    fill = np.float32(-9999)

    def over_iron(element: int) -> np.ndarray:
        known = (x_h[:, element] > fill) & (x_h[:, IRON] > fill)
        return np.where(known, x_h[:, element] - x_h[:, IRON], fill)

    return {
        "TEFF": np.array([star.row["FPARAM"][0] for star in stars]),
        "LOGG": np.array([star.row["PARAM"][1] for star in stars]),
        "O_FE": over_iron(OXYGEN),
        "MG_FE": over_iron(MAGNESIUM),
        "FE_H": x_h[:, IRON],
        "TEFF_ERR": np.array([star.row["FPARAM_COV"][0, 0] ** 0.5 for star in stars]),
        "LOGG_ERR": np.full(len(stars), fill),
        "O_FE_ERR": x_h_error[:, OXYGEN],
        "MG_FE_ERR": x_h_error[:, MAGNESIUM],
        "FE_H_ERR": x_h_error[:, IRON],
    }


class Built(NamedTuple):
    store: Path
    catalogue: Path
    survey: Survey


def run_survey(folder: Path, survey: Survey) -> Built:
    """fetch_allstar, select_stars, fetch_spectra, build_store."""
    catalogue, spectra = folder / "catalogue", folder / "spectra"
    selected, alternates = catalogue / "selected.parquet", catalogue / "alternates.parquet"
    cuts, store = catalogue / "cuts.csv", folder / "store.zarr"
    fetch_catalogue(catalogue / "allStar.fits", survey)
    select(catalogue / "allStar.fits", catalogue, survey, RELAXED)
    shards = [spectra / f"{n:03d}.zarr" for n in range(SHARDS)]
    missing = [spectra / f"{n:03d}.missing.parquet" for n in range(SHARDS)]
    for number in range(SHARDS):
        fetch_spectra(
            selected=selected,
            alternates=alternates,
            shard=number,
            output=shards[number],
            missing=missing[number],
            archive=survey,
            limits=survey,
        )
    build_store(
        selected=selected,
        cuts=cuts,
        shards=shards,
        shard_missing=missing,
        store=store,
        missing=catalogue / "missing.parquet",
        funnel=catalogue / "funnel.csv",
    )
    return Built(store, catalogue, survey)


@pytest.fixture(scope="module")
def stars() -> dict[str, RealStar]:
    """The real files, by star."""
    files = sorted(SPECTRA.glob("aspcapStar-*.fits"))
    if not files:
        pytest.skip(f"no real aspcapStar files: {SPECTRA} is not there")
    return {star.row["APOGEE_ID"].strip(): star for star in map(read_real, files)}


@pytest.fixture(scope="module")
def built(stars, tmp_path_factory) -> Built:
    """The store of all real files."""
    folder = tmp_path_factory.mktemp("real")
    rows = list(stars.values())
    return run_survey(folder, lay_out(folder / "sas", rows, label_columns(rows)))


def test_every_real_file_reaches_the_store_unchanged(built, stars):
    group = open_store(built.store)
    names = read(group, "apogee_id").tolist()
    assert sorted(names) == sorted(stars)
    assert len(names) == 13
    assert read(group, "verified").all()
    assert read_parquet(built.catalogue / "missing.parquet").empty
    files = [stars[name].file for name in names]
    expected = [hashlib.sha1(file.read_bytes()).hexdigest() for file in files]
    assert read(group, "sha1").tolist() == expected


def test_wavelengths_are_those_of_the_headers(built, stars):
    wavelength = read(open_store(built.store), "wavelength")
    star = next(iter(stars.values()))
    header = fits.getheader(star.file, 1)
    pixel = np.arange(header["NAXIS1"])
    grid = 10 ** (header["CRVAL1"] + header["CDELT1"] * (pixel + 1 - header["CRPIX1"]))
    # ASPCAP's model is zero off the detectors and nowhere on them.
    on_chips = grid[star.synthetic != 0]
    assert wavelength.shape == (7514,)
    np.testing.assert_allclose(wavelength, on_chips, rtol=1e-12)


def test_spectra_and_masks_are_those_of_the_files(built, stars):
    chips = next(iter(stars.values())).synthetic != 0
    low, high = FLUX_RANGE
    masked_in_all = 0
    for kind in ("observed", "synthetic"):
        loaded = load_stars(built.store, kind, flux_range=FLUX_RANGE, errors=True)
        for number, name in enumerate(loaded.apogee_id):
            star = stars[name]
            flux = getattr(star, kind)[chips]
            bad = ~((flux >= low) & (flux <= high))
            found = loaded.flux[number]
            np.testing.assert_array_equal(np.isnan(found), bad)
            np.testing.assert_array_equal(found[~bad], flux[~bad])
            if kind == "observed":
                masked_in_all += bad.sum()
                error = loaded.flux_error[number]
                np.testing.assert_array_equal(np.isnan(error), bad)
                np.testing.assert_array_equal(error[~bad], star.error[chips][~bad])
    assert masked_in_all > 3000, "the real files do have bad pixels"


def test_labels_flags_and_snr_are_those_of_the_rows(built, stars):
    group = open_store(built.store)
    names = read(group, "apogee_id")
    rows = [stars[name].row for name in names]
    labels = label_columns([stars[name] for name in names])
    expected = np.column_stack([labels[name] for name in LABELS])
    expected[expected <= -9000] = np.nan
    np.testing.assert_array_equal(read(group, "label"), expected.astype(np.float32))
    errors = np.column_stack([labels[f"{name}_ERR"] for name in LABELS])
    errors[errors <= -9000] = np.nan
    np.testing.assert_array_equal(read(group, "label_error"), errors.astype(np.float32))
    unknown = np.isnan(expected)
    assert not unknown[:, 0].any()
    assert unknown[:, 1:].any(axis=1).sum() >= 9, "fill values do occur"
    for array, column in (("starflag", "STARFLAG"), ("aspcapflag", "ASPCAPFLAG")):
        assert read(group, array).tolist() == [int(row[column]) for row in rows]
    for array, column in (("snr", "SNR"), ("vscatter", "VSCATTER"), ("ra", "RA"), ("dec", "DEC")):
        assert read(group, array).tolist() == [row[column].item() for row in rows]


def test_the_store_loads_for_training(built):
    everything = load_stars(built.store, "observed")
    window = load_stars(built.store, "observed", windows=[(16105.8, 16220.0)])
    assert not everything.mock
    assert window.flux.shape == (13, 512)
    inside = (everything.wavelength >= 16105.8) & (everything.wavelength <= 16220.0)
    np.testing.assert_array_equal(window.flux, everything.flux[:, inside])


def test_rows_with_arrays_alone_have_the_labels_made_of_them(stars, tmp_path):
    built = run_survey(tmp_path, lay_out(tmp_path / "sas", list(stars.values()), None))
    labelled = {
        name: star
        for name, star in stars.items()
        if max(*star.row["PARAM"][:2], star.row["X_H"][IRON]) > -9000
    }
    funnel = pd.read_csv(built.catalogue / "funnel.csv").set_index("cut")["rows"]
    assert funnel["all rows"] == 13
    assert funnel["at least one label"] == len(labelled)
    found = load_stars(built.store, "observed")
    assert sorted(found.apogee_id) == sorted(stars)
    assert set(found.apogee_id[np.isfinite(found.label).any(axis=1)]) == set(labelled)
    for name, label in zip(found.apogee_id, found.label, strict=True):
        row = stars[name].row
        expected = [*row["PARAM"][:2], NAN, NAN, row["X_H"][IRON]]
        if row["X_H"][IRON] > -9000:
            for index, element in ((2, OXYGEN), (3, MAGNESIUM)):
                if row["X_H"][element] > -9000:
                    expected[index] = row["X_H"][element] - row["X_H"][IRON]
        expected = np.where(np.array(expected) <= -9000, np.nan, expected).astype(np.float32)
        np.testing.assert_array_equal(label, expected)


def test_the_store_keeps_spectra_as_they_are_in_the_files(built, stars):
    group = open_store(built.store)
    chips = next(iter(stars.values())).synthetic != 0
    arrays = {"observed": "observed", "observed_error": "error", "synthetic": "synthetic"}
    for number, name in enumerate(read(group, "apogee_id")):
        for array, attribute in arrays.items():
            expected = getattr(stars[name], attribute)[chips]
            np.testing.assert_array_equal(read(group, array)[number], expected)
        fparam = stars[name].row["FPARAM"].astype(np.float32)
        fparam[fparam <= -9000] = np.nan
        np.testing.assert_array_equal(read(group, "fparam")[number], fparam)


# Real rows of allStar.


@pytest.fixture(scope="module")
def allstar() -> pd.DataFrame:
    if not ALLSTAR.exists():
        pytest.skip(f"no real allStar rows: {ALLSTAR} is not there")
    return read_allstar(ALLSTAR)


def test_reads_real_allstar_rows(allstar):
    with fits.open(ALLSTAR) as hdus:
        real = hdus[1].data
        assert len(allstar) == len(real) == 8
        for column in ("APOGEE_ID", "TELESCOPE", "FIELD"):
            assert allstar[column].tolist() == [text.strip() for text in real[column]]
        measured = ("RA", "DEC", "SNR", "VSCATTER", "VHELIO_AVG", "J", "H", "K")
        for column in (*measured, *LABELS, *(f"{x}_ERR" for x in LABELS)):
            lowest = 0 if column.endswith("_ERR") else -9000
            expected = np.where(real[column] < lowest, np.nan, real[column])
            np.testing.assert_array_equal(allstar[column].to_numpy(), expected)
        assert allstar["NVISITS"].tolist() == real["NVISITS"].tolist()
        assert allstar["FE_H_FLAG"].tolist() == real["FE_H_FLAG"].tolist()
        fparam = np.where(real["FPARAM"] <= -9000, np.nan, real["FPARAM"])
        np.testing.assert_array_equal(allstar.filter(regex="^FPARAM_").to_numpy(), fparam)
        for column in ("STARFLAG", "ASPCAPFLAG"):
            assert allstar[column].tolist() == real[column].tolist()
    assert np.isnan(allstar["LOGG"][0]), "VESTA has no surface gravity"


def test_real_rows_have_the_twelve_abundances(allstar, tmp_path):
    labels = Labels(labels={name: {} for name in TWELVE})
    survey = Survey(source="file:///mirror", release="dr13", aspcap="l30e2", shards=2)
    table = read_parquet(select(ALLSTAR, tmp_path, survey, RELAXED, labels=labels)[0])
    with fits.open(ALLSTAR) as hdus:
        real = hdus[1].data[table["row"].to_numpy()]
    for name in TWELVE:
        for column in (name, f"{name}_ERR"):
            expected = np.where(real[column] <= -999, np.nan, real[column]).astype(np.float32)
            np.testing.assert_array_equal(table[column], expected)
        assert table[f"{name}_FLAG"].tolist() == real[f"{name}_FLAG"].tolist()
    assert table[list(TWELVE)].notna().any().all()


def test_a_real_repeated_star_is_given_by_its_better_row(allstar, tmp_path):
    survey = Survey(source="file:///mirror", release="dr13", aspcap="l30e2", shards=2)
    outputs = select(ALLSTAR, tmp_path, survey, RELAXED)
    selected, alternates = read_parquet(outputs[0]), read_parquet(outputs[1])
    assert len(selected) == selected["apogee_id"].nunique() == 7
    star = selected.set_index("apogee_id").loc["2M00000032+5737103"]
    assert (star["field"], star["row"]) == ("N7789", 2)
    assert alternates[["apogee_id", "field"]].values.tolist() == [["2M00000032+5737103", "116-04"]]


def test_real_spectra_are_predicted_to_a_table(built, stars, tmp_path):
    """With weights drawn at random the values mean nothing; that every star has some, does."""
    torch.manual_seed(0)
    options = Model(
        dimension=16,
        encoder=[{"heads": 2, "feedforward": 16}],
        decoder=[{"heads": 2, "feedforward": 16}],
        head=[8],
    )
    stage = Stage(
        spectra="observed",
        windows=[[15_152.2, 16_943.6]],
        labels=list(LABELS),
        sampling={"tokens": 512},
        epochs=1,
    ).model_dump(mode="json")
    facts = {"stage_name": "random", "stage": stage, "tokens": 512, "training_star_count": 0}
    folder = tmp_path / "random"
    folder.mkdir()
    save_pretrained(folder, SpectraFM(options, PAPER_LABELS), facts)
    write_checksums(folder)
    output = tmp_path / "random--all.parquet"
    predict(folder, built.store, name="all", output=output, options=Predict(split="all"))
    table = read_parquet(output).set_index("apogee_id")
    assert sorted(table.index) == sorted(stars)
    assert (table["flags"] == "").all()
    assert np.isfinite(table.filter(like="_predicted")).all(axis=None)
    assert (table.filter(like="_uncertainty") > 0).all(axis=None)
    for name, star in stars.items():
        iron = star.row["X_H"][IRON]
        expected = iron if iron > -9000 else NAN
        np.testing.assert_equal(table.loc[name, "FE_H_actual"], np.float32(expected))
    assert table["FE_H_actual"].isna().any(), "the test needs a fill value"
    assert table.attrs["mock"] is False
