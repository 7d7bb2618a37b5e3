"""From selected stars to a store: fetched, checked, whole, and opened by anyone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray
import zarr
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit

from making.sas_tree import SasTree, aspcapstar_bytes, make_tree, row, spectra_of
from making.survey_run import Run
from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.files import read_parquet
from spectrafm.integrity import hashes_beside, read_checksums, write_checksums
from spectrafm.labels import LABELS, PAPER_LABELS, Label, Labels, error_column
from spectrafm.store import layout
from spectrafm.store.arrays import CODECS, consolidate
from spectrafm.store.build_store import build_store
from spectrafm.store.layout import SPECTRA, Column, Stars, write_store
from spectrafm.store.read import (
    columns_of,
    labels_of,
    load_stars,
    open_store,
    read,
    read_store,
)
from spectrafm.store.star import read_star
from spectrafm.surveys.apogee.bitmasks import ASPCAPFLAG, STARFLAG
from spectrafm.surveys.apogee.columns import store_columns
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, N_GRID, WAVELENGTH
from spectrafm.surveys.apogee.options import Selection, Survey
from spectrafm.surveys.mock.mock_survey import mock_survey
from spectrafm.surveys.mock.options import Mock

NAN = float("nan")


ROWS = [
    row(
        f"2M{i:08d}",
        TELESCOPE=["apo25m", "lco25m"][i % 2],
        FIELD=["000+02", "K04_083+13"][i // 2 % 2],
        SNR=250.0 + i,
        TEFF=4000.0 + i,
        FE_H=NAN if i % 5 == 0 else -0.1 * i,
        ASPCAPFLAG=1 << (i % 7),
        RA=float(i),
    )
    for i in range(20)
]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Run:
    """A store of twenty good stars."""
    folder = tmp_path_factory.mktemp("good")
    run = Run(folder, make_tree(folder / "sas", ROWS, mock=True)).all()
    # Snakemake leaves such a file in the folders that its rules declare.
    (run.store / ".snakemake_timestamp").touch()
    return run


def expected_of(apogee_id: str, name: str) -> np.ndarray:
    return spectra_of(apogee_id)[name][CHIP_PIXELS].astype(np.float32)


def test_the_store_holds_what_the_files_hold(good):
    group = open_store(good.store)
    stars = read(group, "apogee_id")
    assert sorted(stars) == [line["APOGEE_ID"] for line in ROWS]
    by_id = {line["APOGEE_ID"]: line for line in ROWS}
    for name in ("observed", "observed_error", "synthetic"):
        expected = np.array([expected_of(star, name) for star in stars])
        np.testing.assert_array_equal(read(group, name), expected)
    assert not read(group, "mask").any()
    for array, column in (("snr", "SNR"), ("aspcapflag", "ASPCAPFLAG"), ("ra", "RA")):
        assert read(group, array).tolist() == [by_id[star][column] for star in stars]
    for array, columns in (("label", LABELS), ("label_error", map(error_column, LABELS))):
        columns = list(columns)
        expected = np.array([[by_id[s][c] for c in columns] for s in stars], np.float32)
        np.testing.assert_array_equal(read(group, array), expected)
    files = [good.tree.path_of(by_id[star]) for star in stars]
    assert read(group, "sha1").tolist() == [
        hashlib.sha1(path.read_bytes()).hexdigest() for path in files
    ]
    assert [good.tree.root / path for path in read(group, "path")] == files
    assert read(group, "verified").all()
    selected = read_parquet(good.selected)
    assert stars.tolist() == selected["apogee_id"].tolist()
    assert read(group, "split").tolist() == selected["split"].tolist()
    assert read_parquet(good.missing).empty


def test_xarray_opens_store_and_shards_without_a_warning(good):
    for path in (good.store, good.shard(0)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = xarray.open_zarr(path)
            star = data.isel(star=3)
            window = star["observed"].sel(wavelength=slice(16000, 16100)).values
            test = data["label"].sel(label_name="TEFF").values[data["split"].values == "test"]
            text = repr(data)
        assert data["observed"].dims == data["synthetic"].dims == ("star", "wavelength")
        assert data["label"].dims == data["label_error"].dims == ("star", "label_name")
        assert data["label_name"].values.tolist() == list(LABELS)
        assert {"apogee_id", "split", "wavelength", "label_name"} <= set(data.coords)
        wavelength = data["wavelength"]
        np.testing.assert_array_equal(wavelength.values, WAVELENGTH)
        assert wavelength.attrs["units"] == "Angstrom"
        assert wavelength.attrs["medium"] == "vacuum"
        assert wavelength.attrs["frame"] == "rest"
        assert data["observed"].attrs["units"] == "1"
        assert data["vscatter"].attrs["units"] == "km s-1"
        assert all("long_name" in variable.attrs for variable in data.variables.values())
        assert data.attrs["release"] == "dr17"
        assert data.attrs["source"] == str(good.tree.root)
        assert data.attrs["title"].startswith("MOCK SURVEY")
        assert data.attrs["mock"] is True
        assert data.attrs["provenance"]["allstar_sha1"]
        assert window.size == np.count_nonzero((WAVELENGTH >= 16000) & (WAVELENGTH <= 16100))
        assert test.size < data.sizes["star"]
        assert "MOCK SURVEY" in text


def test_every_array_is_chunked_named_and_checksummed_as_designed(good):
    group = zarr.open_group(good.store, mode="r")
    assert group.metadata.zarr_format == 3
    assert group.metadata.consolidated_metadata is not None
    own = {column.name for column in store_columns(PAPER_LABELS)}
    labels = {"label", "label_error", "label_name", "unit", "symbol"}
    names = {*SPECTRA, *own, *labels, "apogee_id", "split", "parameter", "wavelength"}
    assert {name for name, _ in group.arrays()} == names
    for name, array in group.arrays():
        codecs = [type(codec).__name__ for codec in array.compressors]
        assert codecs == ["BloscCodec", "Crc32cCodec"], name
        assert all(array.metadata.dimension_names), name
    for name in SPECTRA:
        array = group[name]
        assert (array.shape, array.chunks, array.shards) == ((20, 7514), (32, 7514), (32, 7514))
        assert array.dtype == (bool if name == "mask" else np.float32)
        assert array.fill_value or np.isnan(array.fill_value)


def test_load_stars_gives_a_side_of_the_split_and_the_pixels_of_windows(good):
    everything = load_stars(good.store, "observed")
    np.testing.assert_array_equal(everything.flux, read(open_store(good.store), "observed"))
    assert everything.flux.shape == (20, 7514)
    assert everything.mock
    chosen = load_stars(good.store, "synthetic", "train", [(15200, 15210), (16100.0, 16110.0)])
    train = everything.split == "train"
    assert 0 < train.sum() < 20
    assert chosen.apogee_id.tolist() == everything.apogee_id[train].tolist()
    assert set(chosen.split) == {"train"}
    inside = (WAVELENGTH >= 15200) & (WAVELENGTH <= 15210)
    inside |= (WAVELENGTH >= 16100) & (WAVELENGTH <= 16110)
    np.testing.assert_array_equal(chosen.wavelength, WAVELENGTH[inside])
    np.testing.assert_array_equal(chosen.label, everything.label[train])
    expected = [expected_of(star, "synthetic")[inside] for star in chosen.apogee_id]
    np.testing.assert_array_equal(chosen.flux, np.array(expected))
    assert chosen.flux.dtype == chosen.label.dtype == np.float32


def test_windows_include_their_ends_and_must_hold_a_pixel(good):
    ends = (WAVELENGTH[100], WAVELENGTH[102])
    assert load_stars(good.store, "observed", windows=[ends]).flux.shape == (20, 3)
    covered = r"wavelengths are 151\d\d\.\d to 169\d\d\.\d Angstrom"
    message = rf"store\.zarr: no pixel lies in the window \[4000, 5000\]: {covered}"
    with pytest.raises(SpectraFMError, match=message):
        load_stars(good.store, "observed", windows=[(15200.0, 15210.0), (4000.0, 5000.0)])
    with pytest.raises(
        SpectraFMError, match=r"\[1\.61, 1\.62\] looks like micron: write \[16100, 1"
    ):
        load_stars(good.store, "observed", windows=[(1.61, 1.62)])


# Bad input.


def broken_tree(tmp_path: Path) -> SasTree:
    """Good stars among bad ones of each kind."""
    rows = [row(f"2M{i}") for i in range(12)]
    tree = make_tree(tmp_path / "sas", rows)
    files = {line["APOGEE_ID"]: tree.path_of(line) for line in rows}
    files["2M1"].unlink()
    files["2M2"].write_bytes(files["2M2"].read_bytes()[:100_000])
    files["2M3"].write_bytes(files["2M3"].read_bytes()[:-1] + b"x")
    # Listed with the hash they have, so that only their content is wrong.
    changed = {
        "2M4": aspcapstar_bytes(rows[4])[:100_000],
        "2M5": aspcapstar_bytes(rows[5], observed=np.zeros(N_GRID), synthetic=np.ones(N_GRID)),
        "2M6": aspcapstar_bytes(rows[6], observed_error=np.full(N_GRID, 1e10)),
        "2M7": aspcapstar_bytes(rows[8]),
        "2M9": b"<html>503</html>",
    }
    for star, content in changed.items():
        tree.write(rows[int(star[2:])], content)
    return tree


def test_each_bad_file_is_a_row_with_its_reason_and_disturbs_nothing(tmp_path):
    run = Run(tmp_path, broken_tree(tmp_path)).all()
    missing = read_parquet(run.missing).set_index("apogee_id")
    expected = {
        "2M1": "absent (no such file)",
        "2M2": "wrong sha1",
        "2M3": "wrong sha1",
        "2M4": "not a whole FITS file",
        "2M5": "all-zero spectrum",
        "2M6": "no good pixel (observed)",
        "2M7": "HDU4 is of '2M8', not of '2M7'",
        "2M9": "not a whole FITS file",
    }
    assert set(missing.index) == set(expected)
    for star, reason in expected.items():
        assert missing.loc[star, "reason"].startswith(reason)
        assert missing.loc[star, "path"].endswith(f"aspcapStar-dr17-{star}.fits")
    assert not missing["replaced"].any()
    stars = load_stars(run.store, "synthetic")
    assert sorted(stars.apogee_id) == ["2M0", "2M10", "2M11", "2M8"]
    for star, flux in zip(stars.apogee_id, stars.flux, strict=True):
        np.testing.assert_array_equal(flux, expected_of(star, "synthetic"))
    funnel = pd.read_csv(run.funnel)
    assert funnel.iloc[:-3].equals(pd.read_csv(run.cuts))
    assert funnel.iloc[-1].tolist()[1:] == [4, 4]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_star_whose_best_file_is_bad_is_given_by_its_next_row(tmp_path):
    # SNR 500 is missing, 400 is all zero, 300 is good; the star 2Mlost has no good file at all.
    lines = [
        row("2Mstar", FIELD=field, SNR=snr, TEFF=snr * 10, STARFLAG=0, ASPCAPFLAG=int(snr))
        for field, snr in (("a", 500.0), ("b", 400.0), ("c", 300.0), ("d", 250.0))
    ]
    lost = [row("2Mlost", FIELD="a", SNR=300.0), row("2Mlost", FIELD="b", SNR=250.0)]
    tree = make_tree(tmp_path / "sas", [*lines, *lost, row("2Mother")])
    tree.path_of(lines[0]).unlink()
    tree.write(lines[1], aspcapstar_bytes(lines[1], observed=np.zeros(N_GRID)))
    for line in lost:
        tree.path_of(line).unlink()
    run = Run(tmp_path, tree).all()

    group = open_store(run.store)
    stars = read(group, "apogee_id").tolist()
    assert sorted(stars) == ["2Mother", "2Mstar"]
    index = stars.index("2Mstar")
    assert read(group, "field")[index] == "c"
    assert read(group, "snr")[index] == 300
    assert read(group, "aspcapflag")[index] == 300
    assert read(group, "label")[index, 0] == 3000
    assert (run.tree.root / read(group, "path")[index]) == tree.path_of(lines[2])

    missing = read_parquet(run.missing).set_index("apogee_id")
    assert missing["replaced"].to_dict() == {"2Mstar": True, "2Mlost": False}
    reason = missing.loc["2Mstar", "reason"]
    assert reason.startswith("absent (no such file), although its list names it; then dr17/")
    assert reason.endswith("all-zero spectrum")
    assert missing.loc["2Mlost", "reason"].count("absent") == 2


def test_files_without_a_published_hash_are_kept_as_unverified(tmp_path):
    rows = [row("2M0"), row("2M1"), row("2M2", FIELD="listless")]
    tree = make_tree(tmp_path / "sas", rows)
    listed = next(tree.path_of(rows[0]).parent.glob("*.sha1sum"))
    kept = [line for line in listed.read_text().splitlines() if "2M0.fits" in line]
    listed.write_text("\n".join(kept) + "\n# nonsense\n")
    next(tree.path_of(rows[2]).parent.glob("*.sha1sum")).unlink()
    run = Run(tmp_path, tree).all()
    group = open_store(run.store)
    verified = dict(zip(read(group, "apogee_id"), read(group, "verified"), strict=True))
    assert verified == {"2M0": True, "2M1": False, "2M2": False}
    assert not group.attrs["mock"]


def test_a_source_that_does_not_answer_is_an_outage_and_leaves_nothing(tmp_path):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row("2M0")])).select()
    silent = run.survey.model_copy(update={"source": "http://127.0.0.1:9", "tries": 1})
    with pytest.raises(Unfinished, match=r"^http://127\.0\.0\.1:9: 2 files in a row .*: no answer"):
        run.fetch(0, silent)
    assert not list(tmp_path.glob("spectra/**/*"))


def test_a_shard_that_fails_midway_leaves_the_one_before(tmp_path, monkeypatch):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row(f"2M{i}") for i in range(4)]))
    run.select().fetch(0)
    before = {p: p.read_bytes() for p in run.spectra.rglob("*") if p.is_file()}

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("spectrafm.surveys.apogee.spectra_files.usable_spectra", killed)
    with pytest.raises(KeyboardInterrupt):
        run.fetch(0)
    assert {p: p.read_bytes() for p in run.spectra.rglob("*") if p.is_file()} == before


def test_more_shards_than_stars(tmp_path):
    tree = make_tree(tmp_path / "sas", [row("2M0"), row("2M1")])
    run = Run(tmp_path, tree, tree.survey(shards=5)).all()
    assert sorted(load_stars(run.store, "observed").apogee_id) == ["2M0", "2M1"]
    empty = next(n for n in range(5) if not read(open_store(run.shard(n)), "apogee_id").size)
    assert read_parquet(run.shard_missing(empty)).empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert xarray.open_zarr(run.shard(empty)).sizes["star"] == 0


def test_shards_of_another_selection_are_refused(tmp_path):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row(f"2M{i}") for i in range(4)])).all()
    for path in (run.store, run.missing, run.funnel):
        assert path.exists()
    with pytest.raises(SpectraFMError, match="do not make up the 4 selected"):
        build_store(
            selected=run.selected,
            cuts=run.cuts,
            shards=[run.shard(0)] * 2,
            shard_missing=[run.shard_missing(0)] * 2,
            store=run.store,
            missing=run.missing,
            funnel=run.funnel,
        )
    assert len(load_stars(run.store, "observed")) == 4, "the store before is untouched"


def test_shards_of_another_source_are_refused(tmp_path):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row(f"2M{i}") for i in range(4)])).all()
    group = zarr.open_group(run.shard(1), mode="a")
    group.attrs["mock"] = True
    write_checksums(run.shard(1))
    with pytest.raises(SpectraFMError, match=r"001\.zarr: mock is True, but False in"):
        run.build()


@pytest.mark.parametrize("name", [*SPECTRA, "apogee_id", "starflag", "label", "wavelength"])
def test_a_flipped_bit_or_a_lost_file_of_any_array_is_named(good, tmp_path, name):
    copy = tmp_path / "store.zarr"
    for path in sorted(good.store.rglob("*")):
        target = copy / path.relative_to(good.store)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    chunk = next(path for path in (copy / name / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(content)
    with pytest.raises(SpectraFMError, match=rf"store\.zarr: array '{name}' is damaged"):
        read(open_store(copy), name)
    chunk.write_bytes(chunk.read_bytes()[:5])
    with pytest.raises(SpectraFMError, match=rf"store\.zarr: array '{name}' is damaged"):
        read(open_store(copy), name)
    chunk.unlink()
    with pytest.raises(SpectraFMError, match=rf"store\.zarr: array '{name}' lacks its file"):
        open_store(copy)


def test_what_is_no_store_is_named(tmp_path):
    with pytest.raises(SpectraFMError, match=r"absent\.zarr: no such store"):
        open_store(tmp_path / "absent.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(SpectraFMError, match=r"empty\.zarr: no SHA256SUMS, so not complete"):
        open_store(tmp_path / "empty.zarr")
    other = tmp_path / "other.zarr"
    zarr.create_group(other)
    write_checksums(other)
    with pytest.raises(SpectraFMError, match=r"other\.zarr: no array 'observed'"):
        open_store(other)
    (other / "zarr.json").write_text("{")
    with pytest.raises(
        SpectraFMError, match=r"other\.zarr: is damaged \(the SHA-256 of zarr\.json differs"
    ):
        open_store(other)
    write_checksums(other)
    with pytest.raises(SpectraFMError, match=r"other\.zarr/zarr\.json: not JSON"):
        open_store(other)


def test_the_store_counts_and_says_what_it_was_made_with(good):
    facts = read_store(good.store).attrs
    assert (facts["stars"], facts["verified"]) == (20, 20)
    assert facts["provenance"]["allstar_sha1"]
    assert set(facts["made_with"]) == {
        *(f"../catalogue/{name}" for name in ("selected.parquet", "cuts.csv", "funnel.csv")),
        "../catalogue/missing.parquet",
        *(f"../spectra/00{n}.{kind}" for n in (0, 1) for kind in ("zarr", "missing.parquet")),
    }
    assert facts["made_with"] == hashes_beside(
        good.store, [Path(os.path.normpath(good.store / name)) for name in facts["made_with"]]
    )


def test_sha256sum_checks_a_store_without_us(good):
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=good.store,
        capture_output=True,
        text=True,
        check=True,
    )
    assert checked.stdout.count(": OK\n") == len(read_checksums(good.store)) > 30


# Many stars, several shards a store.


def test_stars_are_written_in_whole_shards_whatever_blocks_they_come_in(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SHARD_STARS", 64)
    rng = np.random.default_rng(0)
    n = 150
    names = [f"s{i}" for i in range(n)]
    split = ["test", *["validation"] * (n - 2), "train"]
    table = pd.DataFrame({"apogee_id": names, "split": split, "snr": np.arange(n)})
    for column in (*LABELS, *map(error_column, LABELS)):
        table[column] = rng.random(n)
    spectra = {name: rng.random((n, 7514), np.float32) for name in SPECTRA}
    spectra["mask"] = np.zeros((n, 7514), bool)
    whole = Stars(table, spectra)
    blocks = (whole[start:stop] for start, stop in ((0, 10), (10, 10), (10, 149), (149, 150)))
    write_store(
        tmp_path / "store.zarr",
        blocks,
        {"mock": False},
        wavelength=WAVELENGTH,
        labels=PAPER_LABELS,
        columns=[Column("snr", np.float32, "signal-to-noise ratio", "1")],
    )
    group = open_store(tmp_path / "store.zarr")
    for name in SPECTRA:
        np.testing.assert_array_equal(read(group, name), spectra[name])
        files = sorted(p.parent.name for p in (tmp_path / "store.zarr" / name / "c").glob("*/0"))
        assert files == ["0", "1", "2"]
    assert read(group, "apogee_id").tolist() == table["apogee_id"].tolist()
    monkeypatch.setattr("spectrafm.store.read.AT_ONCE", 50)
    stars = load_stars(tmp_path / "store.zarr", "observed")
    np.testing.assert_array_equal(stars.flux, spectra["observed"])

    (tmp_path / "store.zarr/observed/c/0/0").write_bytes(
        bytes((tmp_path / "store.zarr/observed/c/0/0").stat().st_size)
    )
    last = load_stars(tmp_path / "store.zarr", "observed", split="train")
    np.testing.assert_array_equal(last.flux, spectra["observed"][149:])
    with pytest.raises(SpectraFMError, match="array 'observed' is damaged"):
        load_stars(tmp_path / "store.zarr", "observed", split="test")


def test_the_same_input_gives_the_same_bytes(good, tmp_path):
    """But for the day on which it was made, an attribute."""
    again = Run(tmp_path, good.tree, good.survey).all()
    for path in again.store.rglob("*"):
        if path.is_file() and path.name not in ("zarr.json", "SHA256SUMS"):
            twin = good.store / path.relative_to(again.store)
            assert path.read_bytes() == twin.read_bytes(), path
    first, second = (zarr.open_group(run.store, mode="r").attrs.asdict() for run in (good, again))
    day = first.pop("created"), second.pop("created")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", text) for text in day)
    hashes = first.pop("made_with"), second.pop("made_with")
    assert hashes[0].keys() == hashes[1].keys()
    assert first == second


def test_each_block_of_a_shard_keeps_its_own_labels_and_columns(good, tmp_path, monkeypatch):
    expected = load_stars(good.store, "observed", columns=["snr", "teff"])
    again = Run(tmp_path, good.tree, good.survey).select()
    for number in range(good.survey.shards):
        again.fetch(number)
    monkeypatch.setattr("spectrafm.store.build_store.SHARD_STARS", 3)
    again.build()
    found = load_stars(again.store, "observed", columns=["snr", "teff"])
    for name in ("apogee_id", "split", "label", "label_error", "flux"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)


# What the flux range masks, and what the store knows.


FLUX_RANGE = (0.05, 1.2)


def masked_as_before(name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Spectra as the first layout of the store had them: masked for good when they were fetched."""

    def within(flux: np.ndarray) -> np.ndarray:
        return (flux >= FLUX_RANGE[0]) & (flux <= FLUX_RANGE[1])

    error = arrays["observed_error"]
    known = np.isfinite(error) & (error > 0) & (error < 1e9)
    good = within(arrays["observed"]) & known
    if name == "synthetic":
        good = within(arrays["synthetic"])
    return np.where(good, arrays[name], np.float32(np.nan))


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory) -> Run:
    """Stars with every kind of bad pixel."""
    folder = tmp_path_factory.mktemp("spoiled")
    rows = [row(f"2M{number}") for number in range(6)]
    tree = make_tree(folder / "sas", rows)
    rng = np.random.default_rng(4)
    bad = [0.0, -1.0, 0.0499, 0.05, 1.2, 1.2001, 5.0, np.nan, np.inf, -np.inf, 1e9, 1e10]
    for line in rows[1:]:
        arrays = spectra_of(line["APOGEE_ID"])
        for flux in arrays.values():
            places = rng.choice(CHIP_PIXELS, 400, replace=False)
            flux[places] = rng.choice(bad, 400)
        tree.write(line, aspcapstar_bytes(line, **arrays))
    return Run(folder, tree).all()


