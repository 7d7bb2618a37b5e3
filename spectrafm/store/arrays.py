"""Zarr arrays as every store of this package has them: named dimensions, units, checksums."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from spectrafm.files import atomic_path
from spectrafm.integrity import write_checksums

#: Bytes shuffled and compressed, each chunk with a checksum that is verified as it is read.
CODECS = (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec())


class Variable(NamedTuple):
    """A small array on its way into a store."""

    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]


@contextlib.contextmanager
def _what_zarr_says_of_drafts() -> Iterator[None]:
    """Silence two warnings of zarr's writer: consolidated metadata and text of a fixed length.

    The specification of Zarr v3 has neither yet. zarr 3.1 and xarray read both without a warning;
    without consolidated metadata xarray warns, and text of variable length becomes numpy's
    StringDType, which FITS tables and ``astype(str)`` refuse.
    """
    with warnings.catch_warnings():
        for message in (
            "Consolidated metadata is currently not part",
            r"The data type \(FixedLengthUTF32",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def write_array(group: zarr.Group, name: str, variable: Variable) -> None:
    """Write a small array as one chunk; text has the length of the longest entry."""
    values = variable.values
    if values.dtype.kind in "OT":
        values = values.astype(str)
    if values.dtype.kind == "U" and not values.dtype.itemsize:
        values = values.astype("U1")
    with _what_zarr_says_of_drafts():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=tuple(max(size, 1) for size in values.shape),
            dtype=values.dtype,
            fill_value=np.nan if values.dtype.kind == "f" else None,
            compressors=CODECS,
            dimension_names=variable.dimensions,
            attributes=variable.attributes,
            config={"write_empty_chunks": True},
        )
        if values.size:
            array[...] = values


def consolidate(group: zarr.Group) -> None:
    """Gather all metadata in one file: one read to open, and xarray warns where it is missing."""
    with _what_zarr_says_of_drafts():
        zarr.consolidate_metadata(group.store)


def write_dataset(path: Path, variables: dict[str, Variable], attributes: dict[str, Any]) -> None:
    """Write some small arrays as one Zarr group, whole or not at all."""
    with atomic_path(path) as temporary:
        group = zarr.create_group(temporary, zarr_format=3)
        for name, variable in variables.items():
            write_array(group, name, variable)
        group.attrs.put(attributes)
        consolidate(group)
        write_checksums(temporary)
