"""Benchmark of fetching, building, loading and verifying a store, extrapolated to DR17.

python benchmarks/scale.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from fabricated_survey import fabricate

from spectrafm.report.verify import verify
from spectrafm.store.build_store import build_store
from spectrafm.store.read import load_stars
from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra
from spectrafm.surveys.apogee.options import Survey

#: Number of DR17's files that the paper's selection needs.
DR17 = 128_762


def fetched(selected: Path, alternates: Path, spectra: Path, survey: Survey, number: int) -> float:
    """Fetch one shard; return the largest memory of its process, GB."""
    fetch_spectra(
        selected=selected,
        alternates=alternates,
        shard=number,
        output=spectra / f"{number:03d}.zarr",
        missing=spectra / f"{number:03d}.missing.parquet",
        archive=survey,
        limits=survey,
    )
    return peak_gigabytes()


def built(run: Path, selected: Path, shards: int) -> float:
    """Build the store from its shards; return the largest memory of the process, GB."""
    spectra, catalogue = run / "spectra", run / "catalogue"
    build_store(
        selected=selected,
        cuts=catalogue / "cuts.csv",
        shards=[spectra / f"{number:03d}.zarr" for number in range(shards)],
        shard_missing=[spectra / f"{number:03d}.missing.parquet" for number in range(shards)],
        store=run / "store.zarr",
        missing=catalogue / "missing.parquet",
        funnel=catalogue / "funnel.csv",
    )
    return peak_gigabytes()


def loaded(run: Path) -> float:
    """Load the observed spectra of all stars; return the largest memory of the process, GB."""
    load_stars(run / "store.zarr", "observed")
    return peak_gigabytes()


def verified(run: Path) -> float:
    """Verify the run; return the largest memory of the process, GB."""
    verify(run)
    return peak_gigabytes()


def peak_gigabytes() -> float:
    """Largest memory that this process has held so far, GB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e6


def in_processes(processes: int, work: Callable, *turns: tuple) -> tuple[float, float]:
    """Run work in fresh processes; return seconds and the largest memory of one process, GB."""
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        peaks = pool.starmap(work, turns, chunksize=1)
    return time.perf_counter() - start, max(peaks)


def main() -> None:
    """Print time and memory of each step, files and bytes of its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        survey, selected, alternates = fabricate(run / "catalogue", given.stars, given.shards)
        (run / "spectra").mkdir()
        fetch = partial(fetched, selected, alternates, run / "spectra", survey)
        shards = [(number,) for number in range(given.shards)]
        steps = {
            "fetch_spectra": in_processes(given.cores, fetch, *shards),
            "build_store": in_processes(1, built, (run, selected, given.shards)),
            "load_stars": in_processes(1, loaded, (run,)),
            "verify": in_processes(1, verified, (run,)),
        }
        sizes = {name: size_of(run / name) for name in ("spectra", "store.zarr")}
    print(f"{given.stars:,} stars, {given.shards} shards, {given.cores} cores")
    print(f"{'':15}{'s':>8}{'stars/s':>9}{'peak GB':>9}{'DR17 min':>10}")
    for name, (seconds, peak) in steps.items():
        full = seconds * DR17 / given.stars / 60
        print(f"{name:15}{seconds:8.1f}{given.stars / seconds:9.0f}{peak:9.2f}{full:10.1f}")
    for name, (files, size) in sizes.items():
        full = size * DR17 / given.stars / 1e9
        print(f"{name:15}{files:8} files, {size / 1e9:.2f} GB; DR17: {full:.1f} GB")


def size_of(folder: Path) -> tuple[int, int]:
    """Number of files in a folder, and their bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