def test_the_flux_range_gives_bit_for_bit_what_was_masked_when_fetched(spoiled):
    group = open_store(spoiled.store)
    arrays = {name: read(group, name) for name in ("observed", "observed_error", "synthetic")}
    observed = load_stars(spoiled.store, "observed", flux_range=FLUX_RANGE, errors=True)
    synthetic = load_stars(spoiled.store, "synthetic", flux_range=FLUX_RANGE, errors=True)
    for found, name in (
        (observed.flux, "observed"),
        (observed.flux_error, "observed_error"),
        (synthetic.flux, "synthetic"),
    ):
        expected = masked_as_before(name, arrays)
        assert 0 < np.isnan(expected).sum() < 5 * 1200
        assert found.tobytes() == expected.tobytes(), name
    assert np.nanmax(synthetic.flux_error) == 0, "models have no noise"
    assert load_stars(spoiled.store, "observed").flux_error is None


def test_without_a_flux_range_only_bad_pixels_are_missing(spoiled):
    group = open_store(spoiled.store)
    flux = load_stars(spoiled.store, "observed", windows=[(15200.0, 16900.0)]).flux
    inside = (WAVELENGTH >= 15200.0) & (WAVELENGTH <= 16900.0)
    mask = read(group, "mask")[:, inside]
    np.testing.assert_array_equal(np.isnan(flux), mask)
    np.testing.assert_array_equal(flux[~mask], read(group, "observed")[:, inside][~mask])
    assert (flux[~mask] > 1.2).any()
    synthetic = read(group, "synthetic")
    found = load_stars(spoiled.store, "synthetic").flux
    np.testing.assert_array_equal(found, np.where(np.isfinite(synthetic), synthetic, np.nan))


