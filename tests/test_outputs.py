# Tests of: spectrafm/outputs.py, files.py, and every command that writes
"""Outputs: what is not theirs stays, one process writes them, and a kill leaves nothing half."""

from __future__ import annotations

import functools
import inspect
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from making import commands
from making.commands import contents, outputs_of, with_output
from making.whole_run import COMMANDS, NOT_RUN, run_command, verb_of
from spectrafm import cli, files
from spectrafm.outputs import ListedFolder, claimed
from spectrafm.plugs import load
from spectrafm.signals import handled

#: Arguments and outputs of each command that writes.
TRIED = COMMANDS | NOT_RUN

#: Each command's name and the parameters that are its outputs.
OUTPUTS = [
    (command, name) for command in sorted(TRIED | cli.COMMANDS) for name in outputs_of(command)
]

#: Commands that write nothing before they have read the table of Gaia XP spectra.
NEED_THE_TABLE = {"fetch-xp", "select-xp"}

#: Commands that take long, and their output that one process writes at a time.
LONG = {
    "mock-survey": "mock", "fetch-allstar": "catalogue/allStar.fits",
    "fetch-spectra": "spectra/000.zarr", "build-store": "store.zarr",
    "fetch-astronn": "catalogue/astronn.parquet", "import-spectra": "own/own.zarr",
    "train": "models/pretrain",
    "predict": "predictions/pretrain--all.parquet", "predict files": "star.parquet",
    "finetune": "own/model", "map-attention": "attention/pretrain.zarr", "attention": "star.ecsv",
    "fetch-xp": "xp.fits.gz", "select-xp": "xp.zarr",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(made_run, tmp_path_factory) -> Path:
    """A small run, with everything in it."""
    return shutil.copytree(made_run, tmp_path_factory.mktemp("copy") / "run")


@pytest.fixture
def in_run(run, monkeypatch) -> Path:
    monkeypatch.chdir(run)
    return run


def last_line(capsys, command: str) -> str:
    """The one line of an error."""
    said = capsys.readouterr().err
    (line,) = (
        line for line in said.splitlines() if line.startswith(f"spectrafm {verb_of(command)}: ")
    )
    assert "Traceback" not in said
    return line


# What is not theirs stays.


def test_every_command_that_claims_its_output_is_tried():
    """Those that ``@claims`` decorates, and a training, which claims in its first process."""
    claiming = {
        name for name, where in cli.COMMANDS.items()
        if "claims(" in (files_of := inspect.getsource(inspect.getmodule(load(where))))
        or "claimed(" in files_of
    }  # fmt: skip
    assert claiming == {verb_of(command) for command in LONG}


def test_every_command_that_writes_is_tried():
    """A new command with an output needs arguments in `making.whole_run`."""
    writing = {command for command, _ in OUTPUTS}
    assert writing <= TRIED.keys()
    assert len(OUTPUTS) >= 24
    assert {"score", "verify", "check-selection", "inspect"} == cli.COMMANDS.keys() - writing
    assert writing - cli.COMMANDS.keys() == {"predict files"}


@pytest.mark.parametrize(("command", "name"), OUTPUTS)
def test_no_output_replaces_a_folder_of_somebody_else(in_run, command, name, capsys):
    theirs = in_run / f"theirs-{command}{Path(TRIED[command][1][0]).suffix}"
    (theirs / "sub").mkdir(parents=True)
    try:
        for file in ("thesis.tex", "sub/data.parquet", "zarr.json", "config.json"):
            (theirs / file).write_text("years of work")
        before = contents(theirs)
        arguments = with_output(command, TRIED[command][0], name, f"{theirs}/")
        assert run_command(command, arguments) == cli.BAD_INPUT
        assert str(theirs) in last_line(capsys, command)
        assert contents(theirs) == before
    finally:
        shutil.rmtree(theirs)
        theirs.with_suffix(".png").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ("mock-survey", "sas"), ("mock-survey", "store.zarr"), ("mock-survey", "."),
        ("mock-survey", "metrics.json"),
        ("fetch-spectra", "attention/pretrain.zarr"), ("fetch-spectra", "mock"),
        ("build-store", "models/pretrain"), ("build-store", "metrics.json"),
        ("train", "toy.zarr"), ("train", "models"), ("train", ".."), ("train", "metrics.json"),
        ("map-attention", "store.zarr"),
        ("predict", "models/pretrain"), ("report", "models"),
    ],
)  # fmt: skip
def test_a_folder_replaces_its_like_alone(in_run, command, other, capsys):
    before = contents(in_run)
    name = "store" if command == "build-store" else "output"
    arguments = with_output(command, COMMANDS[command][0], name, other)
    assert cli.main([command, *arguments]) == cli.BAD_INPUT
    last_line(capsys, command)
    assert contents(in_run) == before


