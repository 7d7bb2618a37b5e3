"""Atomic writing: a final path holds the old content or the new, never half of it."""

import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.integrity import write_checksums
from spectrafm.outputs import LITTER, ListedFolder, claimed


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def anything(path):
    """A `files.Replaces` that lets every folder be replaced."""


def write_folder(path, content):
    with files.atomic_path(path, anything) as temporary:
        (temporary / "sub").mkdir(parents=True)
        for name in ("x", "sub/y"):
            (temporary / name).write_text(content)


def test_a_failed_folder_leaves_the_old_folder(tmp_path):
    path = tmp_path / "a.zarr"
    for content in ("old", "new"):
        write_folder(path, content)
    assert (path / "x").read_text() == "new"
    with pytest.raises(RuntimeError), files.atomic_path(path, anything) as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert (path / "x").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_the_old_folder_is_kept_until_the_new_one_is_in_place(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    write_folder(path, "old")
    replace = os.replace
    seen = []

    def failing(source, target):
        if Path(target) == path and Path(source).name.startswith("new"):
            seen.append([file.read_text() for file in tmp_path.rglob("x")])
            raise OSError(errno.EIO, "the disk is gone")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        write_folder(path, "new")
    (contents,) = seen
    assert sorted(contents) == ["new", "old"]
    assert (path / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_folder_that_comes_in_between_is_replaced_too(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    write_folder(path, "old")
    replace = os.replace
    others = []

    def interfering(source, target):
        replace(source, target)
        if Path(source) == path and not others:
            others.append(path)
            write_folder(path, "other")

    monkeypatch.setattr(os, "replace", interfering)
    write_folder(path, "new")
    assert others
    assert [(path / name).read_text() for name in ("x", "sub/y")] == ["new", "new"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_everything_is_on_the_disk_before_it_is_moved_and_the_move_after(
    tmp_path, monkeypatch, kind
):
    path = tmp_path / "a"
    events = []
    fsync, replace = os.fsync, os.replace

    def identity(status):
        return status.st_dev, status.st_ino

    def flush(descriptor):
        events.append(identity(os.fstat(descriptor)))
        fsync(descriptor)

    def move(source, target):
        if Path(target) == path:
            events.append("moved")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", move)
    if kind == "file":
        files.write_text(path, "x")
    else:
        write_folder(path, "x")
    moved = events.index("moved")
    made = {identity(made.stat()) for made in [path, *path.rglob("*")]}
    assert len(made) == {"file": 1, "folder": 4}[kind]
    assert made <= set(events[:moved])
    assert identity(tmp_path.stat()) in events[moved:]


def test_a_leftover_of_a_killed_run_is_deleted_and_one_in_use_is_not(tmp_path):
    leftover = tmp_path / ".a.txt.0123456789ab.partial"
    leftover.mkdir()
    (leftover / "new.txt").write_text("junk")
    with files.atomic_path(tmp_path / "a.txt") as first:
        files.write_text(tmp_path / "a.txt", "second")
        first.write_text("first")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_a_killed_run_had_put_aside_comes_back(tmp_path):
    path = tmp_path / "a.zarr"
    leftover = tmp_path / ".a.zarr.0123456789ab.partial"
    write_folder(leftover / "old", "old")
    with pytest.raises(RuntimeError), files.atomic_path(path, anything):
        raise RuntimeError
    assert (path / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_file_replaces_no_folder_not_even_through_a_link_or_an_empty_one(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "folder/", "link", "folder/.", "folder/..", "."):
        with pytest.raises(SpectraFMError, match=r"is a folder|names no file"):
            files.write_text(tmp_path / name, "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "link"]


def test_parquet_keeps_its_metadata_and_notices_damage(tmp_path):
    path = tmp_path / "a.parquet"
    files.write_parquet(path, pd.DataFrame({"x": range(1000)}), {"units": {"x": "K"}})
    assert files.read_parquet(path).attrs == {"units": {"x": "K"}}
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(SpectraFMError, match=r"a\.parquet: damaged \(the SHA-256"):
        files.read_parquet(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SpectraFMError, match=r"a\.parquet"):
        files.read_parquet(path)
    with pytest.raises(SpectraFMError, match="no such file"):
        files.read_parquet(tmp_path / "b.parquet")


def test_json_errors_name_the_file(tmp_path):
    with pytest.raises(SpectraFMError, match=r"a\.json: no such file"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SpectraFMError, match=r"a\.json: not JSON"):
        files.read_json(tmp_path / "a.json")


def listed_folder(path, **contents):
    """A folder with a checksum list, as commands write them."""
    path.mkdir()
    for name, content in contents.items():
        (path / name).write_text(content)
    write_checksums(path)


def test_a_listed_folder_replaces_its_like_alone(tmp_path):
    model = ListedFolder("a model", ("weights", "options"))
    path, other, run = tmp_path / "model", tmp_path / "store", tmp_path / "run"
    assert model(path) is None
    listed_folder(path, weights="1", options="2", more="3")
    assert model(path) is None
    for litter in LITTER:
        (path / litter).touch()
    assert model(path) is None
    (path / "notes.txt").write_text("mine")
    assert "holds notes.txt" in model(path)
    with pytest.raises(SpectraFMError, match=r"notes\.txt"), files.atomic_path(path, model):
        raise AssertionError("refused before anything is made")
    (path / "notes.txt").rename(path / ".notes")
    assert "holds .notes" in model(path)
    listed_folder(other, weights="1")
    assert "without options" in model(other)
    run.mkdir()
    (run / "sub").mkdir()
    assert model(run) is None, "empty"
    (run / "sub/weights").touch()
    assert "without weights" in model(run)
    assert "is a file" in model(path / "weights")


def test_an_output_that_is_being_written_is_refused_and_then_not(tmp_path):
    path = tmp_path / "out" / "a.txt"
    lock = path.with_name(".a.txt.lock")
    refused = rf"written by process {os.getpid()} since"
    for _ in range(2):
        with claimed(path):
            assert lock.exists()
            with pytest.raises(SpectraFMError, match=refused), claimed(path):
                raise AssertionError("not reached")
            files.write_text(path, "x")
        assert [file.name for file in path.parent.iterdir()] == ["a.txt"]
    # What a killed process leaves is no lock.
    lock.write_text("1 elsewhere 00:00:00\n")
    with claimed(path):
        pass
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]
