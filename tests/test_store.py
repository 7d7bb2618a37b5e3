"""From selected stars to a store: fetched, checked, whole, and opened by anyone."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray
import zarr

from making.sas_tree import SasTree, aspcapstar_bytes, make_tree, row, spectra_of
from making.survey_run import Run
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.labels import LABELS, error_column
from spectrafm.manifest import faults_beside, read_manifest, write_manifest
from spectrafm.store import layout
from spectrafm.store.build_store import build_store
from spectrafm.store.layout import SPECTRA, STAR_ARRAYS, Stars, write_store
from spectrafm.store.read import load_stars, open_store, read
from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, N_GRID, WAVELENGTH

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
    for name in SPECTRA:
        expected = np.array([expected_of(star, name) for star in stars])
        if name == "observed_error":
            expected[np.isnan(read(group, "observed"))] = np.nan
        elif name == "observed":
            expected[expected > 1.2] = np.nan
        np.testing.assert_array_equal(read(group, name), expected)
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
    names = {*SPECTRA, *STAR_ARRAYS, "label", "label_error", "label_name", "wavelength"}
    assert {name for name, _ in group.arrays()} == names
    for name, array in group.arrays():
        codecs = [type(codec).__name__ for codec in array.compressors]
        assert codecs == ["BloscCodec", "Crc32cCodec"], name
        assert all(array.metadata.dimension_names), name
    for name in SPECTRA:
        array = group[name]
        assert (array.shape, array.chunks, array.shards) == ((20, 7514), (32, 7514), (32, 7514))
        assert np.isnan(array.fill_value)
        assert array.dtype == np.float32


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
    with pytest.raises(SpectraFMError, match=r"store\.zarr: no pixel lies in the windows"):
        load_stars(good.store, "observed", windows=[(4000.0, 5000.0)])


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
        "2M6": aspcapstar_bytes(rows[6], observed=np.full(N_GRID, 5.0)),
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
    assert funnel.iloc[:-2].equals(pd.read_csv(run.cuts))
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
    assert reason.startswith("absent (no such file); then dr17/")
    assert reason.endswith("all-zero spectrum")
    assert missing.loc["2Mlost", "reason"].count("absent") == 2


def test_files_without_a_published_hash_are_kept_as_unverified(tmp_path):
    rows = [row("2M0"), row("2M1"), row("2M2", FIELD="listless")]
    tree = make_tree(tmp_path / "sas", rows)
    listed = next(tree.path_of(rows[0]).parent.glob("*.sha1sum"))
    kept = [line for line in listed.read_text().splitlines() if "2M0.fits" in line]
    listed.write_text("\n".join(kept) + "\nnonsense\n")
    next(tree.path_of(rows[2]).parent.glob("*.sha1sum")).unlink()
    run = Run(tmp_path, tree).all()
    group = open_store(run.store)
    verified = dict(zip(read(group, "apogee_id"), read(group, "verified"), strict=True))
    assert verified == {"2M0": True, "2M1": False, "2M2": False}
    assert not group.attrs["mock"]


def test_a_source_that_fails_for_a_list_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row("2M0")])).select()
    silent = run.survey.model_copy(update={"source": "http://127.0.0.1:9", "tries": 1})
    outputs = (run.shard(0), run.shard_missing(0))
    with pytest.raises(SpectraFMError, match=r"^http://127\.0\.0\.1:9/.*: no answer"):
        fetch_spectra(run.selected, run.alternates, 0, *outputs, silent)
    monkeypatch.setattr("spectrafm.surveys.apogee.fetch_spectra._is_mock", lambda survey: False)
    with pytest.raises(SpectraFMError, match=r"000\+02\.sha1sum: no answer"):
        fetch_spectra(run.selected, run.alternates, 0, *outputs, silent)
    assert not list(tmp_path.glob("spectra/**/*"))


def test_a_shard_that_fails_midway_leaves_the_one_before(tmp_path, monkeypatch):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row(f"2M{i}") for i in range(4)]))
    run.select().fetch(0)
    before = {p: p.read_bytes() for p in run.spectra.rglob("*") if p.is_file()}

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("spectrafm.surveys.apogee.fetch_spectra.masked_spectra", killed)
    with pytest.raises(KeyboardInterrupt):
        run.fetch(0)
    assert {p: p.read_bytes() for p in run.spectra.rglob("*") if p.is_file()} == before


def test_more_shards_than_stars(tmp_path):
    tree = make_tree(tmp_path / "sas", [row("2M0"), row("2M1")])
    run = Run(tmp_path, tree, tree.survey(shards=5)).all()
    assert sorted(load_stars(run.store, "observed").apogee_id) == ["2M0", "2M1"]
    empty = next(n for n in range(5) if len(load_stars(run.shard(n), "observed")) == 0)
    assert read_parquet(run.shard_missing(empty)).empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert xarray.open_zarr(run.shard(empty)).sizes["star"] == 0


def test_shards_of_another_selection_are_refused(tmp_path):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row(f"2M{i}") for i in range(4)])).all()
    outputs = [run.store, run.missing, run.funnel]
    shards, tables = [run.shard(0)] * 2, [run.shard_missing(0)] * 2
    for path in outputs:
        assert path.exists()
    with pytest.raises(SpectraFMError, match="do not make up the 4 selected"):
        build_store(run.selected, run.cuts, shards, tables, *outputs)
    assert len(load_stars(run.store, "observed")) == 4, "the store before is untouched"


def test_shards_of_another_source_are_refused(tmp_path):
    run = Run(tmp_path, make_tree(tmp_path / "sas", [row(f"2M{i}") for i in range(4)])).all()
    group = zarr.open_group(run.shard(1), mode="a")
    group.attrs["mock"] = True
    write_manifest(run.shard(1))
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
    group = open_store(copy)
    with pytest.raises(SpectraFMError, match=rf"store\.zarr: array '{name}' is damaged"):
        read(group, name)
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
    with pytest.raises(SpectraFMError, match=r"empty\.zarr: no MANIFEST\.json, so not complete"):
        open_store(tmp_path / "empty.zarr")
    other = tmp_path / "other.zarr"
    zarr.create_group(other)
    write_manifest(other)
    with pytest.raises(SpectraFMError, match=r"other\.zarr: no array 'observed'"):
        open_store(other)
    (other / "zarr.json").write_text("{")
    with pytest.raises(SpectraFMError, match=r"other\.zarr: is damaged \(zarr\.json has 1 bytes"):
        open_store(other)
    write_manifest(other)
    with pytest.raises(SpectraFMError, match=r"other\.zarr: not a readable Zarr store"):
        open_store(other)


def test_the_manifest_counts_and_says_what_the_store_was_made_with(good):
    manifest = read_manifest(good.store)
    assert (manifest["stars"], manifest["verified"]) == (20, 20)
    assert manifest["provenance"]["allstar_sha1"]
    assert set(manifest["made_with"]) == {
        *(f"../catalogue/{name}" for name in ("selected.parquet", "cuts.csv", "funnel.csv")),
        "../catalogue/missing.parquet",
        *(f"../spectra/00{n}.{kind}" for n in (0, 1) for kind in ("zarr", "missing.parquet")),
    }
    assert list(faults_beside(good.store, manifest["made_with"])) == []


# Many stars, several shards a store.


def test_stars_are_written_in_whole_shards_whatever_blocks_they_come_in(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SHARD_STARS", 64)
    rng = np.random.default_rng(0)
    n = 150
    table = pd.DataFrame(
        {
            name: [f"s{i}" for i in range(n)] if array.dtype is str else np.arange(n)
            for name, array in STAR_ARRAYS.items()
        }
    )
    for column in (*LABELS, *map(error_column, LABELS)):
        table[column] = rng.random(n)
    spectra = {name: rng.random((n, 7514), np.float32) for name in SPECTRA}
    whole = Stars(table, spectra)
    blocks = (whole[start:stop] for start, stop in ((0, 10), (10, 10), (10, 149), (149, 150)))
    write_store(tmp_path / "store.zarr", blocks, {"mock": False})
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
    last = load_stars(tmp_path / "store.zarr", "observed", split="s149")
    np.testing.assert_array_equal(last.flux, spectra["observed"][149:])
    with pytest.raises(SpectraFMError, match="array 'observed' is damaged"):
        load_stars(tmp_path / "store.zarr", "observed", split="s0")


def test_the_same_input_gives_the_same_bytes(good, tmp_path):
    again = Run(tmp_path, good.tree, good.survey).all()
    for path in again.store.rglob("*"):
        if path.is_file():
            twin = good.store / path.relative_to(again.store)
            assert path.read_bytes() == twin.read_bytes(), path
