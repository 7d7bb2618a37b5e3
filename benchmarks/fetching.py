"""Benchmark of fetching: files per second of SpectraFM, requests, wget and aria2c.

``python benchmarks/fetching.py`` (needs ``pip install -r envs/benchmarks.txt``, wget and aria2c)
starts a loopback server that waits 60 ms before each answer, the latency of a distant server, and
lets the clients take turns. No client with 8 connections can fetch more than 8 / 0.06 s = 133 files
per second from this server: the bound that the benchmark compares with.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import requests
from sidebyside import ratio, sidebyside, table, write_timings

from spectrafm.archive.source import fetch
from spectrafm.surveys.apogee.options import Survey

LATENCY = 0.06
CONNECTIONS = 8
#: Bytes of each served file; DR17's files have about 265 kB.
FILE_BYTES = 127_000
OURS = "spectrafm"
#: Target of each comparison: how many times faster than this client SpectraFM must be.
TARGETS = {"requests, one by one": 7.0, "aria2c -j8": 0.9}


def content_of(path: str) -> bytes:
    """Make the content of a served file: FITS-like, and different for each path."""
    rng = np.random.default_rng(list(path.encode()))
    return b"SIMPLE  =                    T".ljust(80) + rng.bytes(FILE_BYTES // 2880 * 2880 - 80)


def serve(files: dict[str, bytes], port: multiprocessing.Queue) -> None:
    """Answer each GET after `LATENCY`; keep connections alive."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                content = files[request.split(b" ", 2)[1].decode().lstrip("/")]
                await asyncio.sleep(LATENCY)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
                writer.write(content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ways(url: str, files: dict[str, bytes], folder: Path) -> dict[str, Callable[[], None]]:
    """Make one function per client that fetches every file and asserts its bytes."""
    paths = list(files)
    sha1s = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
    listed = folder / "urls.txt"
    listed.write_text("".join(f"{url}/{path}\n" for path in paths))

    def ours(keep: Path | None = None) -> None:
        survey = Survey(source=url, connections=CONNECTIONS, keep=keep and str(keep))
        found = {f.path: f.content for f in fetch(paths, sha1s, survey, survey)}
        assert found == files

    def kept() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as keep:
            ours(Path(keep))

    def one_by_one() -> None:
        with requests.Session() as session:
            assert {path: session.get(f"{url}/{path}").content for path in paths} == files

    def command(*arguments: str) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as output:
                subprocess.run([*arguments, output], check=True, capture_output=True)
                assert {file.name: file.read_bytes() for file in Path(output).iterdir()} == files

        return run

    # Preallocation and files for resuming would make aria2c slower here: both are switched off.
    aria2c = ("aria2c", "-q", "--no-conf", "--file-allocation=none", "--auto-save-interval=0")
    aria2c += (f"-j{CONNECTIONS}", f"--input-file={listed}", "--dir")
    return {
        OURS: ours,
        "spectrafm, keep": kept,
        "requests, one by one": one_by_one,
        "wget -i": command("wget", "-q", "--no-config", f"--input-file={listed}", "-P"),
        f"aria2c -j{CONNECTIONS}": command(*aria2c),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="keep every turn here")
    given = parser.parse_args()
    for tool in ("wget", "aria2c"):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed", file=sys.stderr)
            return 2

    files = {f"aspcapStar-{number:05d}.fits": b"" for number in range(given.files)}
    files = {path: content_of(path) for path in files}
    port: multiprocessing.Queue = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(files, port), daemon=True)
    server.start()
    # Files are written to memory, so that the disk is not measured.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        each = ways(f"http://127.0.0.1:{port.get()}", files, Path(folder))
        timings = sidebyside(each, given.rounds)
    server.terminate()

    print(table(timings, OURS, given.files, "files"))
    floor = CONNECTIONS / LATENCY
    reached = statistics.median(given.files / turn.wall for turn in timings[OURS])
    print(f"floor: {floor:.0f} files/s; reached {reached:.0f} ({reached / floor:.0%})")
    for peer, target in TARGETS.items():
        print(f"{ratio(timings, OURS, peer, 'wall'):.2f} x {peer} (target: {target:g})")
    if given.json:
        write_timings(given.json, timings, files=given.files, latency=LATENCY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
