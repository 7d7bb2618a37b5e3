"""Benchmark of writing and reading the store against loops with astropy, zarr, h5py and numpy.

python benchmarks/store.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import google_crc32c
import h5py
import hdf5plugin
import numpy as np
import zarr
from astropy.io import fits
from numcodecs import Blosc

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from fabricated_survey import fabricate
from sidebyside import ratio, sidebyside, table, write_timings

from spectrafm.files import read_parquet
from spectrafm.store.arrays import CODECS
from spectrafm.store.layout import CHUNK_STARS
from spectrafm.store.read import load_stars
from spectrafm.surveys.apogee.fetch_spectra import fetch_spectra
from spectrafm.surveys.apogee.grid import CHIP_PIXELS, N_PIXELS

#: Smallest speed, as a multiple of the peer's (processor time); a lower one is a regression.
FLOORS = {"astropy loop, zarr": 0.85, "h5py, same codec": 0.35}
BLOSC = Blosc()


def ingest(folder: Path, stars: int, rounds: int) -> dict:
    """Compare `fetch_spectra`, which also hashes, checks and masks, with loops that only read."""
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
        fetch_spectra(
            selected=selected,
            alternates=alternates,
            shard=0,
            output=folder / "000.zarr",
            missing=folder / "000.missing.parquet",
            archive=survey,
            limits=survey,
        )

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
    """Compare `load_stars` on the store that `ingest` has written with reading other formats."""
    store = folder / "000.zarr"
    # Without a flux range and without bad pixels, the loaded values are the stored ones.
    expected = load_stars(store, "observed")
    arrays = {
        name: np.strings.encode(values) if values.dtype.kind == "U" else values
        for name, values in vars(expected).items()
        if isinstance(values, np.ndarray)
    }
    write_hdf5(folder / "stars.h5", arrays)
    np.save(folder / "flux.npy", expected.flux)

    np.testing.assert_array_equal(decoded(store / "observed")[: len(expected)], expected.flux)
    for name, found in read_hdf5(folder / "stars.h5").items():
        np.testing.assert_array_equal(found, arrays[name])
    ways = {
        "spectrafm": lambda: load_stars(store, "observed"),
        "h5py, same codec": lambda: read_hdf5(folder / "stars.h5"),
        "one .npy": lambda: np.load(folder / "flux.npy"),
        "least: decode only": lambda: decoded(store / "observed"),
    }
    return sidebyside(ways, rounds)


def write_hdf5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write HDF5 with spectra in the chunks and the codec of the store, other arrays plain."""
    codec = hdf5plugin.Blosc(cname="zstd", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            spectra = values.shape[1:] == (N_PIXELS,)
            options = {"chunks": (CHUNK_STARS, N_PIXELS), **codec} if spectra else {}
            file.create_dataset(name, data=values, **options)


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: values[:] for name, values in file.items()}


def decoded(array: Path) -> np.ndarray:
    """Read an array with the least work: bytes, checksums and decoding of shards, in one thread.

    A shard ends with a table of the offsets and lengths of its chunks, and a checksum.
    """
    shards = []
    for path in sorted((array / "c").glob("*/0"), key=lambda path: int(path.parent.name)):
        content = path.read_bytes()
        chunks = zarr.open_array(array, mode="r").shards[0] // CHUNK_STARS
        places = np.frombuffer(content[-16 * chunks - 4 : -4], "<u8").reshape(chunks, 2)
        places = places[places[:, 1] < len(content)]
        shard = np.empty((len(places) * CHUNK_STARS, N_PIXELS), np.float32)
        for chunk, (start, size) in zip(np.split(shard, len(places)), places, strict=True):
            end = start + size - 4
            body, checksum = content[start:end], content[end : end + 4]
            assert google_crc32c.value(body) == int.from_bytes(checksum, "little")
            BLOSC.decode(body, out=chunk)
        shards.append(shard)
    return shards[0] if len(shards) == 1 else np.concatenate(shards)


def main() -> None:
    """Print a table of each comparison, and whether the floors are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stars", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/store.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "FITS -> store": ingest(Path(folder), given.stars, given.rounds),
            "store -> memory": load(Path(folder), given.rounds),
        }
    for title, timings in results.items():
        print(f"{title}, {given.stars} stars, {given.rounds} rounds")
        print(table(timings, "spectrafm", given.stars, "stars"))
        for peer in list(timings)[1:]:
            reached = ratio(timings, "spectrafm", peer, "cpu")
            print(f"{reached:.2f} x {peer}{_judged(reached, FLOORS.get(peer))}")
        print()
    turns = {f"{title}: {way}": t for title, ways in results.items() for way, t in ways.items()}
    write_timings(given.output, turns)


def _judged(reached: float, floor: float | None) -> str:
    if floor is None:
        return ""
    return f" (floor {floor:g} x): {'reached' if reached >= floor else 'MISSED'}"


if __name__ == "__main__":
    main()
