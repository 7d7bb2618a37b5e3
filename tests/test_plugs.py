"""A network, a sampling scheme, a figure, a survey: one file (or folder) and one line each.

Each test adds one to a copy of the repository, uses it as a user would, and counts what it touched.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from making import toy_store
from making.whole_run import TINY
from spectrafm.store.read import load_stars

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PARTS = ("spectrafm", "workflow", "Snakefile", "config.yaml", "configs", "envs")


class Copy:
    """A copy of the repository, in which something is added and used."""

    def __init__(self, folder: Path):
        self.folder = folder
        for part in PARTS:
            source = REPOSITORY / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy(source, folder / part)

    def add(self, path: str, text: str) -> None:
        """A new file."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert not target.exists()
        target.write_text(text)

    def add_line(self, path: str, after: str, line: str) -> None:
        """One line into a registry, behind the line that opens it."""
        target = self.folder / path
        text = target.read_text()
        assert text.count(after) == 1, after
        target.write_text(text.replace(after, f"{after}{line}\n"))

    def touched(self) -> dict[str, int]:
        """Lines that each file of the package and the workflow has more than the repository's."""
        found = {}
        for part in ("spectrafm", "workflow", "configs"):
            for path in sorted((self.folder / part).rglob("*")):
                name = path.relative_to(self.folder)
                if not path.is_file() or "__pycache__" in name.parts:
                    continue
                before = REPOSITORY / name
                if not before.exists():
                    found[str(name)] = len(path.read_text().splitlines())
                elif not filecmp.cmp(path, before, shallow=False):
                    more = len(path.read_text().splitlines())
                    found[str(name)] = more - len(before.read_text().splitlines())
        return found

    def run(self, *command: str | Path, fails: bool = False) -> str:
        """Run a command with the copy's package; what it prints."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def spectrafm(self, *arguments: str, fails: bool = False) -> str:
        return self.run(sys.executable, "-m", "spectrafm", *arguments, fails=fails)

    def snakemake(self, *arguments: str | Path) -> str:
        return self.run(BIN / "snakemake", "--cores", "1", *arguments)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_a_network_is_one_file_and_one_line(copy):
    copy.add(
        "spectrafm/networks/median.py",
        '''
"""One dense layer behind one number, the mean flux: as bad as a network can be."""

from torch import nn

from spectrafm.networks.base import Answer, requested, with_gaps
from spectrafm.networks.grid import GridNetwork


class Median(GridNetwork):
    """Mean flux -> (mean, ln variance) of each label."""

    architecture = "median"

    def __init__(self, wavelength, labels):
        super().__init__(wavelength, labels)
        self.dense = nn.Linear(1, 2 * len(self.labels))

    def forward(self, flux, position, missing=None, request=None, known=None, error=None):
        level = with_gaps(flux, missing).nanmean(dim=1, keepdim=True).nan_to_num(1.0)
        return requested(Answer(*self.dense(level).chunk(2, dim=1)), request)
''',
    )
    copy.add_line(
        "spectrafm/networks/__init__.py", "NETWORKS = {\n",
        '    "median": Architecture("spectrafm.networks.median:Median", "Median", "grid"),',
    )  # fmt: skip
    assert sorted(copy.touched().values())[0] == 1
    assert len(copy.touched()) == 2
    toy_store.write_toy_store(copy.folder / "toy.zarr")
    copy.spectrafm(
        "train", "toy.zarr", "--name=m", "--output=m", "--architecture=median",
        "--spectra=observed", f"--windows={toy_store.WINDOWS}", "--sampling.scheme=all",
        "--epochs=2",
    )  # fmt: skip
    copy.spectrafm("predict", "m", "toy.zarr", "--name=all", "--output=m--all.parquet")
    copy.spectrafm("figure3", "m--all.parquet", "--output=figure3.png")
    assert "median" in copy.spectrafm("train", "--help")


def test_a_sampling_scheme_is_one_file_and_one_line(copy):
    copy.add(
        "spectrafm/training/schemes/first.py",
        '''
"""The first pixels of a window, always."""

import torch

from spectrafm.training.schemes.base import Scheme


class First(Scheme):
    """Ranks grow along the spectrum."""

    def rank(self, draw):
        order = torch.arange(draw.pixels, device=draw.generator.device)
        return order.float().expand(draw.stars, -1)
''',
    )
    copy.add_line(
        "spectrafm/training/schemes/__init__.py", "SCHEMES = {\n",
        '    "first": f"{_HERE}.first:First",',
    )  # fmt: skip
    assert sorted(copy.touched().values())[0] == 1
    assert len(copy.touched()) == 2
    toy_store.write_toy_store(copy.folder / "toy.zarr")
    copy.spectrafm(
        "train", "toy.zarr", "--name=m", "--output=m", "--spectra=synthetic", *TINY,
        "--sampling.scheme=first",
    )  # fmt: skip
    assert "should be 'first', 'scattered'" in copy.spectrafm(
        "train", "toy.zarr", "--name=m", "--output=n", "--spectra=synthetic", *TINY,
        "--sampling.scheme=last", fails=True,
    )  # fmt: skip


def test_a_figure_is_one_file_and_one_line(copy):
    copy.add(
        "spectrafm/figures/figure6.py",
        '''
"""Figure 6: how many stars have which signal-to-noise ratio."""

from pathlib import Path

from matplotlib.figure import Figure

from spectrafm.figures.style import save
from spectrafm.store.read import read_store


def figure6(store: Path, *, star: str | None = None, output: Path) -> None:
    """Signal-to-noise ratios of the stars.

    Parameters
    ----------
    store : pathlib.Path
        Zarr store of the stars.
    star : str, optional
        Not used.
    output : pathlib.Path
        PNG file to write; the PDF file is written beside it.

    Examples
    --------
    $ spectrafm figure6 results/demo/store.zarr --output=figure6.png
    """
    figure = Figure()
    figure.subplots().hist(read_store(store).snr.values)
    save(figure, output, "signal-to-noise ratios", [store])
''',
    )
    copy.add_line(
        "spectrafm/figures/__init__.py", "FIGURES = {\n",
        '    "figure6": Plot("spectrafm.figures.figure6:figure6", "star"),',
    )  # fmt: skip
    assert sorted(copy.touched().values())[0] == 1
    assert len(copy.touched()) == 2
    toy_store.write_toy_store(copy.folder / "toy.zarr")
    copy.spectrafm("figure6", "toy.zarr", "--output=figure6.png")
    assert (copy.folder / "figure6.pdf").stat().st_size > 1000
    assert "Signal-to-noise ratios of the stars" in copy.spectrafm("--help")
    planned = copy.snakemake("--dry-run", "--configfile", "configs/demo.yaml", "--", "all")
    assert "rule figure6" in planned
    report = planned.split("rule report:")[1]
    assert "figures/figure6.png" in report.split("output:")[0]


def test_a_survey_is_one_folder_and_one_line(copy):
    copy.add("spectrafm/surveys/toy/__init__.py", '"""A survey of invented stars."""\n')
    copy.add(
        "spectrafm/surveys/toy/make_toy.py",
        '''
"""A survey of invented stars on a grid of its own, without synthetic spectra."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from spectrafm.labels import Label
from spectrafm.options import Name, Section
from spectrafm.store.layout import Column, Stars, write_store

