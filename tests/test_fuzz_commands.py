# Tests of: spectrafm/cli.py and every command that reads a file
"""Every command, given damaged inputs: it ends with 0, or with one line that names the file."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from making import fuzz
from making.whole_run import COMMANDS, NOT_RUN, verb_of
from spectrafm import cli
from spectrafm.labels import LABELS

#: Damages of each input file.
DAMAGES = 8

MODEL = "models/pretrain/*"
TOY = (
    "toy.zarr/zarr.json",
    "toy.zarr/SHA256SUMS",
    "toy.zarr/label/c/0/0",
    "toy.zarr/snr/zarr.json",
)

#: Files that each command reads.
INPUTS: dict[str, tuple[str, ...]] = {
    "select-stars": ("catalogue/allStar.fits",),
    "fetch-spectra": (
        "catalogue/selected.parquet", "catalogue/alternates.parquet",
        "sas/**/aspcapStar-*-2M00000000.fits", "sas/**/*.sha1sum",
    ),
    "build-store": (
        "catalogue/selected.parquet", "catalogue/cuts.csv", "spectra/000.missing.parquet",
        "spectra/000.zarr/zarr.json", "spectra/000.zarr/SHA256SUMS", "spectra/000.zarr/snr/c/0",
        "spectra/000.zarr/observed/c/0/0", "spectra/000.zarr/starflag/zarr.json",
    ),
    "fetch-astronn": ("catalogue/selected.parquet",),
    "train": TOY,
    "predict": (MODEL, *TOY),
    "predict files": ("star.fits", "own/stars.csv", MODEL),
    "inspect": ("star.fits",),
    "plot": ("star.fits",),
    "attention": ("star.fits", MODEL),
    "finetune": ("own/window.csv", MODEL),
    "residuals": ("predictions/pretrain--all.parquet",),
    "import-spectra": ("own/stars.csv",),
    "map-attention": (MODEL, *TOY),
    "table-attention": (MODEL, *TOY),
    "collect-metrics": ("predictions/pretrain--all.parquet",),
    "table1": ("predictions/pretrain--all.parquet", "catalogue/astronn.parquet"),
    "figure1": TOY,
    "figure2": (MODEL,),
    "figure3": ("predictions/pretrain--all.parquet",),
    "figure4": ("predictions/pretrain--all.parquet", MODEL),
    "figure5": (
        "attention/pretrain.zarr/zarr.json", "attention/pretrain.zarr/SHA256SUMS",
        "attention/pretrain.zarr/attention/c/0/0/0",
    ),
    "report": (
        "metrics.json", "catalogue/*.csv", "catalogue/selected.parquet",
        "catalogue/missing.parquet", "tables/*", "figures/figure1.png", MODEL,
    ),
    "verify": (
        "metrics.json", "catalogue/*", "tables/*", "figures/figure1.png", MODEL, "SHA256SUMS",
        "predictions/*", "store.zarr/SHA256SUMS", "store.zarr/zarr.json", "store.zarr/sha1/c/0",
        "attention/pretrain.zarr/zarr.json",
    ),
    "score": ("predictions/pretrain--all.parquet",),
    "table-draws": ("predictions/pretrain--all.parquet",),
    "paper-comparison": ("predictions/pretrain--all.parquet",),
    "table-calibration": ("predictions/pretrain--all.parquet",),
    "table-learning-curve": ("predictions/pretrain--all.parquet",),
    "fewshot": ("tables/draws.csv",),
    "learning_curve": ("tables/learning_curve.csv",),
    "calibration": ("tables/calibration.csv",),
    "list-files": ("catalogue/selected.parquet", "catalogue/alternates.parquet"),
    "check-selection": ("catalogue/selected.parquet", "labels.npy"),
}  # fmt: skip

ARGUMENTS = {name: arguments for name, (arguments, _) in (COMMANDS | NOT_RUN).items()} | {
    "verify": ["."],
    "inspect": ["star.fits"],
    "score": [
        "predictions/pretrain--all.parquet", "--actual=FE_H_actual", "--predicted=FE_H_predicted",
    ],
    "table-draws": ["predictions/pretrain--all.parquet", "--output=draws.csv"],
    "list-files": [
        "--selected=catalogue/selected.parquet", "--alternates=catalogue/alternates.parquet",
        "--output=files.txt",
    ],
    "check-selection": [
        "catalogue/selected.parquet", "--labels", "labels.npy", "--errors", "labels.npy",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def genuine(made_run, tmp_path_factory) -> Path:
    folder = shutil.copytree(made_run, tmp_path_factory.mktemp("copy") / "run")
    np.save(folder / "labels.npy", np.zeros((3, len(LABELS)), np.float32))
    return folder


def inputs_of(run: Path, command: str) -> Iterator[Path]:
    for pattern in INPUTS[command]:
        found = [path for path in sorted(run.glob(pattern)) if path.is_file()]
        assert found, pattern
        yield from (path for path in found if path.stat().st_size)


def check(command: str, run: Path, capsys, count: int) -> Counter:
    """Damage each input of a command ``count`` times; what it prints is one line or its result."""
    ends: Counter = Counter()
    for place, path in enumerate(inputs_of(run, command)):
        content = path.read_bytes()
        text = path.suffix in (".json", ".csv", ".md", ".sha1sum") or path.name == "SHA256SUMS"
        damage = fuzz.damaged_json if path.suffix == ".json" else fuzz.damaged_text
        for number in range(count):
            rng = np.random.default_rng([place, number])
            path.write_bytes(damage(content, rng) if text else fuzz.damaged_bytes(content, rng))
            # A training or a report takes seconds for itself.
            with fuzz.within(60):
                end = cli.main([verb_of(command), *ARGUMENTS[command]])
            printed = capsys.readouterr()
            ends[end] += 1
            if end:
                lines = printed.err.strip().splitlines()
                said = [
                    line for line in lines if line.startswith(f"spectrafm {verb_of(command)}: ")
                ]
                assert len(said) == 1, (path, number, printed.err)
                where = printed.out if command == "verify" else said[0]
                named = path.relative_to(run).parts
                assert any(part in where for part in named), (path, number, said)
            assert "Traceback" not in printed.err
        path.write_bytes(content)
    return ends


@pytest.mark.slow
@pytest.mark.parametrize("command", INPUTS)
def test_a_damaged_input_ends_in_one_line(genuine, tmp_path, monkeypatch, capsys, command):
    run = shutil.copytree(genuine, tmp_path / "run")
    monkeypatch.chdir(run)
    ends = check(command, run, capsys, DAMAGES)
    assert ends.total() >= DAMAGES
    assert ends[cli.BAD_INPUT] + ends[1] > 0
    # With its genuine inputs the command still does what it did.
    if command != "check-selection":
        assert cli.main([verb_of(command), *ARGUMENTS[command]]) == 0


def test_every_command_that_reads_a_file_is_among_them():
    # The table of Gaia XP spectra, of 104 MB, is read against its SHA-256: tests/test_gaia_xp.py.
    others = {"mock-survey", "fetch-allstar", "fetch-xp", "select-xp"}
    assert set(map(verb_of, INPUTS)) == set(cli.COMMANDS) - others
    assert set(ARGUMENTS) >= set(INPUTS)
