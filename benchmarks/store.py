"""From FITS files to a store, and from the store to memory, against what someone new would write.

python benchmarks/store.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import zarr
from astropy.io import fits

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from fabricated_survey import fabricate
from sidebyside import ratio, sidebyside, table, write_timings

from spectrafm.apogee.grid import CHIP_PIXELS, N_PIXELS
from spectrafm.files import read_parquet
from spectrafm.store.arrays import CODECS
from spectrafm.store.layout import CHUNK_STARS
from spectrafm.store.load import load_stars
from spectrafm.store.shard import fetch_spectra

#: Slower than these many times the peer's speed is a regression (processor time).
FLOORS = {"astropy loop, zarr": 0.85, "h5py, same codec": 0.35, "one .npy": 0.12}


def ingest(folder: Path, stars: int, rounds: int) -> dict:
    """FITS files to a store: fetched, hashed, checked and masked, against a loop that reads."""
    survey, selected, alternates = fabricate(folder, stars, shards=1)
    paths = [Path(survey.source) / path for path in read_parquet(selected)["path"]]

    def spectra_in_loop() -> dict[str, np.ndarray]:
        spectra = {name: np.empty((stars, N_PIXELS), np.float32) for name in ("flux", "err", "fit")}
        for index, path in enumerate(paths):
            with fits.open(path) as hdus:
                for number, name in enumerate(spectra, start=1):
                    spectra[name][index] = hdus[number].data[CHIP_PIXELS]
        return spectra

    def loop_to_zarr() -> None:
        group = zarr.create_group(folder / "loop.zarr", overwrite=True)
        for name, values in spectra_in_loop().items():
            group.create_array(
                name, data=values, chunks=(CHUNK_STARS, N_PIXELS), compressors=CODECS
            )

    def loop_to_npz() -> None:
        np.savez(folder / "loop.npz", **spectra_in_loop())

    def spectrafm() -> None:
        outputs = (folder / "000.zarr", folder / "000.missing.parquet")
        fetch_spectra(selected, alternates, 0, *outputs, survey)

    ways = {
        "spectrafm": spectrafm,
        "astropy loop, zarr": loop_to_zarr,
        "astropy loop, npz": loop_to_npz,
    }
    timings = sidebyside(ways, rounds)
    with np.load(folder / "loop.npz") as loop:
        stored = load_stars(folder / "000.zarr", "synthetic").flux
        np.testing.assert_array_equal(stored, loop["fit"])
    return timings


def load(folder: Path, rounds: int) -> dict:
    """The store that `ingest` left to memory: observed flux and its errors."""
    store = folder / "000.zarr"
    expected = load_stars(store, "observed")
    arrays = {"flux": expected.flux, "error": expected.flux_error}
    codec = hdf5plugin.Blosc(cname="zstd", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    with h5py.File(folder / "same.h5", "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, chunks=(CHUNK_STARS, N_PIXELS), **codec)
    np.save(folder / "plain.npy", np.stack([*arrays.values()]))

    def from_hdf5() -> list[np.ndarray]:
        with h5py.File(folder / "same.h5") as file:
            return [file[name][:] for name in arrays]

    for found, values in zip(from_hdf5(), arrays.values(), strict=True):
        np.testing.assert_array_equal(found, values)
    ways = {
        "spectrafm": lambda: load_stars(store, "observed"),
        "h5py, same codec": from_hdf5,
        "one .npy": lambda: np.load(folder / "plain.npy"),
    }
    return sidebyside(ways, rounds)


def main() -> None:
    """Print one table of each comparison, and the floors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/store.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ingested = ingest(Path(folder), given.stars, given.rounds)
        loaded = load(Path(folder), given.rounds)
    for title, timings in (("FITS -> store", ingested), ("store -> memory", loaded)):
        print(f"{title}, {given.stars} stars, {given.rounds} rounds")
        print(table(timings, "spectrafm", given.stars, "stars"), end="\n\n")
    for timings in (ingested, loaded):
        for peer in list(timings)[1:]:
            reached = ratio(timings, "spectrafm", peer, "cpu")
            print(f"{reached:.2f} x {peer}{_judged(reached, FLOORS.get(peer))}")
    write_timings(given.output, ingested | {f"load {n}": t for n, t in loaded.items()})


def _judged(reached: float, floor: float | None) -> str:
    if floor is None:
        return ""
    return f" (floor {floor:g} x): {'reached' if reached >= floor else 'MISSED'}"


if __name__ == "__main__":
    main()
