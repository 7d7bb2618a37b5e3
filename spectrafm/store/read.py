"""Opening a store, detecting missing or damaged files, and loading stars from it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.buffer.cpu import NDBuffer

from spectrafm.errors import SpectraFMError
from spectrafm.integrity import check_presence
from spectrafm.labels import PAPER_LABELS, Label, fulfils, names_in
from spectrafm.reading import problem_in, reading
from spectrafm.spectra import Kind, pixel_mask
from spectrafm.store.contents import NEEDED, check_contents, check_sizes
from spectrafm.store.layout import LABEL_DIMENSION, SHARD, SPECTRA, Column
from spectrafm.store.schema import check_schema
from spectrafm.store.star_set import APOGEE_NORMALISER, StarSet

if TYPE_CHECKING:
    import xarray

#: Stars read at once. 1024 keeps zarr's buffer under malloc's 32 MiB threshold, which saves 20 to
#: 50 % of the processor time compared with reading whole shards.
AT_ONCE = 1024


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
    for name, array in sorted(group.arrays()):
        dimensions = array.metadata.dimension_names or ()
        if name in every or dimensions[:1] != ("star",):
            continue
        attributes = dict(array.attrs)
        flags = None
        with _naming_damage(group, name):
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
        raise SpectraFMError(f"{path}: array {name!r} is damaged ({problem_in(error)})") from None


def blocks(group: zarr.Group, stars: int) -> Iterator[slice]:
    """Yield slices that cover the rows of a store, ``stars`` rows at a time."""
    n = group["observed"].shape[0]
    for start in range(0, n, stars):
        yield slice(start, min(start + stars, n))


class StarReader:
    """Reader of the stars of one side of the split, some at a time.

    The labels and columns of all stars are read once, some 0.2 kB a star; spectra are read as they
    are asked for.

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
        Whether ``flux_error`` is loaded too; synthetic spectra have no noise: zeros.
    columns : sequence of str
        Survey columns to load, such as ``snr``; those that the store lacks are left out.
    where : str, optional
        Condition on labels or columns, such as ``LOGG < 3.5``. Default: all stars.

    Attributes
    ----------
    wavelength, labels, mock, normalisation
        As in `StarSet`.

    Raises
    ------
    SpectraFMError
        When the store is missing, incomplete or damaged, has no spectra of this kind, or no pixel
        lies in a window.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        split: str | None = None,
        windows: Sequence[tuple[float, float]] | None = None,
        flux_range: tuple[float, float] | None = None,
        errors: bool = False,
        columns: Sequence[str] = (),
        where: str | None = None,
    ):
        group = self._group = open_whole_store(path)
        self._path = path
        if kind not in group:
            raise SpectraFMError(f"{path}: has no {kind} spectra")
        wavelength = read(group, "wavelength")
        self._kind, self._errors = kind, errors
        self._range = flux_range or (-np.inf, np.inf)
        self._pixels = pixel_mask(wavelength, windows, str(path))
        splits = read(group, "split")
        chosen = (splits == split) | (split is None)
        self.wavelength = wavelength[self._pixels]
        self.labels = labels_of(group)
        if where is not None:
            named = dict.fromkeys([*(label.name for label in self.labels), *names_in(where)])
            values = ((name, column(group, name, self.labels)) for name in named)
            chosen &= fulfils(where, {name: found for name, found in values if found is not None})
        self._rows = rows = np.flatnonzero(chosen)
        self.mock = bool(group.attrs.get("mock", False))
        self.survey, self.release, self.acknowledgement = (
            str(group.attrs.get(name, "")) for name in ("survey", "release", "acknowledgement")
        )
        self.normalisation = str(group.attrs.get("normalisation", APOGEE_NORMALISER))
        self.resolution = resolution_of(group.attrs)
        self._of_stars = {
            "split": splits[rows],
            **{name: read(group, name)[rows] for name in ("apogee_id", "label", "label_error")},
        }
        found = {name: column(group, name, self.labels) for name in columns}
        self._columns = {name: values[rows] for name, values in found.items() if values is not None}

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, stars: slice = slice(None)) -> StarSet:
        """Load some of the stars, by their places among those of this reader, into memory.

        Raises
        ------
        SpectraFMError
            When a chunk is damaged or an error negative; names the store and the array.
        """
        group, rows = self._group, self._rows[stars]
        flux = _read_pixels(group, self._kind, rows, self._pixels)
        mask = flux_error = None
        if self._kind == "observed" and "mask" in group:
            mask = _read_pixels(group, "mask", rows, self._pixels)
        if self._errors and self._kind == "observed":
            flux_error = _read_pixels(group, "observed_error", rows, self._pixels)
        elif self._errors:
            flux_error = np.zeros_like(flux)
        low, high = self._range
        for start in range(0, len(flux), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            some = flux[part]
            bad = ~(np.isfinite(some) & (some >= low) & (some <= high))
            if mask is not None:
                bad |= mask[part]
            some[bad] = np.nan
            if flux_error is not None:
                flux_error[part][bad] = np.nan
                if (flux_error[part] < 0).any():
                    raise SpectraFMError(f"{self._path}: array 'observed_error' is negative")
        return StarSet(
            wavelength=self.wavelength,
            flux=flux,
            flux_error=flux_error,
            labels=self.labels,
            mock=self.mock,
            survey=self.survey,
            release=self.release,
            acknowledgement=self.acknowledgement,
            normalisation=self.normalisation,
            resolution=self.resolution,
            columns={name: values[stars] for name, values in self._columns.items()},
            **{name: values[stars] for name, values in self._of_stars.items()},
        )

    def blocks(self, stars: int) -> Iterator[StarSet]:
        """Load the stars in blocks; the last may be smaller, and an only one empty."""
        for start in range(0, max(len(self), 1), stars):
            yield self.load(slice(start, start + stars))


def resolution_of(attributes: Mapping[str, Any]) -> float | None:
    """Resolving power that a store's attributes name; None for a store that names none."""
    value = attributes.get("resolution")
    known = isinstance(value, int | float) and np.isfinite(value) and value > 1
    return float(value) if known else None


def load_stars(
    path: Path,
    kind: Kind,
    split: str | None = None,
    windows: Sequence[tuple[float, float]] | None = None,
    flux_range: tuple[float, float] | None = None,
    errors: bool = False,
    columns: Sequence[str] = (),
) -> StarSet:
    """Load all the stars of a `StarReader`, whose parameters and errors these are, into memory."""
    return StarReader(path, kind, split, windows, flux_range, errors, columns).load()


def column(group: zarr.Group, name: str, labels: Sequence[Label]) -> np.ndarray | None:
    """A column of a store, else the label of the same name, else None.

    Older stores have ``teff``, ``logg`` and ``fe_h`` as labels only.
    """
    if name in group:
        return read(group, name)
    names = [label.name for label in labels]
    known = [one for one in (name, name.upper()) if one in names]
    return read(group, "label")[:, names.index(known[0])] if known else None


def _read_pixels(group: zarr.Group, name: str, stars: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Read some stars, by increasing numbers of their rows, and pixels of an array of spectra."""
    result = np.empty((len(stars), np.count_nonzero(pixels)), group[name].dtype)
    columns = _as_slice(pixels)
    filled = 0
    while filled < len(stars):
        # A block starts at a multiple of its size, so that no chunk is decoded twice.
        first = int(stars[filled])
        end = (first // AT_ONCE + 1) * AT_ONCE
        count = np.searchsorted(stars[filled : filled + AT_ONCE], end)
        chosen = stars[filled : filled + count]
        rows = slice(first, int(chosen[-1]) + 1)
        part = result[filled : filled + count]
        if count == rows.stop - rows.start and isinstance(columns, slice):
            _read_into(part, group, name, (rows, columns))
        else:
            np.take(read(group, name, rows)[:, columns], chosen - first, axis=0, out=part)
        filled += count
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
