"""Whatever can be added is one file (or folder) and one line.

Each test adds one of docs/examples to a copy of the repository, uses it as a user would, and counts
what it touched.
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
PAGE = (REPOSITORY / "docs/adding.md").read_text("utf-8")
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

    def add(self, path: str, example: str) -> None:
        """A new file: one of the examples that docs/adding.md shows."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        assert not target.exists()
        assert f"examples/{example}" in PAGE
        shutil.copy(REPOSITORY / "docs/examples" / example, target)

    def add_line(self, path: str, after: str, line: str) -> None:
        """One line into a registry, behind the line that opens it, as docs/adding.md shows it."""
        assert line.strip() in PAGE
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
    copy.add("spectrafm/networks/median.py", "network.py")
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
    copy.add("spectrafm/training/schemes/first.py", "scheme.py")
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


def test_a_reader_is_one_file_and_one_line(copy):
    copy.add("spectrafm/readers/naiad.py", "reader.py")
    copy.add_line(
        "spectrafm/readers/__init__.py", "READERS = {\n",
        '    "naiad": "spectrafm.readers.naiad",',
    )  # fmt: skip
    assert sorted(copy.touched().values())[0] == 1
    assert len(copy.touched()) == 2
    lines = [f"{600 + 0.01 * n:.2f} {1 - 0.3 * (n == 40)}" for n in range(90)]
    (copy.folder / "star.txt").write_text("\n".join(["# NAIAD", *lines]))
    said = copy.spectrafm("inspect", "star.txt")
    assert "NAIAD" in said
    assert "6001.7 to 6010.6 Angstrom in vacuum (given: air)" in said
    assert "48000" in said


def test_a_normaliser_is_one_file_and_one_line(copy):
    copy.add("spectrafm/continuum/median.py", "normaliser.py")
    copy.add_line(
        "spectrafm/continuum/__init__.py", "NORMALISERS = {\n",
        '    "median": "spectrafm.continuum.median:median",',
    )  # fmt: skip
    assert sorted(copy.touched().values())[0] == 1
    assert len(copy.touched()) == 2
    code = """
from astropy import units as u
from spectrafm import Spectra
from spectrafm.continuum import normalise
one = normalise(Spectra([[2.0, 4.0, 6.0]], [600, 601, 602] * u.nm)[0], "median")
print(one.flux.tolist(), one.normalisation)
"""
    assert copy.run(sys.executable, "-c", code).split("\n")[-2] == "[0.5, 1.0, 1.5] median"


def test_a_figure_is_one_file_and_one_line(copy):
    copy.add("spectrafm/figures/figure6.py", "figure.py")
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
    copy.add("spectrafm/surveys/toy/__init__.py", "toy/__init__.py")
    copy.add("spectrafm/surveys/toy/make_toy.py", "toy/make_toy.py")
    copy.add("spectrafm/surveys/toy/survey.smk", "toy/survey.smk")
    copy.add_line(
        "spectrafm/surveys/__init__.py", "SURVEYS = {\n",
        '    "toy": Source("Toy", "spectrafm.surveys.toy.make_toy:Toy", "toy/survey.smk", '
        '{"make-toy": "spectrafm.surveys.toy.make_toy:make_toy"}, '
        '"spectrafm.surveys.toy.make_toy:RANGE"),',
    )  # fmt: skip
    assert copy.touched().pop("spectrafm/surveys/__init__.py") == 1
    assert {Path(name).parts[:3] for name in copy.touched() if "toy" in name} == {
        ("spectrafm", "surveys", "toy")
    }
    # A run of its own: nothing of the paper's configuration is left in it.
    (copy.folder / "config.yaml").write_text("run: none\n")
    shutil.copy(REPOSITORY / "docs/examples/toy/toy.yaml", copy.folder)
    target = "results/toy/predictions/pretrain--all.parquet"
    copy.snakemake("--configfile", "toy.yaml", "--", "store", target)
    stars = load_stars(copy.folder / "results/toy/store.zarr", "observed")
    assert stars.flux.shape == (60, 300)
    assert [label.name for label in stars.labels] == ["AGE"]
    assert (copy.folder / target).exists()
