# Tests of: spectrafm/files.py, archive/, store/build_store.py
"""kill -9 at random moments of fetching and of building the store, then the same command again."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from making.sas_tree import SasTree, make_tree, row
from making.survey_run import Run
from spectrafm import cli, files

KILLED_RUNS = 30
#: Seconds that the server takes for each file, so that a fetch lasts long enough to be hit.
DELAY = 0.02
SHARDS = 2


#: A command whose imports are behind it when it says so.
COMMAND = """
import sys
import spectrafm.store.build_store
from spectrafm.cli import main
print(flush=True)
sys.exit(main())
"""


class SlowServer(ThreadingHTTPServer):
    """The survey on loopback, a little slow."""

    def __init__(self, root: Path):
        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self):
                time.sleep(DELAY)
                super().do_GET()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(root)))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> SasTree:
    rows = [row(f"2M{n:08d}", SNR=300.0 - k) for n in range(48) for k in range(1 + n % 2)]
    tree = make_tree(tmp_path_factory.mktemp("survey"), rows)
    for line in rows[::7]:
        tree.path_of(line).unlink(missing_ok=True)
    return tree


@pytest.fixture(scope="module")
def source(tree):
    server = SlowServer(tree.root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def commands_of(run: Run, source: str) -> list[list[str]]:
    """The commands that the workflow runs after the selection."""
    numbers = range(SHARDS)
    fetches = [
        ["fetch-spectra", f"--selected={run.selected}", f"--alternates={run.alternates}",
         f"--shard={n}", f"--output={run.shard(n)}", f"--missing={run.shard_missing(n)}",
         f"--source={source}", "--connections=2", "--tries=2", "--runs=1"]
        for n in numbers
    ]  # fmt: skip
    build = [
        "build-store", f"--selected={run.selected}", f"--cuts={run.cuts}", f"--store={run.store}",
        f"--missing={run.missing}", f"--funnel={run.funnel}",
        "--shards", *map(str, map(run.shard, numbers)),
        "--shard-missing", *map(str, map(run.shard_missing, numbers)), "--most_missing=1",
    ]  # fmt: skip
    return [*fetches, build]


def seconds_and_end(command: list[str], kill_after: float | None = None) -> tuple[float, int]:
    """How long a command worked in a process of its own, and how it ended; perhaps killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    start = time.monotonic()
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process.stdout.close()
    return time.monotonic() - start, process.returncode


def outputs_of(run: Run) -> list[tuple[Path, ...]]:
    """What each command makes."""
    fetched = [(run.shard(number), run.shard_missing(number)) for number in range(SHARDS)]
    return [*fetched, (run.store, run.missing, run.funnel)]


def contents(run: Run) -> dict[str, str]:
    """SHA-256 of every file in the run's folder, hidden ones included."""
    return {
        str(path.relative_to(run.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_after_kill_9_the_same_commands_give_the_undisturbed_contents(tmp_path, tree, source):
    undisturbed = Run(tmp_path / "undisturbed", tree, tree.survey(shards=SHARDS)).select()
    lasted = []
    for command in commands_of(undisturbed, source):
        seconds, end = seconds_and_end(command)
        assert end == 0
        lasted.append(seconds)
    expected = contents(undisturbed)
    assert len(expected) > 100

    rng = np.random.default_rng(2)
    run = Run(tmp_path / "run", tree, tree.survey(shards=SHARDS))
    commands = commands_of(run, source)
    killed = half_done = equal = 0
    while killed < KILLED_RUNS:
        files.remove(run.folder)
        shutil.copytree(undisturbed.folder, run.folder)
        hit = killed % len(commands)
        # In every second round what the command made before still stands.
        for outputs in outputs_of(run)[hit + killed % 2 :]:
            for output in outputs:
                files.remove(output)
        seconds, end = seconds_and_end(commands[hit], lasted[hit] * rng.random())
        if end != -signal.SIGKILL:
            lasted[hit] = seconds
            continue
        killed += 1
        half_done += any(".partial/" in name or ".old/" in name for name in contents(run))
        for command in commands[hit:]:
            assert cli.main(command) == 0
        equal += contents(run) == expected
    assert equal == killed == KILLED_RUNS
    # The kills did hit while something was being written.
    assert half_done >= KILLED_RUNS // 3
