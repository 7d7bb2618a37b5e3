# Tests of: spectrafm/report/verify.py
"""`spectrafm verify`: a flipped bit in whatever a run holds is named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spectrafm import cli

#: What has a checksum of its own, or is listed with one elsewhere.
CHECKED = (
    "catalogue/*.parquet",
    "catalogue/*.csv",
    "models/*/*",
    "predictions/*.parquet",
    "attention/*.zarr/zarr.json",
    "attention/*.zarr/*/c/*",
    "figures/*",
    "metrics.json",
    "report.html",
    "SHA256SUMS",
    "tables/*",
    "store.zarr/SHA256SUMS",
    "spectra/000.zarr/observed/c/0/0",
)


@pytest.fixture(scope="module")
def run(made_run, tmp_path_factory) -> Path:
    return shutil.copytree(made_run, tmp_path_factory.mktemp("copy") / "run")


def test_a_whole_run_is_verified_part_by_part(run, capsys):
    assert cli.main(["verify", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "WRONG" not in printed
    for part in ("catalogue/allStar.fits", "spectra/000.zarr", "store.zarr", "models/pretrain",
                 "predictions/pretrain--all.parquet", "metrics.json", "attention/pretrain.zarr",
                 "figures/figure3.png", "report.html", "SHA256SUMS"):  # fmt: skip
        assert f"ok     {part}: " in printed
    assert "40 stars selected, 40 stored, 0 missing" in printed


@pytest.mark.parametrize("pattern", CHECKED)
def test_a_flipped_bit_or_a_lost_file_is_named(run, pattern, capsys):
    paths = [path for path in sorted(run.glob(pattern)) if path.is_file()]
    assert paths
    rng = np.random.default_rng(8)
    for path in paths:
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        end = cli.main(["verify", str(run)])
        path.write_bytes(content)
        assert end == cli.BAD_INPUT, path
        assert path.name in capsys.readouterr().out.partition("WRONG")[2], path
    assert cli.main(["verify", str(run)]) == 0


def test_sha256sum_alone_checks_a_run(run):
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=run, check=False).returncode == 0
    listed = {line.split("  ")[1] for line in (run / "SHA256SUMS").read_text().splitlines()}
    assert {"report.html", "metrics.json", "models/pretrain/SHA256SUMS"} <= listed
    assert {"figures/figure3.pdf", "tables/table1.tex", "catalogue/funnel.csv"} <= listed
    assert any(name.startswith("store.zarr/") for name in listed)
    for folder in listed:
        lists = run / folder
        if lists.name == "SHA256SUMS":
            assert subprocess.run(check, cwd=lists.parent, check=False).returncode == 0


def test_a_report_without_its_list_is_wrong(run, capsys):
    sums = run / "SHA256SUMS"
    content = sums.read_bytes()
    sums.unlink()
    assert cli.main(["verify", str(run)]) == cli.BAD_INPUT
    sums.write_bytes(content)
    assert "make the report again" in capsys.readouterr().out
