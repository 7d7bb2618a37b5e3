# Tests of: spectrafm/surveys/apogee/allstar.py
"""allStar in its full width, and in its full length: what is read of it, and what that takes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from making import dr17_allstar
from making.sas_tree import COLUMNS as NEEDED
from making.survey_run import fetch_catalogue
from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.surveys.apogee.allstar import read_allstar
from spectrafm.surveys.apogee.options import Survey

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A catalogue of 20,000 rows, 108 MB."""
    path = tmp_path_factory.mktemp("wide") / "allStar.fits"
    return path, dr17_allstar.write_allstar(path, 20_000)


def test_the_fabricated_row_is_that_of_dr17():
    assert len(dr17_allstar.ROW.names) == 234
    assert dr17_allstar.ROW.itemsize == 5410
    kinds = {"A": "S", "D": ">f8", "E": ">f4", "K": ">i8"}
    for name, code, _ in NEEDED:
        length = code[:-1] if code.endswith("A") else ""
        assert dr17_allstar.ROW[name] == np.dtype(kinds[code[-1]] + length), name


def test_needed_columns_come_out_whole_whatever_the_others_hold(wide):
    path, rows = wide
    table = read_allstar(path)
    for name, _, _ in NEEDED:
        expected = rows[name].astype(str) if rows[name].dtype.kind == "S" else rows[name]
        assert table[name].tolist() == expected.tolist(), name


#: Peak memory of the process in MB, pages of mapped files among it. (What getrusage says starts
#: from the memory of the process that started this one.)
_PEAK = """
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""

_GROWTH = (
    _PEAK
    + """
import sys
from spectrafm.surveys.apogee.allstar import read_allstar

read_allstar(Path(sys.argv[1]))
before = peak()
table = read_allstar(Path(sys.argv[2]))
print(len(table), peak() - before)
"""
)


def test_memory_holds_the_needed_columns_and_one_block(wide, tmp_path):
    """Of 108 MB and 234 columns, 19: a copy of the table would show, and so would a map of it."""
    path, _ = wide
    dr17_allstar.write_allstar(tmp_path / "small.fits", 100)
    command = [sys.executable, "-c", _GROWTH, tmp_path / "small.fits", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, growth = done.stdout.split()
    assert rows == "20000"

    assert float(growth) < 60, "one block is 16 MB, the text of 20,000 rows 5 MB"


def test_allstarlite_is_fetched_by_its_name_and_read_alike(wide, tmp_path):
    """It lacks FILE, all identifiers but one, and the large arrays."""
    path, rows = wide
    lacking = {"FILE", "TARGET_ID", "APSTAR_ID", "ASPCAP_ID", "LOCATION_ID"}
    kept = [n for n in rows.dtype.names if not (rows.dtype[n].shape or n in lacking)]
    lite = np.empty(500, [(name, rows.dtype[name]) for name in kept])
    for name in kept:
        lite[name] = rows[name][:500]
    source = tmp_path / "sas/dr17/apogee/spectro/aspcap/dr17/synspec_rev1"
    source.mkdir(parents=True)
    table = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(lite)])
    table.writeto(source / "allStarLite-dr17-synspec_rev1.fits")
    survey = Survey(source=str(tmp_path / "sas"), catalogue="allStarLite")
    fetch_catalogue(tmp_path / "allStar.fits", survey)
    found = read_allstar(tmp_path / "allStar.fits")
    # FPARAM is one of the arrays.
    arrays = found.filter(regex="^FPARAM_").columns
    assert found[arrays].isna().all(axis=None)
    expected = read_allstar(path)[:500].drop(columns=arrays)
    pd.testing.assert_frame_equal(found.drop(columns=arrays), expected)
    with pytest.raises(SpectraFMError, match=r"allStar-dr17-synspec_rev1\.fits: absent"):
        fetch_catalogue(tmp_path / "x.fits", survey.model_copy(update={"catalogue": "allStar"}))


def test_a_catalogue_cut_short_in_its_rows_is_named(wide, tmp_path):
    path, _ = wide
    cut = tmp_path / "cut.fits"
    with open(path, "rb") as whole:
        cut.write_bytes(whole.read(80 * MEGABYTE))
    with pytest.raises(SpectraFMError, match=r"cut\.fits: not a whole FITS file"):
        read_allstar(cut)


_MEASURE = (
    _PEAK
    + """
import json, sys, time
from spectrafm import cli
begin = time.perf_counter()
assert cli.main(sys.argv[1:]) == 0
print(json.dumps({"seconds": time.perf_counter() - begin, "peak_gb": peak() / 1024}))
"""
)


def _measured(*arguments) -> dict[str, float]:
    """Wall time and peak memory of one command, in a process of its own."""
    command = [sys.executable, "-c", _MEASURE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_allstar_at_full_size(tmp_path):
    """733,901 rows of 5,410 bytes: checked and copied, then selected from, each under a minute."""
    source = tmp_path / "dr17/apogee/spectro/aspcap/dr17/synspec_rev1"
    source.mkdir(parents=True)
    original = source / "allStar-dr17-synspec_rev1.fits"
    dr17_allstar.write_allstar(original, dr17_allstar.ROWS)
    size = original.stat().st_size
    assert size == pytest.approx(3.97e9, rel=1e-3)
    with open(original, "rb") as handle:
        sha1 = hashlib.file_digest(handle, "sha1").hexdigest()

    copy = tmp_path / "allStar.fits"
    where = ("--source", tmp_path, "--output", copy)
    fetched = _measured("fetch-allstar", *where, "--allstar_sha1", sha1)
    original.unlink()
    outputs = {flag: tmp_path / flag for flag in ("selected", "alternates", "cuts")}
    flags = [f"--{flag}={path}" for flag, path in outputs.items()]
    selected = _measured("select-stars", copy, *flags)
    print("fetch-allstar", fetched, "select-stars", selected)
    assert read_parquet(outputs["selected"]).attrs["allstar_sha1"] == sha1
    for measured in (fetched, selected):
        assert measured["peak_gb"] < 1.5
        assert measured["seconds"] < 60
