"""Atomic writing: a final path holds the old content or the new, never half of it."""

import pandas as pd
import pytest

from spectrafm import files
from spectrafm.errors import SpectraFMError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_folder(tmp_path):
    path = tmp_path / "a.zarr"
    for content in ("old", "new"):
        with files.atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / "x").write_text(content)
    assert (path / "x").read_text() == "new"
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert (path / "x").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_leftover_of_a_killed_run_is_overwritten(tmp_path):
    leftover = tmp_path / ".a.txt.partial"
    leftover.mkdir()
    (leftover / "junk").write_text("junk")
    files.write_text(tmp_path / "a.txt", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


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