def test_columns_come_with_the_stars(good):
    wanted = ("snr", "logg", "label_flag", "fparam", "no_such")
    stars = load_stars(good.store, "observed", "train", columns=wanted)
    assert list(stars.columns) == ["snr", "logg", "label_flag", "fparam"]
    by_id = {line["APOGEE_ID"]: line for line in ROWS}
    expected = [by_id[star]["SNR"] for star in stars.apogee_id]
    assert stars.columns["snr"].tolist() == expected
    assert stars.columns["label_flag"].shape == (len(stars), 5)
    assert stars.columns["fparam"].shape == (len(stars), 9)
    assert stars.labels == PAPER_LABELS


def test_one_star_is_read_by_its_name_or_as_the_first_test_giant(spoiled):
    star = read_star(spoiled.store, "2M3")
    stars = load_stars(spoiled.store, "observed")
    place = stars.apogee_id.tolist().index("2M3")
    np.testing.assert_array_equal(star.observed, stars.flux[place])
    assert (star.stars, star.mock) == (6, False)
    test = stars.apogee_id[stars.split == "test"]
    if len(test):
        assert read_star(spoiled.store).apogee_id == test[0]
    with pytest.raises(SpectraFMError, match=r"store\.zarr: no star '2M9'"):
        read_star(spoiled.store, "2M9")


