"""A disk that is full: every writer stops, says where and at how many bytes, and spoils nothing."""

from __future__ import annotations

import contextlib
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from sas_tree import make_tree, row
from spectrafm import cli, files
from toy_store import WINDOWS, write_toy_store

TINY = [
    "--epochs=1", "--batch=64", "--sampling.tokens=32", f"--windows={WINDOWS}",
    "--model.dimension=8", "--model.encoder=[{heads: 2, feedforward: 8}]",
    "--model.decoder=[{heads: 2, feedforward: 8}]", "--model.head=[8]",
]  # fmt: skip

#: Commands of a run in their order, in its folder, each with the files and folders it writes.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "mock-survey": (["--output=mock", "--rows=50", "--processes=1"], ["mock"]),
    "fetch-allstar": (
        ["--output=catalogue/allStar.fits", "--source=sas"], ["catalogue/allStar.fits"],
    ),
    "select-stars": (
        ["catalogue/allStar.fits", "--selected=catalogue/selected.parquet",
         "--alternates=catalogue/alternates.parquet", "--cuts=catalogue/cuts.csv",
         "--flags=catalogue/flags.csv", "--survey.shards=1"],
        ["catalogue/selected.parquet", "catalogue/alternates.parquet", "catalogue/cuts.csv",
         "catalogue/flags.csv"],
    ),
    "fetch-spectra": (
        ["--selected=catalogue/selected.parquet", "--alternates=catalogue/alternates.parquet",
         "--shard=0", "--output=spectra/000.zarr", "--missing=spectra/000.missing.parquet",
         "--source=sas"],
        ["spectra/000.zarr", "spectra/000.missing.parquet"],
    ),
    "build-store": (
        ["--selected=catalogue/selected.parquet", "--cuts=catalogue/cuts.csv",
         "--shards", "spectra/000.zarr", "--shard-missing", "spectra/000.missing.parquet",
         "--store=store.zarr", "--missing=catalogue/missing.parquet",
         "--funnel=catalogue/funnel.csv"],
        ["store.zarr", "catalogue/missing.parquet", "catalogue/funnel.csv"],
    ),
    "fetch-astronn": (
        ["--selected=catalogue/selected.parquet", "--output=catalogue/astronn.parquet",
         "--source=sas"],
        ["catalogue/astronn.parquet"],
    ),
    "train": (
        ["toy.zarr", "--name=pretrain", "--output=models/pretrain", *TINY],
        [f"models/pretrain/{name}"
         for name in ("model.safetensors", "config.json", "metrics.csv", "README.md",
                      "SHA256SUMS")],
    ),
    "predict": (
        ["models/pretrain", "toy.zarr", "--name=all", f"--windows={WINDOWS}",
         "--output=predictions/pretrain--all.parquet"],
        ["predictions/pretrain--all.parquet"],
    ),
    "map-attention": (
        ["models/pretrain", "toy.zarr", f"--windows={WINDOWS}", "--output=attention/pretrain.zarr"],
        ["attention/pretrain.zarr"],
    ),
    "collect-metrics": (
        ["predictions/pretrain--all.parquet", "--output=metrics.json"], ["metrics.json"],
    ),
    "table1": (
        ["predictions/pretrain--all.parquet", "--astronn=catalogue/astronn.parquet",
         "--output=tables/table1.csv"],
        [f"tables/table1.{kind}" for kind in ("csv", "md", "tex")],
    ),
    "figure1": (["toy.zarr", "--output=figures/figure1.png"], ["figures/figure1.png"]),
    "figure2": (
        ["toy.zarr", "models/pretrain", "--output=figures/figure2.png"], ["figures/figure2.pdf"],
    ),
    "figure3": (
        ["predictions/pretrain--all.parquet", "--output=figures/figure3.png"],
        ["figures/figure3.png"],
    ),
    "figure4": (
        ["--predictions", "predictions/pretrain--all.parquet", "--models", "models/pretrain",
         "--store=toy.zarr", "--output=figures/figure4.png"],
        ["figures/figure4.pdf"],
    ),
    "figure5": (
        ["attention/pretrain.zarr", "--output=figures/figure5.png"], ["figures/figure5.png"],
    ),
    "report": (["report.html"], ["report.html"]),
}  # fmt: skip

WRITERS = [(command, output) for command, (_, outputs) in COMMANDS.items() for output in outputs]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small run, with everything in it."""
    folder = tmp_path_factory.mktemp("run")
    rows = [row(f"2M{n:08d}", SNR=300.0 - k) for n in range(40) for k in range(2)]
    make_tree(folder / "sas", rows)
    write_toy_store(folder / "toy.zarr")
    with contextlib.chdir(folder):
        for command, (arguments, _) in COMMANDS.items():
            assert cli.main([command, *arguments]) == 0, command
    return folder


@pytest.fixture
def in_run(run, monkeypatch) -> Path:
    monkeypatch.chdir(run)
    return run


def largest_file(path: Path) -> int:
    paths = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return max(file.stat().st_size for file in paths)


def content_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@contextlib.contextmanager
def full_disk_for(output: Path, monkeypatch) -> Iterator[None]:
    """No file may grow beyond half of what the output needs, from when that output is begun."""
    room = largest_file(output) // 2
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    remove = files.remove
    # The catalogue is written beside its place first, so that a download may be continued.
    if output.name == "allStar.fits":
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))

    def remove_and_limit(path):
        remove(path)
        if Path(path).name == f".{output.name}.partial":
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))

    with monkeypatch.context() as patched:
        patched.setattr(files, "remove", remove_and_limit)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_there_are_as_many_writers_as_said():
    assert len(WRITERS) == 29


@pytest.mark.parametrize(("command", "output"), WRITERS)
def test_a_writer_without_room_names_path_and_bytes_and_leaves_what_was(
    in_run, command, output, monkeypatch, capsys
):
    arguments, _ = COMMANDS[command]
    before = content_of(in_run)
    with full_disk_for(in_run / output, monkeypatch):
        assert cli.main([command, *arguments]) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"spectrafm {command}: ")
    assert Path(output).name in error
    assert re.search(r"(File too large|no room .*) after [\d,]+ bytes", error)
    after = content_of(in_run)
    assert after[output] == before[output] if output in before else after.keys() == before.keys()
    assert not [path for path in in_run.rglob("*") if path.name.endswith(".partial")]


@pytest.mark.parametrize(("command", "output"), WRITERS)
def test_nothing_stands_at_the_final_path_of_a_first_write_without_room(
    in_run, command, output, monkeypatch, capsys
):
    arguments, _ = COMMANDS[command]
    final = in_run / ("models/pretrain" if command == "train" else output)
    with full_disk_for(in_run / output, monkeypatch):
        kept = final.rename(in_run / "kept")
        end = cli.main([command, *arguments])
    left = final.exists()
    files.remove(final)
    kept.rename(final)
    assert end != 0
    assert not left