WAVELENGTH = np.geomspace(4000.0, 9000.0, 300)
RANGE = (4000.0, 9000.0)


class Toy(Section):
    """The toy survey."""

    name: Name = Field("toy", description="which survey")
    rows: int = Field(50, ge=1, description="how many stars")


def make_toy(*, output: Path, toy: Toy) -> None:
    """Write invented stars as a store.

    Parameters
    ----------
    output : pathlib.Path
        Zarr store to write.

    Examples
    --------
    $ spectrafm make-toy --output=toy.zarr --rows=50
    """
    rng = np.random.default_rng(0)
    age = rng.uniform(1, 13, toy.rows)
    flux = 1 - 0.03 * age[:, None] * np.exp(-((WAVELENGTH - 6563) ** 2) / 50)
    table = pd.DataFrame({"apogee_id": [f"toy{n}" for n in range(toy.rows)], "split": "train",
                          "colour": age / 20, "AGE": age, "AGE_ERR": 0.5})
    table.loc[::4, "split"] = "validation"
    spectra = {"observed": flux.astype("f4"), "observed_error": np.full(flux.shape, 0.01, "f4"),
               "mask": np.zeros(flux.shape, bool)}
    write_store(
        output, [Stars(table, spectra)], {"title": "toy", "mock": True}, wavelength=WAVELENGTH,
        labels=[Label("AGE", "Gyr", "age")], columns=[Column("colour", float, "colour", "mag")],
        synthetic=False,
    )
''',
    )
    copy.add(
        "spectrafm/surveys/toy/survey.smk",
        '''
rule build_store:
    """Write the toy store."""
    output:
        store=directory(f"{RESULTS}/store.zarr"),
    log:
        f"{LOGS}/build_store.log",
    params:
        options=options(RUN.survey),
    shell:
        "spectrafm make-toy --output {output.store} {params.options:q} > {log} 2>&1"


rule fetch_astronn:
    """No labels to compare with."""
    output:
        f"{RESULTS}/catalogue/astronn.parquet",
    shell:
        "exit 1"


rule store:
    """All that the network is needed for."""
    input:
        rules.build_store.output,
    localrule: True
''',
    )
    copy.add_line(
        "spectrafm/surveys/__init__.py", "SURVEYS = {\n",
        '    "toy": Source("spectrafm.surveys.toy.make_toy:Toy", "toy/survey.smk", '
        '{"make-toy": "spectrafm.surveys.toy.make_toy:make_toy"}, '
        '"spectrafm.surveys.toy.make_toy:RANGE"),',
    )  # fmt: skip
    assert copy.touched().pop("spectrafm/surveys/__init__.py") == 1
    assert {Path(name).parts[:3] for name in copy.touched() if "toy" in name} == {
        ("spectrafm", "surveys", "toy")
    }
    # A run of its own: nothing of the paper's configuration is left in it.
    (copy.folder / "config.yaml").write_text("run: none\n")
    (copy.folder / "toy.yaml").write_text(
        """
run: toy
survey: {name: toy, rows: 60}
labels: {AGE: {unit: Gyr, symbol: age}}
model: {dimension: 8, encoder: [{heads: 2, feedforward: 8}], decoder: [{heads: 2, feedforward: 8}],
        head: [8], encoding: log_wavelength}
stages:
  pretrain: {spectra: observed, windows: [[6500, 6620]], epochs: 1, sampling: {tokens: 4}}
evaluations:
  all: {stages: [pretrain], split: train}
attention: {windows: [[6500, 6620]]}
figures: {table1: [pretrain--all], figure2: [pretrain], figure3: pretrain--all, figure4: null}
resources: {default: {gpus: 0, threads: 1}}
"""
    )
    target = "results/toy/predictions/pretrain--all.parquet"
    copy.snakemake("--configfile", "toy.yaml", "--", "store", target)
    stars = load_stars(copy.folder / "results/toy/store.zarr", "observed")
    assert stars.flux.shape == (60, 300)
    assert [label.name for label in stars.labels] == ["AGE"]
    assert (copy.folder / target).exists()
