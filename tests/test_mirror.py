# Tests of: spectrafm/archive/source.py, surveys/apogee/list_files.py
"""A mirror: one that is there, one that a run keeps, one that rsync makes. The same stars each."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from making.fetching import contents_of
from making.loopback import flipped, running, short_with_length
from making.sas_tree import make_tree, row
from making.survey_run import Run, fetch_catalogue
from spectrafm import cli
from spectrafm.archive.source import fetch
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet, write_bytes
from spectrafm.store.read import open_store, read
from spectrafm.surveys.apogee import simulated
from spectrafm.surveys.apogee.options import Survey

ROWS = [
    *(row(f"2M{number:08d}", FIELD="000+02") for number in range(5)),
    *(row(f"2M{number:08d}", FIELD="K04_083+13", TELESCOPE="lco25m") for number in range(5, 9)),
    row("2M00000000", FIELD="293-37-C", SNR=250.0),
]


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "sas", ROWS)


@pytest.fixture
def server(tree):
    with running() as server:
        server.files = {name: (tree.root / name).read_bytes() for name in files_below(tree.root)}
        yield server


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def read_star_arrays(store: Path) -> dict[str, np.ndarray]:
    group = open_store(store)
    names = ("apogee_id", "sha1", "verified", "observed", "observed_error", "synthetic", "label")
    return {name: read(group, name) for name in names}


def assert_same_stars(one: Path, other: Path) -> None:
    expected, found = read_star_arrays(one), read_star_arrays(other)
    assert len(expected["apogee_id"]) == 9
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_a_mirror_is_read_in_place(tree, tmp_path):
    before = files_below(tmp_path)
    run = Run(tmp_path / "run", tree, tree.survey(source=tree.root.as_uri())).all()
    new = files_below(tmp_path) - before
    assert not [name for name in new if name.endswith(".fits")], "nothing is copied"
    counts = read_parquet(run.missing).attrs["counts"]
    assert counts == {"asked": 9, "verified": 9, "unverified": 0, "missing": 0}


def test_a_kept_mirror_is_the_archive_and_stands_in_for_it(server, tree, tmp_path):
    survey = tree.survey(source=server.url, keep=str(tmp_path / "kept"), first_wait=0.001, tries=3)
    for path in server.files:
        # Nothing could tell that a bit of what has no published hash is wrong.
        published = "aspcapStar-" in path
        server.faults[path] = [flipped, short_with_length] if published else [short_with_length]
    first = Run(tmp_path / "first", tree, survey).all()
    fetch_catalogue(tmp_path / "first/catalogue/allStar.fits", survey)
    assert server.injected.total() == 9 * 2 + 2 + 1, "nine stars, two lists, the catalogue"
    kept = files_below(tmp_path / "kept")
    alternate = tree.path_of(ROWS[-1])
    unread = {path.relative_to(tree.root).as_posix() for path in alternate.parent.iterdir()}
    assert kept == set(server.files) - unread
    assert all((tmp_path / "kept" / name).read_bytes() == server.files[name] for name in kept)

    asked = server.requests.copy()
    again = Run(tmp_path / "again", tree, survey).all()
    fetch_catalogue(tmp_path / "again/catalogue/allStar.fits", survey)
    assert set(server.requests - asked) == {simulated.MARKER}, "only what is not there"
    assert_same_stars(first.store, again.store)

    moved = tree.survey(source=str(tmp_path / "kept"))
    assert_same_stars(first.store, Run(tmp_path / "moved", tree, moved).all().store)


def test_a_damaged_file_of_a_kept_mirror_is_fetched_anew(server, tree, tmp_path):
    path = tree.path_of(ROWS[0]).relative_to(tree.root).as_posix()
    kept = tmp_path / "kept" / path
    write_bytes(kept, b"damaged")
    sha1s = {path: hashlib.sha1(server.files[path]).hexdigest()}
    survey = Survey(source=server.url, keep=str(tmp_path / "kept"))
    assert contents_of([path], sha1s, survey) == {path: server.files[path]}
    assert kept.read_bytes() == server.files[path]


def test_a_file_that_fails_does_not_enter_the_mirror(server, tree, tmp_path):
    path = tree.path_of(ROWS[0]).relative_to(tree.root).as_posix()
    survey = Survey(source=server.url, keep=str(tmp_path / "kept"), tries=2, first_wait=0.001)
    found = contents_of([path, "dr17/absent"], {path: "0" * 40}, survey)
    assert found[path].reason.startswith("wrong sha1")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("path", ["../outside", "dr17/../../outside", "/outside"])
@pytest.mark.parametrize("kind", ["local", "kept"])
def test_no_path_leads_out_of_a_mirror(server, tmp_path, path, kind):
    server.files = {"outside": b"x", "../outside": b"x"}
    root = str(tmp_path / "root")
    survey = Survey(source=server.url, keep=root) if kind == "kept" else Survey(source=root)
    with pytest.raises(SpectraFMError, match="not a path below the root"):
        list(fetch([path], {}, survey, survey))
    assert not (tmp_path / "outside").exists()


def _write_often(path: Path) -> None:
    for _ in range(200):
        write_bytes(path, b"the same list of checksums")


def test_two_shards_may_keep_the_same_list(tmp_path):
    path = tmp_path / "field/list.sha1sum"
    writers = [get_context("spawn").Process(target=_write_often, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_brings_what_is_listed(tree, tmp_path):
    run = Run(tmp_path / "run", tree).select()
    (tree.root / "dr17/apogee/never_asked_for").write_bytes(b"x")
    listed = tmp_path / "files.txt"
    tables = [f"--selected={run.selected}", f"--alternates={run.alternates}"]
    assert cli.main(["list-files", *tables, f"--output={listed}"]) == 0

    mirror = tmp_path / "mirror"
    mirror.mkdir()
    done = subprocess.run(
        ["rsync", "-aL", f"--files-from={listed}", tree.root / "dr17", mirror / "dr17"],
        capture_output=True,
        text=True,
        check=False,
    )
    # The fabricated tree has no astroNN catalogue: rsync says so, and brings the rest.
    assert done.returncode == 23, done.stderr
    assert done.stderr.count("link_stat") == 1, done.stderr
    assert "apogee_astroNN-DR17.fits" in done.stderr
    wanted = files_below(tree.root) - {"dr17/apogee/never_asked_for"}
    assert files_below(mirror) == wanted

    kept = Run(tmp_path / "kept", tree, tree.survey(source=mirror.as_uri())).all()
    assert_same_stars(Run(tmp_path / "direct", tree).all().store, kept.store)

    # What the transfer damaged is noticed by the same hashes.
    damaged = mirror / tree.path_of(ROWS[8]).relative_to(tree.root)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:9000] + bytes([content[9000] ^ 1]) + content[9001:])
    kept = Run(tmp_path / "damaged", tree, tree.survey(source=mirror.as_uri())).all()
    lost = read_parquet(kept.missing)
    assert list(lost["apogee_id"]) == ["2M00000008"]
    assert lost["reason"][0].startswith("wrong sha1")
    assert lost.attrs["counts"] == {"asked": 9, "verified": 8, "unverified": 0, "missing": 1}
