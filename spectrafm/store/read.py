"""Opening a store, detecting missing or damaged files, and loading stars from it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import zarr
from zarr.buffer.cpu import NDBuffer

from spectrafm.errors import SpectraFMError
from spectrafm.integrity import check_presence
from spectrafm.labels import GIANT_BELOW, PAPER_LABELS, Label
from spectrafm.reading import printable, reading
from spectrafm.spectra import Kind, pixel_mask
from spectrafm.store.contents import NEEDED, check_contents, check_sizes
from spectrafm.store.layout import LABEL_DIMENSION, SHARD, SPECTRA, Column
from spectrafm.store.schema import check_schema

if TYPE_CHECKING:
    import xarray

#: Stars read at once. 1024 keeps zarr's buffer under malloc's 32 MiB threshold, which saves 20 to
#: 50 % of the processor time compared with reading whole shards.
AT_ONCE = 1024


@dataclass(frozen=True)
class StarSet:
    """Stars in memory, for training or prediction.

    Attributes
    ----------
    apogee_id, split : numpy.ndarray
        Text, shape (stars,).
    wavelength : numpy.ndarray
        float64, shape (pixels,): Angstrom, vacuum, rest frame.
    flux : numpy.ndarray
        float32, shape (stars, pixels): normalised flux of one kind of spectra; NaN: missing.
    flux_error : numpy.ndarray or None
        float32, shape (stars, pixels): one-sigma error of ``flux``, NaN where ``flux`` is NaN;
        None if not wanted, and for synthetic spectra.
    label, label_error : numpy.ndarray
        float32, shape (stars, labels), in the order of ``labels``; NaN: unknown.
    labels : tuple of Label
        Name, unit and symbol of each label.
    mock : bool
        Whether the stars are from the mock survey.
    columns : dict of str to numpy.ndarray
        Values per star of the wanted survey columns that the store has.
    """

    apogee_id: np.ndarray
    split: np.ndarray
    wavelength: np.ndarray
    flux: np.ndarray
    label: np.ndarray
    label_error: np.ndarray
    labels: tuple[Label, ...]
    mock: bool
    flux_error: np.ndarray | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.apogee_id)


class Star(NamedTuple):
    """The spectra of one star."""

    apogee_id: str
    wavelength: np.ndarray  # (pixel,) Angstrom
    observed: np.ndarray  # (pixel,) normalised flux, NaN where missing
    synthetic: np.ndarray  # (pixel,); NaN where the store has no synthetic spectra
    mock: bool
    stars: int  # number of stars in the whole store


def open_store(path: Path) -> zarr.Group:
    """Open a store, or a shard of one, for reading, after checking all but its spectra.

    zarr reads a missing chunk file as fill values, and metadata have no checksum, so both are
    compared with the store's checksum list here; then the metadata with what SpectraFM writes, and
    the small arrays with each other. The checksum of each chunk is verified when `read` reads it.

    Raises
    ------
    SpectraFMError
        When the path is not a store, lacks its checksum list, an array or a chunk file, or holds
        what SpectraFM does not write; names the path and the array.
    """
    path = Path(path)
    if not path.exists():
        raise SpectraFMError(f"{path}: no such store")
    check_sizes(path, check_schema(path, check_presence(path)))
    with reading(path, "Zarr store"):
        group = zarr.open_group(path, mode="r", zarr_format=3)
        labels = labels_of(group)
        check_contents(path, dict(group.attrs), functools.partial(read, group), labels)
    return group


def open_whole_store(path: Path) -> zarr.Group:
    """Open a store as `open_store` does, and refuse a shard, which has the same layout.

    Raises
    ------
    SpectraFMError
        Also when the path is a shard.
    """
    group = open_store(path)
    if SHARD in group.attrs:
        raise SpectraFMError(
            f"{path}: is shard {group.attrs[SHARD]} of a store, not a store: build-store joins them"
        )
    return group


def read_store(path: Path) -> xarray.Dataset:
    """Open a store as an `xarray.Dataset`, after checking its files; data are read on access.

    The dataset has dimensions, coordinates, units and flag meanings, for interactive use and
    figures. It opens any Zarr group of this package, such as attention maps. Training and
    prediction use `load_stars` instead.

    Raises
    ------
    SpectraFMError
        When the path is not a Zarr group, or the group lacks its checksum list or a file, or holds
        what SpectraFM does not write.
    """
    import xarray

    path = Path(path)
    if not path.exists():
        raise SpectraFMError(f"{path}: no such store")
    check_schema(path, check_presence(path))
    with reading(path, "Zarr folder"):
        return xarray.open_zarr(path, chunks=None, consolidated=True, zarr_format=3)


def labels_of(group: zarr.Group) -> tuple[Label, ...]:
    """Name, unit and symbol of each label of a store."""
    names = read(group, LABEL_DIMENSION).tolist()
    if "unit" in group and "symbol" in group:
        units, symbols = read(group, "unit").tolist(), read(group, "symbol").tolist()
        return tuple(map(Label, names, units, symbols))
    # Older stores have the paper's labels.
    known = {label.name: label for label in PAPER_LABELS}
    return tuple(known.get(name, Label(name, "dex", name)) for name in names)


def columns_of(group: zarr.Group) -> tuple[Column, ...]:
    """Descriptions of the survey's columns in a store, rebuilt from the arrays' attributes."""
    every = {*SPECTRA, *NEEDED}
    columns = []
    for name, array in group.arrays():
        dimensions = array.metadata.dimension_names or ()
        if name in every or dimensions[:1] != ("star",):
            continue
        attributes = dict(array.attrs)
        flags = None
        if "flag_meanings" in attributes:
            bits = [mask.bit_length() - 1 for mask in attributes["flag_masks"]]
            flags = dict(zip(attributes["flag_meanings"].split(), bits, strict=True))
        second = dimensions[1] if len(dimensions) > 1 else ""
        entries = read(group, second).tolist() if second else []
        columns.append(
            Column(
                name,
                array.dtype.type if array.dtype.kind in "fiub" else str,
                attributes.get("long_name", name),
                attributes.get("units"),
                flags,
                second,
                entries,
                [f"{name}_{entry}" for entry in entries],
            )
        )
    return tuple(columns)


def read(group: zarr.Group, name: str, rows: slice = slice(None)) -> np.ndarray:
    """Read an array of a store, or some rows of it; text is returned as numpy strings.

    Raises
    ------
    SpectraFMError
        When a chunk is damaged; names the store and the array.
    """
    with _naming_damage(group, name):
        values = np.asarray(group[name][rows])
        if values.dtype.kind in "fiub":
            return values
        # Text of older stores is numpy's StringDType, which does not cast directly to fixed length.
        return values.astype(object).astype(str)


@contextlib.contextmanager
def _naming_damage(group: zarr.Group, name: str) -> Iterator[None]:
    """Turn any error from reading a damaged chunk into a `SpectraFMError` naming the array."""
    try:
        yield
    except Exception as error:
        path = str(group.store_path).removeprefix("file://")
        raise SpectraFMError(
            f"{path}: array {name!r} is damaged ({printable(str(error)) or type(error).__name__})"
        ) from None


def blocks(group: zarr.Group, stars: int) -> Iterator[slice]:
    """Yield slices that cover the rows of a store, ``stars`` rows at a time."""
    n = group["observed"].shape[0]
    for start in range(0, n, stars):
        yield slice(start, min(start + stars, n))


def load_stars(
    path: Path,
    kind: Kind,
    split: str | None = None,
    windows: Sequence[tuple[float, float]] | None = None,
    flux_range: tuple[float, float] | None = None,
    errors: bool = False,
    columns: Sequence[str] = (),
) -> StarSet:
    """Load the stars of one side of the split, and the pixels of some windows, into memory.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    kind : {"observed", "synthetic"}
        Kind of spectra to load.
    split : {"train", "validation", "test"}, optional
        Default: all stars.
    windows : sequence of (float, float), optional
        Shortest and longest wavelength of each window, both included, Angstrom. Default: all
        pixels.
    flux_range : (float, float), optional
        Lowest and highest normalised flux: a pixel outside is missing. Default: no limit.
    errors : bool
        Whether ``flux_error`` is loaded too; observed spectra only.
    columns : sequence of str
        Survey columns to load, such as ``snr``; those that the store lacks are left out.

    Returns
    -------
    StarSet

    Raises
    ------
    SpectraFMError
        When the store is missing, incomplete or damaged, has no spectra of this kind, or no pixel
        lies in a window.
    """
    group = open_whole_store(path)
    if kind not in group:
        raise SpectraFMError(f"{path}: has no {kind} spectra")
    wavelength = read(group, "wavelength")
    pixels = pixel_mask(wavelength, windows, str(path))
    splits = read(group, "split")
    wanted = np.ones(len(splits), bool) if split is None else splits == split
    flux = _read_pixels(group, kind, wanted, pixels)
    mask = flux_error = None
    if kind == "observed":
        mask = _read_pixels(group, "mask", wanted, pixels) if "mask" in group else None
        flux_error = _read_pixels(group, "observed_error", wanted, pixels) if errors else None
    low, high = flux_range or (-np.inf, np.inf)
    for start in range(0, len(flux), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        some = flux[rows]
        bad = ~(np.isfinite(some) & (some >= low) & (some <= high))
        if mask is not None:
            bad |= mask[rows]
        some[bad] = np.nan
        if flux_error is not None:
            flux_error[rows][bad] = np.nan
            if (flux_error[rows] < 0).any():
                raise SpectraFMError(f"{path}: array 'observed_error' has a negative error")
    labels = labels_of(group)
    label = read(group, "label")[wanted]
    found = {name: _column(group, name, labels) for name in columns}
    return StarSet(
        apogee_id=read(group, "apogee_id")[wanted],
        split=splits[wanted],
        wavelength=wavelength[pixels],
        flux=flux,
        flux_error=flux_error,
        label=label,
        label_error=read(group, "label_error")[wanted],
        labels=labels,
        mock=bool(group.attrs.get("mock", False)),
        columns={name: values[wanted] for name, values in found.items() if values is not None},
    )


def _column(group: zarr.Group, name: str, labels: Sequence[Label]) -> np.ndarray | None:
    """A column of a store, else the label of the same name, else None.

    Older stores have ``teff``, ``logg`` and ``fe_h`` as labels only.
    """
    if name in group:
        return read(group, name)
    names = [label.name for label in labels]
    if name.upper() in names:
        return read(group, "label")[:, names.index(name.upper())]
    return None


def _read_pixels(
    group: zarr.Group, name: str, wanted: np.ndarray, pixels: np.ndarray
) -> np.ndarray:
    """Read rows and pixels of an array of spectra; blocks without a wanted star are skipped."""
    shape = np.count_nonzero(wanted), np.count_nonzero(pixels)
    result = np.empty(shape, group[name].dtype)
    columns = _as_slice(pixels)
    filled = 0
    for rows in blocks(group, AT_ONCE):
        chosen = wanted[rows]
        part = result[filled : filled + np.count_nonzero(chosen)]
        if len(part) == len(chosen) and isinstance(columns, slice):
            _read_into(part, group, name, (rows, columns))
        elif len(part):
            np.compress(chosen, read(group, name, rows)[:, columns], axis=0, out=part)
        filled += len(part)
    return result


def _read_into(
    part: np.ndarray, group: zarr.Group, name: str, selection: tuple[slice, slice]
) -> None:
    """Read rows and pixels directly into ``part``; a copy would cost as much as the decoding."""
    with _naming_damage(group, name):
        group[name].get_basic_selection(selection, out=NDBuffer.from_numpy_array(part))


def _as_slice(mask: np.ndarray) -> slice | np.ndarray:
    """Indices where a mask is true; a slice, which needs no copy, if they are contiguous."""
    places = np.flatnonzero(mask)
    first, last = places[0], places[-1]
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def read_star(path: Path, apogee_id: str | None = None) -> Star:
    """Read the spectra of one star.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    apogee_id : str, optional
        Identifier of the star. Default: the first giant of the test split.

    Raises
    ------
    SpectraFMError
        When the star is not in the store, or the test split has no giant.
    """
    group = open_whole_store(path)
    names = read(group, "apogee_id")
    if apogee_id is None:
        logg = _column(group, "logg", labels_of(group))
        giants = np.zeros(len(names), bool) if logg is None else logg < GIANT_BELOW
        found = np.flatnonzero((read(group, "split") == "test") & giants)
        lacking = f"no test star with log g < {GIANT_BELOW:g}: name one as figures.star"
    else:
        found = np.flatnonzero(names == apogee_id)
        lacking = f"no star {apogee_id!r} (figures.star)"
    if found.size == 0:
        raise SpectraFMError(f"{path}: {lacking}")
    rows = slice(found[0], found[0] + 1)
    observed = read(group, "observed", rows)[0]
    if "mask" in group:
        observed = np.where(read(group, "mask", rows)[0], np.float32(np.nan), observed)
    synthetic = np.full_like(observed, np.nan)
    if "synthetic" in group:
        synthetic = read(group, "synthetic", rows)[0]
    return Star(
        apogee_id=str(names[found[0]]),
        wavelength=read(group, "wavelength"),
        observed=observed,
        synthetic=synthetic,
        mock=bool(group.attrs.get("mock", False)),
        stars=names.size,
    )