# What other programs read.


def test_text_goes_into_numpy_pandas_and_fits_as_it_is(good, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(good.store)
        names = data["apogee_id"].values
        assert names.astype(str).tolist() == names.tolist()
        assert names.dtype.kind == data["split"].values.dtype.kind == "U"
        table = Table({name: data[name].values for name in ("apogee_id", "split", "snr", "path")})
        table.write(tmp_path / "t.fits")
        frame = data[["snr", "starflag"]].to_dataframe()
        frame.to_csv(tmp_path / "t.csv")
        by_name = data.set_index(star="apogee_id")
        assert by_name.sel(star=str(names[3]))["snr"] == data["snr"][3]
        group = zarr.open_group(good.store, mode="r")
        assert group["apogee_id"][...].tolist() == names.tolist()
    assert Table.read(tmp_path / "t.fits")["apogee_id"].astype(str).tolist() == names.tolist()
    assert frame["apogee_id"].tolist() == names.tolist()


def test_units_and_flags_are_told_as_other_programs_expect(good):
    data = read_store(good.store)
    for unit in data["unit"].values:
        Unit(str(unit))
    assert data["unit"].sel(label_name="LOGG") == "dex(cm s-2)"
    assert data["symbol"].sel(label_name="FE_H") == "[Fe/H]"
    assert data.attrs["label_units"]["TEFF"] == "K"
    for variable in data.variables.values():
        Unit(variable.attrs.get("units", "1"))
    for name, bitmask in (("starflag", STARFLAG), ("aspcapflag", ASPCAPFLAG), ("label_flag", {})):
        masks, meanings = (data[name].attrs[key] for key in ("flag_masks", "flag_meanings"))
        assert len(masks) == len(meanings.split())
        for meaning, bit in bitmask.items():
            assert masks[meanings.split().index(meaning)] == 1 << bit
    assert data["fparam"].dims == ("star", "parameter")
    assert data["parameter"].values.tolist()[:2] == ["TEFF", "LOGG"]
    assert data.attrs["Conventions"] == "CF-1.11"
    assert "mock survey" in data.attrs["acknowledgement"]


def test_a_real_survey_is_acknowledged(spoiled):
    data = read_store(spoiled.store)
    assert data.attrs["acknowledgement"].startswith("Funding for the Sloan Digital Sky Survey")
    assert data.attrs["mock"] is False


# Another survey: its own grid and columns, no synthetic spectra.


def test_a_store_on_any_grid_without_synthetic_spectra(tmp_path):
    wavelength = np.linspace(3300.0, 10500.0, 50)
    labels = (Label("AGE", "Gyr", "age"), Label("FE_H", "dex", "[Fe/H]"))
    table = pd.DataFrame(
        {
            "apogee_id": ["a", "longer name", "c"],
            "split": ["train", "test", "train"],
            "AGE": [1.0, np.nan, 3.0],
            "AGE_ERR": 0.1,
            "FE_H": 0.0,
            "FE_H_ERR": 0.1,
            "quality": [1, 3, 0],
            "b": [1.0, 2.0, 3.0],
            "r": [4.0, 5.0, 6.0],
        }
    )
    columns = (
        Column("quality", np.int32, "quality", flags={"FAINT": 0, "BLEND": 1}),
        Column("colour", np.float64, "colours", "mag", None, "band", ("B", "R"), ("b", "r")),
    )
    flux = np.random.default_rng(0).random((3, 50)).astype(np.float32)
    spectra = {"observed": flux, "observed_error": flux / 10, "mask": flux > 0.9}
    write_store(
        tmp_path / "own.zarr",
        [Stars(table, spectra)],
        {"title": "own", "mock": False},
        wavelength=wavelength,
        labels=labels,
        columns=columns,
        synthetic=False,
    )
    stars = load_stars(tmp_path / "own.zarr", "observed", "train", columns=["quality", "colour"])
    assert stars.labels == labels
    np.testing.assert_array_equal(stars.wavelength, wavelength)
    np.testing.assert_array_equal(np.isnan(stars.flux), flux[[0, 2]] > 0.9)
    assert stars.columns["colour"].tolist() == [[1, 4], [3, 6]]
    with pytest.raises(SpectraFMError, match=r"own\.zarr: has no synthetic spectra"):
        load_stars(tmp_path / "own.zarr", "synthetic")
    group = open_store(tmp_path / "own.zarr")
    assert labels_of(group) == labels
    found = {column.name: column for column in columns_of(group)}
    assert found["quality"].flags == {"FAINT": 0, "BLEND": 1}
    assert found["colour"].entries == ["B", "R"]
    assert (found["colour"].units, found["colour"].dtype) == ("mag", np.float64)
    with pytest.raises(SpectraFMError, match="looks like nm: write"):
        load_stars(tmp_path / "own.zarr", "observed", windows=[(400.0, 500.0)])


# Labels of the configuration, from the catalogue to the store.


def test_twelve_abundances_of_the_mock_reach_the_store(tmp_path):
    names = ("C", "N", "O", "MG", "AL", "SI", "S", "K", "CA", "MN", "NI")
    labels = Labels(labels={"FE_H": {"symbol": "[Fe/H]"}, **{f"{name}_FE": {} for name in names}})
    survey = Survey(source=str(tmp_path / "sas"), shards=1, most_missing=0.2)
    mock = Mock(rows=50, seed=5)
    mock_survey(output=tmp_path / "sas", processes=1, mock=mock, release=survey)
    run = Run(tmp_path, SasTree(tmp_path / "sas", []), survey, labels).select(
        Selection(snr_above=0, starflag=[], aspcapflag=[], vscatter_below=None)
    )
    run.fetch(0)
    run.build()
    stars = load_stars(run.store, "observed", columns=["label_flag", "teff", "nvisits", "j"])
    assert stars.labels == labels.table()
    with fits.open(run.tree.allstar) as hdus:
        catalogue = {
            (line["APOGEE_ID"].strip(), line["FIELD"].strip()): line for line in hdus[1].data
        }
    fields = read(open_store(run.store), "field")
    for number, name in enumerate(zip(stars.apogee_id, fields, strict=True)):
        line = catalogue[tuple(map(str, name))]
        np.testing.assert_array_equal(stars.label[number], [line[x.name] for x in stars.labels])
        flags = [line[f"{label.name}_FLAG"] for label in stars.labels]
        assert stars.columns["label_flag"][number].tolist() == flags
        assert stars.columns["nvisits"][number] == line["NVISITS"]
        np.testing.assert_array_equal(stars.columns["teff"][number], line["TEFF"])
    assert np.isfinite(stars.label).any(axis=0).all()
    assert stars.columns["label_flag"].any()


# Stores of the first layout: NaN in place of a mask, units in one string, text of any length.


def old_store(path: Path, spoiled: Run) -> None:
    group = open_store(spoiled.store)
    arrays = {name: read(group, name) for name in ("observed", "observed_error", "synthetic")}
    old = zarr.create_group(path, zarr_format=3)
    for name in arrays:
        array = old.create_array(
            name, shape=(6, 7514), chunks=(32, 7514), shards=(32, 7514), dtype="f4",
            compressors=CODECS, dimension_names=("star", "wavelength"),
        )  # fmt: skip
        array[...] = masked_as_before(name, arrays)
    for name, dimensions in (
        ("apogee_id", ("star",)), ("split", ("star",)), ("label_name", ("label_name",)),
        ("label", ("star", "label_name")), ("label_error", ("star", "label_name")),
        ("wavelength", ("wavelength",)), ("snr", ("star",)),
    ):  # fmt: skip
        values = read(group, name)
        dtype = str if values.dtype.kind == "U" else values.dtype
        array = old.create_array(
            name, shape=values.shape, chunks=values.shape, dtype=dtype, compressors=CODECS,
            dimension_names=dimensions,
        )  # fmt: skip
        array[...] = values.astype(object) if dtype is str else values
    old["label"].attrs["units"] = "TEFF: K, LOGG: log10(cm s-2), O_FE: dex, MG_FE: dex, FE_H: dex"
    old.attrs.update({"mock": False, "coordinates": "apogee_id split"})
    consolidate(old)
    names = [p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.is_file()]
    listed = {
        name: {"size": 0, "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()}
        for name in names
    }
    content = {"schema": 1, "stars": 6, "verified": 6, "files": listed}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    (path / "MANIFEST.json").write_text(json.dumps({**content, "sha256": digest}, indent=1) + "\n")


def test_stores_of_the_first_layout_stay_readable(spoiled, tmp_path):
    old_store(tmp_path / "old.zarr", spoiled)
    for kind in ("observed", "synthetic"):
        new = load_stars(spoiled.store, kind, flux_range=FLUX_RANGE, errors=True)
        for flux_range in (None, FLUX_RANGE):
            old = load_stars(
                tmp_path / "old.zarr", kind, flux_range=flux_range, errors=True, columns=["logg"]
            )
            np.testing.assert_array_equal(old.flux, new.flux)
            np.testing.assert_array_equal(old.flux_error, new.flux_error)
            assert old.labels == PAPER_LABELS
            assert old.apogee_id.tolist() == new.apogee_id.tolist()
            np.testing.assert_array_equal(old.columns["logg"], new.label[:, 1])
    assert read_store(tmp_path / "old.zarr").sizes["star"] == 6
    assert read_star(tmp_path / "old.zarr", "2M3").apogee_id == "2M3"
    chunk = next(p for p in (tmp_path / "old.zarr/observed/c").rglob("*") if p.is_file())
    chunk.unlink()
    with pytest.raises(SpectraFMError, match="array 'observed' lacks its file"):
        open_store(tmp_path / "old.zarr")
