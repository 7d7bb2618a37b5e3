"""A small run in one folder, made by calling the workflow's commands in order."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
from astropy.table import Table

from making.sas_tree import make_tree, row
from making.spectra_files import write_texts
from making.toy_store import WINDOWS, write_toy_store
from spectrafm import cli

TINY = [
    "--spectra=synthetic", f"--windows={WINDOWS}", "--epochs=1", "--batch=64",
    "--sampling.tokens=32",
    "--model.dimension=8", "--model.encoder=[{heads: 2, feedforward: 8}]",
    "--model.decoder=[{heads: 2, feedforward: 8}]", "--model.head=[8]",
]  # fmt: skip

#: Commands in the order of a run: name -> (arguments, files and folders that it writes). A second
#: word in a name tells what a command is given, where it takes inputs of two kinds.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "mock-survey": (["--output=mock", "--rows=50", "--processes=1"], ["mock"]),
    "fetch-allstar": (
        ["--output=catalogue/allStar.fits", "--source=sas"], ["catalogue/allStar.fits"],
    ),
    "select-stars": (
        ["catalogue/allStar.fits", "--selected=catalogue/selected.parquet",
         "--alternates=catalogue/alternates.parquet", "--cuts=catalogue/cuts.csv",
         "--flags=catalogue/flags.csv", "--shards=1"],
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
    "import-spectra": (
        ["own/stars.csv", "--store=own/own.zarr", "--selected=own/selected.parquet",
         "--funnel=own/funnel.csv"],
        ["own/own.zarr", "own/selected.parquet", "own/funnel.csv"],
    ),
    "train": (
        ["toy.zarr", "--name=pretrain", "--output=models/pretrain", *TINY],
        [f"models/pretrain/{name}"
         for name in ("model.safetensors", "config.json", "calibration.json", "metrics.csv",
                      "README.md", "SHA256SUMS")],
    ),
    "predict": (
        ["models/pretrain", "toy.zarr", "--name=all", f"--windows={WINDOWS}",
         "--output=predictions/pretrain--all.parquet"],
        ["predictions/pretrain--all.parquet"],
    ),
    "predict files": (
        ["models/pretrain", "star.fits", "own/stars.csv", "--output=star.parquet"],
        ["star.parquet"],
    ),
    "finetune": (
        ["models/pretrain", "own/window.csv", "--output=own/model", "--draws=1", "--steps=4"],
        ["own/model"],
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
    "paper-comparison": (
        ["predictions/pretrain--all.parquet", "--output=tables/paper_comparison.csv"],
        ["tables/paper_comparison.csv", "tables/paper_comparison.md"],
    ),
    "table-draws": (
        ["predictions/pretrain--all.parquet", "--output=tables/draws.csv"],
        ["tables/draws.csv", "tables/draws.md"],
    ),
    "table-attention": (
        ["models/pretrain", "toy.zarr", f"--windows={WINDOWS}", "--output=tables/attention.csv"],
        ["tables/attention.csv", "tables/attention.md"],
    ),
    "table-calibration": (
        ["predictions/pretrain--all.parquet", "--output=tables/calibration.csv"],
        ["tables/calibration.csv", "tables/calibration.md"],
    ),
    "table-learning-curve": (
        ["predictions/pretrain--all.parquet", "--output=tables/learning_curve.csv"],
        ["tables/learning_curve.csv", "tables/learning_curve.md"],
    ),
    "list-files": (
        ["--selected=catalogue/selected.parquet", "--alternates=catalogue/alternates.parquet",
         "--output=files.txt"],
        ["files.txt"],
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
         "--output=figures/figure4.png"],
        ["figures/figure4.pdf"],
    ),
    "figure5": (
        ["attention/pretrain.zarr", "--output=figures/figure5.png"], ["figures/figure5.png"],
    ),
    "calibration": (
        ["tables/calibration.csv", "--output=figures/calibration.png"], ["figures/calibration.png"],
    ),
    "fewshot": (
        ["tables/draws.csv", "--output=figures/fewshot.png"],
        ["figures/fewshot.png"],
    ),
    "learning_curve": (
        ["tables/learning_curve.csv", "--output=figures/learning_curve.png"],
        ["figures/learning_curve.png"],
    ),
    "residuals": (
        ["predictions/pretrain--all.parquet", "--output=figures/residuals.png"],
        ["figures/residuals.png"],
    ),
    "attention": (["models/pretrain", "star.fits", "--output=star.ecsv"], ["star.ecsv"]),
    "plot": (["star.fits", "--output=star.png"], ["star.png"]),
    "report": (["report.html"], ["report.html", "SHA256SUMS"]),
}  # fmt: skip

#: Commands that no run of seconds can end: they need a table of 104 MB.
NOT_RUN: dict[str, tuple[list[str], list[str]]] = {
    "fetch-xp": (["--output=xp.fits.gz", "--source=none.whl"], ["xp.fits.gz"]),
    "select-xp": (
        ["xp.fits.gz", "--store=xp.zarr", "--selected=xp.parquet", "--funnel=xp.csv"],
        ["xp.zarr", "xp.parquet", "xp.csv"],
    ),
}  # fmt: skip


def write_own_table(path: Path, grid: np.ndarray) -> None:
    """A table of a user's spectra in nm, whose split leaves no side without a star."""
    stars = 40
    depth = np.linspace(0.05, 0.15, stars)
    table = Table(
        {
            "name": [f"mine{n}" for n in range(stars)],
            "wavelength [nm]": np.tile(grid, (stars, 1)),
            "flux": 1 - depth[:, None] * np.sin(grid),
            "TEFF": 4000.0 + 50 * np.arange(stars),
        }
    )
    path.parent.mkdir(exist_ok=True)
    write_texts(path, table)


def run_command(name: str, arguments: list[str] | None = None) -> int:
    """Run an entry of `COMMANDS` or `NOT_RUN`, with other arguments where they are given."""
    own = (COMMANDS | NOT_RUN)[name][0] if arguments is None else arguments
    return cli.main([verb_of(name), *own])


def verb_of(name: str) -> str:
    """The command of an entry."""
    return name.split()[0]


def make_run(folder: Path) -> Path:
    """Run every command in ``folder``, on a fabricated survey and a store of invented stars."""
    rows = [row(f"2M{n:08d}", SNR=300.0 - k) for n in range(40) for k in range(2)]
    make_tree(folder / "sas", rows)
    write_toy_store(folder / "toy.zarr")
    write_own_table(folder / "own" / "stars.csv", np.linspace(500.0, 520.0, 40))
    write_own_table(folder / "own" / "window.csv", np.linspace(1575.0, 1577.07, 100))
    spectrum = next((folder / "sas").rglob("aspcapStar-*-2M00000000.fits"))
    shutil.copy(spectrum, folder / "star.fits")
    with contextlib.chdir(folder):
        for name in COMMANDS:
            assert run_command(name) == 0, name
    return folder
