# Tests of: spectrafm/files.py, and every command that writes
"""A disk that is full: every writer stops, says where and at how many bytes, and spoils nothing."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from making.loopback import running
from making.whole_run import COMMANDS, run_command, verb_of
from spectrafm import cli, files

WRITERS = [(command, output) for command, (_, outputs) in COMMANDS.items() for output in outputs]


@pytest.fixture(scope="module")
def run(made_run, tmp_path_factory) -> Path:
    """A small run, with everything in it."""
    return shutil.copytree(made_run, tmp_path_factory.mktemp("copy") / "run")


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
    point = files.crash_point
    # The catalogue is written beside its place first, so that a download may be continued.
    if output.name == "allStar.fits":
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))

    def limit(step, path):
        point(step, path)
        if step == "begun" and path.name == output.name:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))

    with monkeypatch.context() as patched:
        patched.setattr(files, "crash_point", limit)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_there_are_as_many_writers_as_said():
    assert len(WRITERS) >= 49


@pytest.mark.parametrize(("command", "output"), WRITERS)
def test_a_writer_without_room_names_path_and_bytes_and_leaves_what_was(
    in_run, command, output, monkeypatch, capsys
):
    before = content_of(in_run)
    with full_disk_for(in_run / output, monkeypatch):
        assert run_command(command) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"spectrafm {verb_of(command)}: ")
    assert Path(output).name in error
    assert re.search(r"(File too large|no room .*) after [\d,]+ bytes", error)
    after = content_of(in_run)
    assert after[output] == before[output] if output in before else after.keys() == before.keys()
    assert not [path for path in in_run.rglob("*") if path.name.endswith(".partial")]


@pytest.mark.parametrize(("command", "output"), WRITERS)
def test_nothing_stands_at_the_final_path_of_a_first_write_without_room(
    in_run, command, output, monkeypatch, capsys
):
    final = in_run / ("models/pretrain" if command == "train" else output)
    with full_disk_for(in_run / output, monkeypatch):
        kept = final.rename(in_run / "kept")
        end = run_command(command)
    left = final.exists()
    files.remove(final)
    kept.rename(final)
    assert end != 0
    assert not left


@pytest.mark.parametrize(
    ("command", "kept"),
    [("fetch-allstar", "allStar-*.fits"), ("fetch-spectra", "aspcapStar-*.fits")],
)
def test_a_kept_mirror_without_room_is_named_and_keeps_what_it_has(
    in_run, command, kept, monkeypatch, capsys, tmp_path
):
    paths = [path for path in (in_run / "sas").rglob("*") if path.is_file()]
    with running() as server:
        server.files = {path.relative_to(in_run / "sas").as_posix(): path.read_bytes()
                        for path in paths}  # fmt: skip
        arguments = [value for value in COMMANDS[command][0] if value != "--source=sas"]
        arguments += [f"--source={server.url}", f"--keep={tmp_path}"]
        assert cli.main([command, *arguments]) == 0
        before, run_before = content_of(tmp_path), content_of(in_run)
        path = min(tmp_path.rglob(kept))
        with full_disk_for(path, monkeypatch):
            path.unlink()
            assert cli.main([command, *arguments]) == cli.BAD_INPUT
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(rf"{re.escape(str(path))}: File too large after [\d,]+ bytes", error)
    after = content_of(tmp_path)
    assert after.keys() == before.keys() - {path.relative_to(tmp_path).as_posix()}
    assert all(before[name] == content for name, content in after.items())
    assert content_of(in_run) == run_before
