"""Digests of a run's decoded contents, equal for two runs that computed the same values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr
from safetensors.numpy import load_file

from spectrafm.files import read_parquet


def contents(results: Path) -> dict[str, str]:
    """SHA-256 of each array, table and set of weights in ``results/<run>``, by name.

    Times, versions and paths in the files do not enter the digests.
    """
    return {
        name: hashlib.sha256(value).hexdigest()
        for decode in (_arrays, _weights, _tables, _texts)
        for name, value in decode(results)
    }


def _arrays(results: Path) -> Iterator[tuple[str, bytes]]:
    for store in sorted(results.glob("**/*.zarr")):
        for name, array in zarr.open_group(store, mode="r").arrays():
            values = np.asarray(array[...])
            yield f"{store.relative_to(results)}/{name}", _bytes(values)


def _bytes(values: np.ndarray) -> bytes:
    if values.dtype.kind in "fiub":
        return f"{values.dtype} {values.shape}".encode() + values.tobytes()
    return json.dumps(values.tolist()).encode()


def _weights(results: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(results.glob("models/*/model.safetensors")):
        for name, values in sorted(load_file(path).items()):
            yield f"{path.relative_to(results)}/{name}", _bytes(values)


def _tables(results: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(results.glob("**/*.parquet")):
        yield str(path.relative_to(results)), read_parquet(path).to_csv().encode()


def _texts(results: Path) -> Iterator[tuple[str, bytes]]:
    for pattern in ("models/*/metrics.csv", "tables/table1.csv", "catalogue/*.csv"):
        for path in sorted(results.glob(pattern)):
            yield str(path.relative_to(results)), path.read_bytes()
