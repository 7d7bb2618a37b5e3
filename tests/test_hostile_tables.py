# Tests of: spectrafm/evaluation/score.py, surveys/apogee/check_selection.py, reading.py
"""Tables and arrays of others: archives, bombs and headers that ask for terabytes are refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from making import fabricated, fuzz
from spectrafm import cli
from spectrafm.errors import SpectraFMError
from spectrafm.evaluation.score import score_table
from spectrafm.files import read_json, write_parquet
from spectrafm.labels import LABELS
from spectrafm.reading import read_csv
from spectrafm.surveys.apogee.check_selection import compare

CSV = b"a,b\n1,2\n3,4\n"


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("table.csv", CSV)
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        member = tarfile.TarInfo("table.csv")
        member.size = len(CSV)
        archive.addfile(member, io.BytesIO(CSV))
    return buffer.getvalue()


def entities() -> bytes:
    """XML whose entities are a billion letters."""
    lines = ['<!ENTITY a0 "aaaaaaaaaa">']
    lines += [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)]
    return (
        '<?xml version="1.0"?><!DOCTYPE v [' + "".join(lines) + "]><VOTABLE>&a9;</VOTABLE>"
    ).encode()


def aliases() -> bytes:
    """An ECSV header whose YAML aliases are 10^9 words."""
    lines = ['# - &a0 ["x","x","x","x","x","x","x","x","x","x"]']
    lines += [f"# - &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    head = "# %ECSV 1.0\n# ---\n# meta:\n" + "\n".join(lines)
    return f"{head}\n# datatype:\n# - {{name: a, datatype: float64}}\na\n1.0\n".encode()


def huge_fits() -> bytes:
    """A FITS table whose header asks for a petabyte."""
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])]).writeto(buffer)
    return buffer.getvalue().replace(
        f"NAXIS2  = {1:>20}".encode(), f"NAXIS2  = {10**14:>20}".encode()
    )


TABLES = {
    "t.zip": (zipped(), "a zip archive: unpack it first"),
    "t.csv.zip": (zipped(), "a zip archive: unpack it first"),
    "t.tar": (tarred("w"), "a tar archive: unpack it first"),
    "t.zst": (b"\x28\xb5\x2f\xfd" + bytes(40), "a zstd archive: unpack it first"),
    "t.csv.zst": (b"\x28\xb5\x2f\xfd" + bytes(40), "a zstd archive: unpack it first"),
    "t.tar.gz": (tarred("w:gz"), r"t\.tar\.gz: "),
    "t.xz": (CSV, "no column 'FE_H'"),
    "entities.xml": (entities(), "not a readable"),
    # astropy before 8 refuses the header itself.
    "aliases.ecsv": (aliases(), r"no column 'FE_H'|read as ascii\.ecsv \(dictionary update"),
    "huge.fits": (huge_fits(), "not a readable"),
    "t.gz": (gzip.compress(CSV)[:-6], "not a readable"),
    "deep.json": (b"[" * 100_000, r"deep\.json"),
    "null": (bytes(1000), "null: "),
    "nothing": (b"", "an empty table"),
    "latin.csv": ("é,b\n1,2\n".encode("latin-1"), "not a readable"),
}


@pytest.mark.parametrize("name", TABLES)
def test_score_refuses_what_is_no_table(tmp_path, name):
    content, said = TABLES[name]
    (tmp_path / name).write_bytes(content)
    with fuzz.within(), pytest.raises(SpectraFMError, match=said) as refused:
        score_table(tmp_path / name, "FE_H", "b")
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, labels=np.zeros((3, 5)))
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[Path("x")] * 5], dtype=object), allow_pickle=True)
    return buffer.getvalue()


ARRAYS = {
    "labels.npz": (npz(), r"an archive of arrays|not a readable"),
    "terabytes.npy": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 5), }"),
        "not a readable",
    ),
    "exabytes.npy": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 5), }"),
        "not a readable",
    ),
    "negative.npy": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 5), }", bytes(20)),
        r"negative\.npy",
    ),
    "objects.npy": (pickled(), "not a readable"),
    "records.npy": (
        npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 5), }", bytes(20)),
        "not numbers",
    ),
    "text.npy": (
        npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1, 5), }", bytes(20)),
        "not numbers",
    ),
    "code.npy": (npy("__import__('os').system('touch canary')"), "not a readable"),
    "deep.npy": (npy("(" * 4000 + ")" * 4000), "not a readable"),
    "flat.npy": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", bytes(20)), "shape",
    ),
    "short.npy": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }", bytes(59)),
        "not a readable",
    ),
}  # fmt: skip


@pytest.fixture
def stars(tmp_path) -> Path:
    table = pd.DataFrame(fabricated.labels_of(30), columns=list(LABELS))
    table[[f"{name}_ERR" for name in LABELS]] = 0.01
    table["apogee_id"] = fabricated.names_of(30)
    write_parquet(tmp_path / "selected.parquet", table)
    return tmp_path / "selected.parquet"


@pytest.mark.parametrize("name", ARRAYS)
def test_check_selection_refuses_what_is_no_array_of_labels(stars, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, said = ARRAYS[name]
    path, good = tmp_path / name, tmp_path / "good.npy"
    path.write_bytes(content)
    np.save(good, np.zeros((3, 5), np.float32))
    for given in (([path], [good]), ([good], [path])):
        with fuzz.within(), pytest.raises(SpectraFMError, match=said) as refused:
            compare(stars, *given)
        assert name in str(refused.value)
    assert not Path("canary").exists()
    assert len(ARRAYS["terabytes.npy"][0]) <= 138


def test_labels_and_errors_of_other_numbers(stars, tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros((3, 5), np.float32))
    np.save(tmp_path / "errors.npy", np.zeros((2, 5), np.float32))
    with pytest.raises(SpectraFMError, match=r"errors\.npy: 2 errors of 3 stars"):
        compare(stars, [tmp_path / "labels.npy"], [tmp_path / "errors.npy"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ends within a line"),
        (b"a,b\n1,2\n1,", "ends within a line"),
        (b"\n", "not a readable CSV"),
        (b"a\n1\n", "no column 'b'"),
        (b"\xff\xfe\n", "not a readable text"),
        (b'a,b\n"1,2\n', "not a readable CSV"),
    ],
)
def test_our_own_csv(tmp_path, content, said):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(SpectraFMError, match=rf"t\.csv: .*{said}"):
        read_csv(path, ["a", "b"])


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 5000, b'"\xff"', b"", b"{'a': 1}"])
def test_json_of_any_kind(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(SpectraFMError, match=r"metrics\.json: not"):
        read_json(path)


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"[" * 100_000, b'{"mock": 1, "predictions": []}', b"null", b"3"]
)
def test_metrics_of_any_kind_in_report_and_verify(tmp_path, content, capsys):
    (tmp_path / "metrics.json").write_bytes(content)
    for command in (["report", str(tmp_path / "report.html")], ["verify", str(tmp_path)]):
        assert cli.main(command) == cli.BAD_INPUT
        printed = capsys.readouterr()
        assert "metrics.json: not" in printed.out + printed.err
    assert not (tmp_path / "report.html").exists()
