# Tests of: spectrafm/report/verify.py, store/read.py, integrity.py
"""A damaged store: flipped bits and truncations, each file deleted once; none is silent."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from making.sas_tree import make_tree, row
from making.survey_run import Run
from spectrafm import cli
from spectrafm.errors import SpectraFMError
from spectrafm.integrity import CHECKSUMS, faults_in, names_in
from spectrafm.report.verify import checks_of
from spectrafm.store.read import load_stars, open_store, read


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run's folder that holds what the survey rules make."""
    folder = tmp_path_factory.mktemp("run")
    tree = make_tree(folder / "sas", [row(f"2M{number:08d}") for number in range(8)])
    made = Run(folder / "results/mock", tree).all()
    shutil.copy(tree.allstar, made.folder / "catalogue/allStar.fits")
    return made.folder


def faults_of(run: Path) -> list[str]:
    return [fault for check in checks_of(run) for fault in check.faults]


def read_everything(store: Path, damaged: str | None = None) -> None:
    """Read all arrays, or the one that is damaged."""
    group = open_store(store)
    for name, _ in group.arrays():
        if damaged in (None, name):
            read(group, name)


def test_a_whole_run_is_found_whole(run, capsys):
    assert faults_of(run) == []
    assert cli.main(["verify", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "store.zarr: 8 stars selected, 8 stored, 0 missing" in printed
    assert "verified for 8, not published for 0" in printed
    assert "WRONG" not in printed


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_flip_and_no_truncation_is_silent_and_each_is_named(run, count):
    """Flips and truncations in turn, over chunks, metadata and list of checksums alike."""
    rng = np.random.default_rng(11)
    store = run / "store.zarr"
    names = [*names_in(store), CHECKSUMS]
    injected = Counter()
    for number in range(count):
        # Metadata are small: any file is as likely as any other.
        path = store / names[rng.integers(len(names))]
        content = path.read_bytes()
        if number % 2:
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        else:
            damaged = content[: rng.integers(len(content))]
        path.write_bytes(damaged)
        kind = path.name if path.name in (CHECKSUMS, "zarr.json") else "chunk"
        injected[kind] += 1
        faults = store_faults(store)
        if kind == CHECKSUMS:
            # The data are as they were; that list and files differ is named.
            assert faults, path
        else:
            with pytest.raises(SpectraFMError, match=r"store\.zarr"):
                read_everything(store, path.relative_to(store).parts[0])
            assert named(path, store, faults), path
        path.write_bytes(content)
    assert injected.total() == count
    assert min(injected[kind] for kind in (CHECKSUMS, "zarr.json", "chunk")) > count / 200
    read_everything(store)


@pytest.mark.parametrize("split", [None, "train"])
@pytest.mark.parametrize("windows", [None, [(15200, 15300), (16100, 16200)]])
def test_damaged_spectra_are_named_whatever_is_loaded_of_them(run, split, windows):
    chunk = run / "store.zarr/observed/c/0/0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    with pytest.raises(SpectraFMError, match=r"store\.zarr: array 'observed' is damaged \(Stored"):
        load_stars(run / "store.zarr", "observed", split, windows)
    load_stars(run / "store.zarr", "synthetic", split, windows)
    chunk.write_bytes(content)


def store_faults(store: Path) -> list[str]:
    """Faults that `verify` reports for a store's files alone."""
    try:
        return list(faults_in(store))
    except SpectraFMError as error:
        return [str(error)]


def named(path: Path, store: Path, faults: list[str]) -> bool:
    return any(path.relative_to(store).as_posix() in fault for fault in faults)


def test_each_file_of_a_store_that_is_deleted_is_named(run):
    verified = 0
    for store in (run / "store.zarr", *sorted((run / "spectra").glob("*.zarr"))):
        names = [*names_in(store), CHECKSUMS]
        deleted = 0
        for name in names:
            path = store / name
            content = path.read_bytes()
            path.unlink()
            with pytest.raises(SpectraFMError, match=rf"{store.name}.*{path.name}"):
                open_store(store)
            assert named(path, store, store_faults(store)), path
            if deleted % 10 == 0:  # verifying the whole run takes much longer
                assert any(name in fault for fault in faults_of(run)), path
                verified += 1
            path.write_bytes(content)
            deleted += 1
        assert deleted == len(names) > 35
    assert verified > 10
    assert faults_of(run) == []


def test_a_shard_file_not_of_the_store_or_of_another_fetch_is_named(run):
    extra = run / "store.zarr/observed/c/9"
    extra.mkdir()
    (extra / "0").write_bytes(b"x")
    assert any("observed/c/9/0: not listed in SHA256SUMS" in fault for fault in faults_of(run))
    shutil.rmtree(extra)
    shard = run / "spectra/001.zarr"
    kept = shutil.move(shard, run / "kept")
    assert any("001.zarr: missing, though" in fault for fault in faults_of(run))
    shutil.copytree(run / "spectra/000.zarr", shard)
    assert any("001.zarr is not the store that" in fault for fault in faults_of(run))
    shutil.rmtree(shard)
    shutil.move(kept, shard)
    assert faults_of(run) == []


@pytest.mark.parametrize(
    "name",
    ["allStar.fits", "selected.parquet", "alternates.parquet", "missing.parquet", "cuts.csv",
     "funnel.csv"],
)  # fmt: skip
def test_no_flip_in_the_catalogue_is_silent(run, name, capsys):
    path = run / "catalogue" / name
    content = path.read_bytes()
    rng = np.random.default_rng(12)
    for _ in range(8):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert cli.main(["verify", str(run)]) == cli.BAD_INPUT
        printed = capsys.readouterr()
        assert "WRONG" in printed.out
        assert name in printed.out
        assert "wrong" in printed.err
    path.write_bytes(content)
    assert faults_of(run) == []