@pytest.mark.parametrize(
    "output",
    [out for name, out in LONG.items() if name in COMMANDS and Path(out).suffix in ("", ".zarr")],
)
def test_a_strange_file_in_our_folder_stays(in_run, output, capsys):
    command = next(command for command, path in LONG.items() if path == output)
    note = in_run / output / "notes.txt"
    note.write_text("mine")
    try:
        assert run_command(command) == cli.BAD_INPUT
        assert "notes.txt" in last_line(capsys, command)
        assert note.read_text() == "mine"
    finally:
        note.unlink()
    (in_run / output / ".snakemake_timestamp").touch()
    assert run_command(command) == 0


def test_an_empty_folder_and_a_damaged_one_of_ours_may_be_replaced(in_run, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree("toy.zarr", tmp_path / "damaged.zarr")
    next((tmp_path / "damaged.zarr").rglob("0*")).unlink()
    (tmp_path / "damaged.zarr/mask/zarr.json").write_text("{")
    kind = ListedFolder("a store", ("zarr.json", "observed/zarr.json"))
    assert kind(tmp_path / "empty") is None
    assert kind(tmp_path / "damaged.zarr") is None
    assert kind(tmp_path / "absent") is None
    (tmp_path / "damaged.zarr/SHA256SUMS").write_text("x")
    assert "not replaced" in kind(tmp_path / "damaged.zarr")


# One process writes.


@pytest.mark.parametrize("command", LONG)
def test_an_output_that_another_process_writes_is_refused(in_run, command, capsys):
    before = contents(in_run)
    with claimed(Path(LONG[command]), lambda path: None):
        assert run_command(command) == cli.BAD_INPUT
    line = last_line(capsys, command)
    assert re.search(rf"already being written by process {os.getpid()} since \d\d:\d\d:\d\d", line)
    assert contents(in_run) == before


# Ctrl-C is one line.


@pytest.mark.parametrize("command", sorted({command for command, _ in OUTPUTS} - NEED_THE_TABLE))
def test_ctrl_c_is_one_line_in_every_command_and_nothing_is_left(
    in_run, command, monkeypatch, capsys
):
    pressed = []

    def press(step, path):
        if not pressed:
            pressed.append(path)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(files, "crash_point", press)
    before = sorted(in_run.rglob("*"))
    with handled(signal.default_int_handler):
        assert run_command(command) == cli.INTERRUPTED
    assert len(pressed) == 1
    assert "stopped by SIGINT" in last_line(capsys, command)
    assert sorted(in_run.rglob("*")) == before


# A kill leaves nothing half-written.

#: Command -> steps in which it is killed. `old aside` happens where a folder is replaced.
POINTS: dict[str, list[str]] = {
    "fetch-allstar": ["begun allStar.fits", "flushed allStar.fits"],
    "select-stars": ["written selected.parquet", "in place selected.parquet",
                     "begun alternates.parquet", "flushed cuts.csv", "in place flags.csv"],
    "fetch-spectra": ["old aside 000.zarr", "begun SHA256SUMS"],
    "build-store": ["old aside store.zarr", "in place missing.parquet", "written funnel.csv"],
    "fetch-astronn": ["written astronn.parquet", "in place astronn.parquet"],
    "train": ["old aside pretrain", "flushed step-0000000004.safetensors"],
    "predict": ["written pretrain--all.parquet"],
    "collect-metrics": ["begun metrics.json", "written metrics.json", "flushed metrics.json"],
    "table1": ["in place table1.csv", "written table1.md", "flushed table1.tex"],
    "report": ["written report.html", "in place report.html", "written SHA256SUMS"],
}  # fmt: skip

STEPS = ("begun", "written", "flushed", "in place")
MORE_POINTS: dict[str, list[str]] = {
    "mock-survey": [*(f"{step} mock" for step in (*STEPS, "old aside", "before marking"))],
    "fetch-allstar": ["written allStar.fits", "in place allStar.fits"],
    "fetch-spectra": ["begun 000.zarr", "written 000.zarr", "flushed 000.zarr",
                      "in place 000.zarr", "written SHA256SUMS", "in place SHA256SUMS",
                      "begun 000.missing.parquet",
                      "flushed 000.missing.parquet", "in place 000.missing.parquet"],
    "build-store": ["begun store.zarr", "written store.zarr", "flushed store.zarr",
                    "in place store.zarr", "begun SHA256SUMS", "in place SHA256SUMS"],
    "train": [*(f"{step} pretrain" for step in STEPS), "written model.safetensors",
              "begun config.json", "begun SHA256SUMS", "in place SHA256SUMS",
              "begun step-0000000001.safetensors", "written step-0000000004.safetensors",
              "in place step-0000000004.safetensors", "pruning step-0000000004.safetensors",
              "removing pretrain-KEY"],
    "predict": ["flushed pretrain--all.parquet", "begun pretrain--all.parquet",
                "in place pretrain--all.parquet"],
    "predict files": ["written star.parquet", "in place star.parquet"],
    "finetune": ["written model", "flushed model", "old aside model"],
    "import-spectra": ["old aside own.zarr", "in place own.zarr", "written selected.parquet",
                       "in place selected.parquet", "flushed funnel.csv"],
    "attention": ["written star.ecsv", "flushed star.ecsv"],
    "map-attention": [*(f"{step} pretrain.zarr" for step in (*STEPS, "old aside")),
                      "begun SHA256SUMS"],
    "figure2": [f"{step} figure2.{kind}" for step in STEPS for kind in ("png", "pdf")],
}  # fmt: skip

QUICK = [(command, point) for command, points in POINTS.items() for point in points]
PAIRS = QUICK + [
    pytest.param(command, point, marks=pytest.mark.slow)
    for command, points in MORE_POINTS.items() for point in points
]  # fmt: skip


def checkpoint_often() -> None:
    from spectrafm.training import loop

    loop.CHECKPOINT_INTERVAL = 0.0


def stop_the_clock() -> None:
    from spectrafm.report import content

    class Stopped(content.datetime):
        @classmethod
        def now(cls, zone):
            return cls(2026, 1, 1, tzinfo=zone)

    content.datetime = Stopped


#: Called in a command's process before it starts.
PREPARE = {"train": checkpoint_often, "report": stop_the_clock}


def result(command: str, folder: Path, said: Path, **environment: str) -> int:
    """Run a command of the run to its end; how it ended."""
    arguments = list(COMMANDS[command][0])
    if command == "train":
        arguments += ["--epochs=4", "--checkpoints=checkpoints"]
    process = commands.start(
        [verb_of(command), *arguments], folder, said, PREPARE.get(command), **environment
    )
    process.join()
    return process.exitcode


def roots_of(command: str) -> set[str]:
    """The files and folders that a command puts in place."""
    return {"models/pretrain"} if command == "train" else set(COMMANDS[command][1])


def made(command: str, folder: Path) -> dict[str, dict[str, bytes] | bytes]:
    """What stands at a command's final paths."""
    paths = {name: folder / name for name in roots_of(command)}
    return {
        name: contents(path) if path.is_dir() else path.read_bytes()
        for name, path in paths.items() if path.exists()
    }  # fmt: skip


def hidden(folder: Path) -> list[str]:
    """What a killed command may leave, and no other may."""
    return [str(p) for p in folder.rglob(".*") if p.name.endswith((".partial", ".lock"))]


def test_as_many_points_as_promised():
    assert len(set(QUICK)) == len(QUICK) >= 25
    assert len(PAIRS) >= 87


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    """What each command makes undisturbed; made when asked."""
    said = tmp_path_factory.mktemp("said") / "said.txt"

    @functools.cache
    def of(command: str):
        assert result(command, run, said) == 0, said.read_text()
        assert not hidden(run)
        return made(command, run)

    return of


@pytest.mark.parametrize(("command", "point"), PAIRS)
def test_killed_anywhere_the_same_command_gives_the_same(
    run, undisturbed, command, point, tmp_path
):
    expected = undisturbed(command)
    for name in roots_of(command):
        if "old aside" not in point:
            files.remove(run / name)
    if "KEY" in point:
        step = {files.CRASH_AT: "in place step-0000000004.safetensors"}
        assert result(command, run, tmp_path / "said", **step) == -signal.SIGKILL
        (folder,) = (run / "checkpoints").glob("pretrain-*")
        point = f"removing {folder.name}"
    ended = result(command, run, tmp_path / "said", **{files.CRASH_AT: point})
    assert ended == -signal.SIGKILL, (tmp_path / "said").read_text()
    for name, content in made(command, run).items():
        assert content == expected[name], "what stands at a final path is whole"
    assert result(command, run, tmp_path / "said") == 0, (tmp_path / "said").read_text()
    assert made(command, run) == expected
    assert not hidden(run)
    assert not list(run.glob("checkpoints/*"))
