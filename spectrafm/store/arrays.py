"""Writing Zarr v3 arrays with named dimensions, units and checksums."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

#: Codecs of each chunk: shuffle, compress, and append a checksum that zarr verifies on reading.
CODECS = (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec())


class Variable(NamedTuple):
    """A small array to be written into a store, with its dimensions and attributes."""

    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict[str, Any]


@contextlib.contextmanager
def _what_zarr_says_of_drafts() -> Iterator[None]:
    """Silence zarr's warnings about consolidated metadata and text of fixed length.

    The specification of Zarr v3 does not include either yet, but zarr 3.1 and xarray read both
    without a warning. The alternatives are worse: xarray warns if metadata are not consolidated,
    and text of variable length becomes numpy's StringDType, which FITS tables and ``astype(str)``
    refuse.
    """
    with warnings.catch_warnings():
        for message in (
            "Consolidated metadata is currently not part",
            r"The data type \(FixedLengthUTF32",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def write_array(group: zarr.Group, name: str, variable: Variable) -> None:
    """Write a small array as one chunk; text gets the length of its longest entry."""
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
    """Consolidate a group's metadata in one file, so that opening it takes one read."""
    with _what_zarr_says_of_drafts():
        zarr.consolidate_metadata(group.store)
