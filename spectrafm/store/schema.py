"""What a Zarr folder must be before any of its chunks is decoded; nothing in it is trusted.

A store may come from a stranger, who can also write a checksum list that fits it. Hence the
metadata are compared with what SpectraFM writes: Zarr format 3, the codecs of
`spectrafm.store.arrays`, plain types of numbers and text, exactly the chunk files that the shapes
need, and no shape that the bytes on disk cannot fill. Nothing here decodes a chunk or allocates by
a shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from spectrafm.errors import SpectraFMError
from spectrafm.reading import printable, problem_in, read_untrusted_json

#: Largest file of metadata, bytes.
LARGEST_METADATA = 16 << 20

#: An array up to this size is read however well it is compressed, bytes ...
SMALL = 256 << 20

#: ... and a larger one has at most this many bytes for each byte on disk. The mask of a survey has
#: 180, spectra have 2 to 6.
DENSEST = 1000

#: Largest number of characters of a text of fixed length, and of dimensions.
LONGEST_TEXT = 4096
MOST_DIMENSIONS = 3

#: Bytes of an item by Zarr's name of the type; ``string`` is the text of older versions.
SIZES = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4,
    "uint64": 8, "float32": 4, "float64": 8, "string": 1,
}  # fmt: skip


#: Attributes by which xarray would change the values of an array.
_DECODED = ("scale_factor", "add_offset", "_Unsigned", "dtype", "missing_value", "calendar")


class ArrayFacts(NamedTuple):
    """Shape and type of an array, from its checked metadata."""

    shape: tuple[int, ...]
    dtype: str  # Zarr's name; text of fixed length: fixed_length_utf32
    dimensions: tuple[str, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Blosc(_Strict):
    typesize: int = Field(ge=1, le=4 * LONGEST_TEXT)
    cname: Literal["zstd"]
    clevel: int = Field(ge=0, le=9)
    shuffle: Literal["shuffle"]
    blocksize: int = Field(ge=0, le=1 << 30)


class _BloscCodec(_Strict):
    name: Literal["blosc"]
    configuration: _Blosc


class _Endian(_Strict):
    endian: Literal["little"] = "little"


class _BytesCodec(_Strict):
    name: Literal["bytes"]
    configuration: _Endian = _Endian()


class _Nothing(_Strict):
    pass


class _TextCodec(_Strict):
    name: Literal["vlen-utf8"]
    configuration: _Nothing = _Nothing()


class _CrcCodec(_Strict):
    name: Literal["crc32c"]
    configuration: _Nothing = _Nothing()


Size = Annotated[int, Field(ge=0, le=1 << 40)]
_Chunk = Annotated[list[Annotated[int, Field(ge=1, le=1 << 40)]], Field(max_length=3)]
_Plain = tuple[_BytesCodec | _TextCodec, _BloscCodec, _CrcCodec]


class _Sharding(_Strict):
    chunk_shape: _Chunk
    codecs: tuple[_BytesCodec, _BloscCodec, _CrcCodec]
    index_codecs: tuple[_BytesCodec, _CrcCodec]
    index_location: Literal["end"]


class _ShardingCodec(_Strict):
    name: Literal["sharding_indexed"]
    configuration: _Sharding


class _Chunks(_Strict):
    chunk_shape: _Chunk


class _Grid(_Strict):
    name: Literal["regular"]
    configuration: _Chunks


class _Separator(_Strict):
    separator: Literal["/"]


class _Keys(_Strict):
    name: Literal["default"]
    configuration: _Separator


class _TextLength(_Strict):
    length_bytes: int = Field(ge=4, le=4 * LONGEST_TEXT, multiple_of=4)


class _Text(_Strict):
    name: Literal["fixed_length_utf32"]
    configuration: _TextLength


class _Array(_Strict):
    """Metadata of an array in ``zarr.json``."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: list[Size] = Field(max_length=MOST_DIMENSIONS)
    data_type: Literal[tuple(SIZES)] | _Text
    chunk_grid: _Grid
    chunk_key_encoding: _Keys
    fill_value: bool | int | float | str
    codecs: _Plain | tuple[_ShardingCodec]
    attributes: dict[str, Any] = {}
    dimension_names: list[str] | None = None
    storage_transformers: list[Any] = Field([], max_length=0)

    @field_validator("attributes")
    @classmethod
    def _no_decoding(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        for name in _DECODED:
            if name in attributes:
                raise ValueError(f"{name!r} would make xarray show other values than zarr")
        return attributes


class _Group(BaseModel):
    """Metadata of the whole folder; older versions did not consolidate those of its arrays."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any] = {}
    consolidated_metadata: dict[str, Any] | None = None


def check_schema(folder: Path, listed: Mapping[str, str]) -> dict[str, ArrayFacts]:
    """Check the metadata of a Zarr folder and the presence and size of its chunk files.

    Parameters
    ----------
    folder : pathlib.Path
        A group of arrays, without groups inside it.
    listed : mapping
        The folder's checksum list, with which its files have been compared.

    Returns
    -------
    dict of str to ArrayFacts

    Raises
    ------
    SpectraFMError
        Names the array, and what of it SpectraFM does not write.
    """
    group = _valid(_Group, _metadata(folder, "zarr.json"), f"{folder / 'zarr.json'}")
    names = sorted({name.split("/")[0] for name in listed if "/" in name})
    chunks: dict[str, set[str]] = {name: set() for name in names}
    raw = {}
    for file in listed:
        name, _, within = file.partition("/")
        if within == "zarr.json":
            raw[name] = _metadata(folder, file)
        elif within:
            chunks[name].add(within)
        elif name != "zarr.json":
            raise SpectraFMError(f"{folder}: {printable(name)} is no part of a Zarr folder")
    _check_consolidated(folder, group.consolidated_metadata, raw)
    found = {}
    for name in names:
        if name not in raw:
            raise SpectraFMError(f"{folder}: array {printable(name)!r} has no zarr.json")
        what = f"{folder}: array {printable(name)!r}"
        array = _valid(_Array, raw[name], what)
        _check_chunks(folder / name, what, array, chunks[name])
        dtype = array.data_type if isinstance(array.data_type, str) else array.data_type.name
        found[name] = ArrayFacts(tuple(array.shape), dtype, tuple(array.dimension_names or ()))
    return found


def _metadata(folder: Path, name: str) -> Any:
    """Read a ``zarr.json``, of bounded size."""
    path = folder / name
    try:
        if path.stat().st_size > LARGEST_METADATA:
            raise SpectraFMError(
                f"{path}: {path.stat().st_size:,} bytes are more than metadata has"
            )
        return json.loads(read_untrusted_json(path))
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file, so not a Zarr folder of format 3") from None
    except RecursionError:
        raise SpectraFMError(f"{path}: not JSON (nested too deeply)") from None
    except (ValueError, OSError) as error:
        raise SpectraFMError(f"{path}: not JSON ({printable(str(error))})") from None


def _valid(model: type[BaseModel], content: Any, what: str) -> Any:
    try:
        # JSON mode: arrays of JSON are lists, also where a tuple is wanted.
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise SpectraFMError(
            f"{what} is not as SpectraFM writes it ({problem_in(error)})"
        ) from None


def _check_consolidated(folder: Path, consolidated: dict | None, raw: Mapping[str, Any]) -> None:
    """Check that the metadata which zarr reads first are those of the arrays."""
    if consolidated is None:
        return
    metadata = consolidated.get("metadata")
    if not isinstance(metadata, dict) or metadata.keys() != raw.keys():
        raise SpectraFMError(f"{folder}: zarr.json does not describe the arrays of the folder")
    for name, described in metadata.items():
        # Not equal by ==: 1 would equal True, and NaN nothing.
        if json.dumps(described, sort_keys=True) != json.dumps(raw[name], sort_keys=True):
            raise SpectraFMError(
                f"{folder}: array {printable(name)!r} has other metadata than zarr.json says"
            )


def _check_chunks(folder: Path, what: str, array: _Array, present: set[str]) -> None:
    """Check that the chunk files are those of the shape, and that their bytes can fill it."""
    shape, chunk = array.shape, array.chunk_grid.configuration.chunk_shape
    if len(shape) != len(chunk) or (
        array.dimension_names is not None and len(array.dimension_names) != len(shape)
    ):
        raise SpectraFMError(f"{what} has chunks or dimensions of another number than its shape")
    counts = [-(-size // step) for size, step in zip(shape, chunk, strict=True)]
    if math.prod(counts) != len(present):
        raise SpectraFMError(
            f"{what} of shape {shape} needs {math.prod(counts):,} chunk files, not {len(present):,}"
        )
    for key in _keys(counts):
        if key not in present:
            raise SpectraFMError(f"{what} lacks its chunk file {key}")
    item = SIZES.get(array.data_type, 1) if isinstance(array.data_type, str) else None
    size = math.prod(shape) * (item or array.data_type.configuration.length_bytes)
    stored = sum((folder / key).stat().st_size for key in present)
    if size > max(SMALL, DENSEST * stored):
        raise SpectraFMError(
            f"{what} of shape {shape} would have {size:,} bytes, but its files have {stored:,}"
        )
    inner = array.codecs[0]
    if isinstance(inner, _ShardingCodec):
        _check_shards(folder, what, shape, chunk, inner.configuration.chunk_shape)


def _check_shards(
    folder: Path, what: str, shape: list[int], shard: list[int], chunk: list[int]
) -> None:
    """Check that each shard file has every chunk of its rows; zarr reads a lost one as fill values.

    A shard ends with the offset and the length of each of its chunks, and a checksum of these.
    """
    if shape[1:] != shard[1:] or shard[1:] != chunk[1:] or shard[0] % chunk[0]:
        raise SpectraFMError(f"{what} has shards or chunks that are not whole rows")
    chunks = shard[0] // chunk[0]
    length = 16 * chunks + 4
    for number in range(-(-shape[0] // shard[0])):
        path = folder / "c" / str(number) / "/".join("0" for _ in shape[1:])
        size = path.stat().st_size
        if size < length:
            raise SpectraFMError(
                f"{what} is damaged ({path} has {size:,} bytes, less than an index)"
            )
        with open(path, "rb") as handle:
            handle.seek(size - length)
            index = np.frombuffer(handle.read(length - 4), "<u8").reshape(chunks, 2)
        rows = min(shard[0], shape[0] - number * shard[0])
        needed = index[: -(-rows // chunk[0])]
        # A lost chunk has the largest number there is as offset and as length.
        if (needed > size).any() or (needed.sum(axis=1) > size).any():
            lost = int(np.argmax((needed > size).any(axis=1)))
            raise SpectraFMError(f"{what} lacks chunk {lost} in its file {path}")


def _keys(counts: list[int]) -> Iterator[str]:
    """Names of the chunk files of a grid of chunks, ``c/0/0`` ..."""
    keys = ["c"]
    for count in counts:
        keys = [f"{key}/{number}" for key in keys for number in range(count)]
    yield from keys
