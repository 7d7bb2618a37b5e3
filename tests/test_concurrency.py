# Tests of: spectrafm/files.py, workspaces.py, locks.py, outputs.py, children.py
"""Several processes at one output: one whole result, and no process that outlives its parent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from making import commands, toy_store
from making.commands import text_of, until
from making.toy_training import MODEL, command, stage
from making.writers import WRITE, read_whole, write_rounds

TRIALS = 40


@pytest.mark.parametrize("kind", ["table", "folder"])
@pytest.mark.parametrize(("writers", "rounds"), [(2, TRIALS), (8, 10)])
def test_of_many_writers_at_once_one_whole_result_stands(tmp_path, kind, writers, rounds):
    context = commands.forking()
    path = tmp_path / "out" / "result.parquet"
    path.parent.mkdir()
    by_mark = {}
    for mark in range(writers):
        WRITE[kind](tmp_path / f"{mark}.parquet", mark)
        if kind == "table":
            by_mark[(tmp_path / f"{mark}.parquet").read_bytes()] = mark
    together = context.Barrier(writers + 1)
    children = [
        context.Process(target=write_rounds, args=(kind, path, mark, rounds, together))
        for mark in range(writers)
    ]
    for child in children:
        child.start()
    seen, lasting = [], []
    for _ in range(rounds):
        together.wait(300)
        while together.n_waiting < writers:
            seen.append(read_whole(kind, path, by_mark))
            time.sleep(0.0005)
        lasting.append(read_whole(kind, path, by_mark))
        together.wait(300)
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0] * writers
    assert len(lasting) == rounds
    assert len(seen) >= rounds, "what stands there was looked at while it was written"
    assert set(lasting) <= set(range(writers)), "nothing is lost, half or mixed"
    assert set(seen) <= {*range(writers), None}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_second_of_two_trainings_of_one_stage_is_refused(tmp_path):
    store = toy_store.write_toy_store(tmp_path / "store.zarr")
    long = command(tmp_path, store, stage(epochs=1000, patience=None), MODEL)
    elsewhere = [a.replace("/model", "/elsewhere") if "--output" in a else a for a in long]
    first = commands.start(long, tmp_path, tmp_path / "first")
    until(lambda: "x: epoch 1," in text_of(tmp_path / "first"))
    for number, arguments in enumerate((long, elsewhere)):
        said = tmp_path / f"second {number}"
        second = commands.start(arguments, tmp_path, said)
        second.join()
        assert second.exitcode == 3
        (line,) = (line for line in said.read_text().splitlines() if "already" in line)
        assert re.search(
            rf"already being written by process {first.pid} since \d\d:\d\d:\d\d$", line
        )
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    # A lock ends with its process.
    third = commands.start(
        command(tmp_path, store, stage(epochs=1), MODEL), tmp_path, tmp_path / "third"
    )
    third.join()
    assert third.exitcode == 0, (tmp_path / "third").read_text()
    assert not list(tmp_path.rglob(".*"))


def children_of(parent: int) -> list[int]:
    """Processes whose parent is a process, from /proc."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
            command_line = (status.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == parent and b"spawn_main" in command_line:
            found.append(int(status.parent.name))
    return found


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_children_of_mock_survey_end_with_it_and_spoil_no_other(tmp_path, number):
    def started(seed: int) -> subprocess.Popen:
        line = [sys.executable, "-m", "spectrafm", "mock-survey", "--output=mock", "--rows=400",
                f"--seed={seed}", "--processes=2"]  # fmt: skip
        return subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    first = started(1)
    # Its spectra are being written.
    until(lambda: next(tmp_path.glob(".mock.*.partial/new/dr17/**/aspcapStar-*"), None))
    children = children_of(first.pid)
    assert len(children) == 2
    first.send_signal(number)
    said = first.communicate()[1]
    until(lambda: not any(map(alive, children)), 60)
    if number == signal.SIGKILL:
        assert first.returncode == -signal.SIGKILL
    else:
        assert first.returncode == 75
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith(
            f"spectrafm mock-survey: stopped by {signal.Signals(number).name}"
        )
        assert not list(tmp_path.iterdir())


#: Work larger than the pipe to the children, stopped before a child reads any.
LARGE_WORK = """
import os, signal, sys, threading
from spectrafm.children import map_in_children
from spectrafm.signals import Stopped, stopping

if __name__ == "__main__":
    try:
        with stopping():
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
            list(map_in_children(len, [bytes(300_000)] * 40, 2))
    except Stopped:
        sys.exit(75)
"""


def test_work_that_no_child_reads_any_more_keeps_no_process_waiting(tmp_path):
    (tmp_path / "large_work.py").write_text(LARGE_WORK)
    for _ in range(3):
        line = [sys.executable, "large_work.py"]
        ended = subprocess.run(line, cwd=tmp_path, stderr=subprocess.DEVNULL, timeout=30)
        assert ended.returncode == 75
