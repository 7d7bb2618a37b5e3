"""`spectrafm verify`: a flipped bit in whatever a run holds is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from making.whole_run import make_run
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
    "tables/*",
    "store.zarr/MANIFEST.json",
    "spectra/000.zarr/observed/c/0/0",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def test_a_whole_run_is_verified_part_by_part(run, capsys):
    assert cli.main(["verify", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "WRONG" not in printed
    for part in ("catalogue/allStar.fits", "spectra/000.zarr", "store.zarr", "models/pretrain",
                 "predictions/pretrain--all.parquet", "metrics.json", "attention/pretrain.zarr",
                 "figures/figure3.png", "report.html"):  # fmt: skip
        assert f"ok     {part}: " in printed
    assert "40 stars asked for, 40 stored, 0 missing" in printed


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
