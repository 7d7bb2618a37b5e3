"""Opening a store, noticing what is missing or damaged, loading stars from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray
import zarr
import zarr.errors
from zarr.buffer.cpu import NDBuffer

from spectrafm.errors import SpectraFMError
from spectrafm.labels import GIANT_BELOW, PAPER_LABELS, Label
from spectrafm.manifest import check_presence, read_manifest
from spectrafm.spectra import Kind
from spectrafm.store.layout import LABEL_DIMENSION, SPECTRA, STAR_ARRAYS

_ARRAYS = (*SPECTRA, *STAR_ARRAYS, "label", "label_error", LABEL_DIMENSION, "wavelength")

#: Stars decoded at a time. What zarr decodes into before it copies is then below the 32 MiB that
#: malloc keeps for the next time: a fifth to a half less processor time than with whole shards.
AT_ONCE = 1024


@dataclass(frozen=True)
class StarSet:
    """Stars in memory, ready to be learned from or predicted.

    Attributes
    ----------
    apogee_id, split : numpy.ndarray
        Text, shape ``(stars,)``.
    wavelength : numpy.ndarray
        float64, shape ``(pixels,)``: Angstrom, vacuum, rest frame.
    flux : numpy.ndarray
        float32, shape ``(stars, pixels)``: normalised flux of the asked spectra, NaN = missing.
    flux_error : numpy.ndarray or None
        float32, shape ``(stars, pixels)``: one-sigma error of ``flux``; None where not asked for
        and for synthetic spectra.
    label, label_error : numpy.ndarray
        float32, shape ``(stars, labels)``, in the order of ``labels``; NaN = unknown.
    labels : tuple of Label
        Name, unit and symbol of each label.
    mock : bool
        Whether the stars are of the mock survey.
    columns : dict
        Values per star of the survey's own columns that were asked for and are there.
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


def open_store(path: Path) -> zarr.Group:
    """Open a store for reading, after checking that nothing of it is missing.

    A missing chunk file would read as fill values, and metadata have no checksum, so both are
    held against the store's manifest here; each chunk's checksum is checked as it is read, see
    `read`.

    Raises
    ------
    SpectraFMError
        When the path holds no store, or one without its manifest, one of its arrays or chunk
        files; names the path and the array.
    """
    path = Path(path)
    if not path.exists():
        raise SpectraFMError(f"{path}: no such store")
    check_presence(path, read_manifest(path))
    try:
        group = zarr.open_group(path, mode="r")
        present = {name for name, _ in group.arrays()}
    except (OSError, ValueError, KeyError, TypeError, zarr.errors.BaseZarrError) as error:
        raise SpectraFMError(f"{path}: not a readable Zarr store ({error})") from None
    for name in _ARRAYS:
        if name not in present:
            raise SpectraFMError(f"{path}: no array {name!r}")
    return group


def read(group: zarr.Group, name: str, rows: slice = slice(None)) -> np.ndarray:
    """Read (some rows of) an array; text comes as numpy strings.

    Raises
    ------
    SpectraFMError
        When a chunk is damaged; names the store and the array.
    """
    with _naming_damage(group, name):
        values = np.asarray(group[name][rows])
    return values if values.dtype.kind in "fib" else values.astype(object).astype(str)


@contextlib.contextmanager
def _naming_damage(group: zarr.Group, name: str) -> Iterator[None]:
    """A damaged chunk raises errors of many types in the codecs: all become one."""
    try:
        yield
    except Exception as error:
        raise SpectraFMError(
            f"{group.store_path}: array {name!r} is damaged ({error or type(error).__name__})"
        ) from None


def blocks(group: zarr.Group, stars: int) -> Iterator[slice]:
    """Rows of a store, so many stars at a time."""
    n = group["observed"].shape[0]
    for start in range(0, n, stars):
        yield slice(start, min(start + stars, n))


def load_stars(
    path: Path,
    spectra: Kind,
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
    spectra : {"observed", "synthetic"}
    split : {"train", "validation", "test"}, optional
        Default: all stars.
    windows : sequence of (float, float), optional
        Shortest and longest wavelength of each window, both included, Angstrom. Default: all
        pixels.

    Raises
    ------
    SpectraFMError
        When the store is missing, incomplete or damaged, or no pixel lies in the windows.
    """
    group = open_store(path)
    wavelength = read(group, "wavelength")
    pixels = _pixels_in(wavelength, windows)
    if not pixels.any():
        raise SpectraFMError(f"{path}: no pixel lies in the windows {list(windows or [])}")
    splits = read(group, "split")
    wanted = np.ones(len(splits), bool) if split is None else splits == split
    flux = _read_pixels(group, spectra, wanted, pixels)
    return StarSet(
        apogee_id=read(group, "apogee_id")[wanted],
        split=splits[wanted],
        wavelength=wavelength[pixels],
        flux=flux,
        label=read(group, "label")[wanted],
        label_error=read(group, "label_error")[wanted],
        labels=PAPER_LABELS,
        mock=bool(group.attrs.get("mock", False)),
    )


def _pixels_in(wavelength: np.ndarray, windows: Sequence[tuple[float, float]] | None) -> np.ndarray:
    """Mask of the pixels that lie in any of the windows."""
    if windows is None:
        return np.ones(wavelength.size, bool)
    pixels = np.zeros(wavelength.size, bool)
    for shortest, longest in windows:
        pixels |= (wavelength >= shortest) & (wavelength <= longest)
    return pixels


def _read_pixels(
    group: zarr.Group, name: str, wanted: np.ndarray, pixels: np.ndarray
) -> np.ndarray:
    """Rows and pixels of an array of spectra; what holds no wanted star is not decoded."""
    result = np.empty((np.count_nonzero(wanted), np.count_nonzero(pixels)), np.float32)
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
    """Read rows and pixels to where they shall be: another copy costs as much as a decoding."""
    with _naming_damage(group, name):
        group[name].get_basic_selection(selection, out=NDBuffer.from_numpy_array(part))


def _as_slice(mask: np.ndarray) -> slice | np.ndarray:
    """The places where a mask is true; where they are neighbours a slice, which costs no copy."""
    places = np.flatnonzero(mask)
    first, last = places[0], places[-1]
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def read_store(path: Path) -> xarray.Dataset:
    """Open a store with xarray, without loading it, after checking that nothing of it is missing.

    Raises
    ------
    SpectraFMError
        When there is none, or a part of it is missing or damaged.
    """
    check_presence(path, read_manifest(path))
    try:
        return xarray.open_zarr(path, chunks=None, consolidated=True)
    except (OSError, KeyError, ValueError) as error:
        raise SpectraFMError(f"{path}: not a readable Zarr folder ({error})") from None


class Star(NamedTuple):
    """Both spectra of one star."""

    apogee_id: str
    wavelength: np.ndarray  # (pixel,) Angstrom
    observed: np.ndarray  # (pixel,) normalised flux, NaN where missing
    synthetic: np.ndarray  # (pixel,)
    mock: bool
    stars: int  # in the whole store


def read_star(path: Path, apogee_id: str | None = None) -> Star:
    """Read a star's spectra from the store.

    Parameters
    ----------
    path : pathlib.Path
        ``store.zarr``.
    apogee_id : str, optional
        Which star; none: the first giant of the test split.

    Raises
    ------
    SpectraFMError
        When the star is not in the store, or the store has no such giant.
    """
    data = read_store(path)
    names = data["apogee_id"].values.astype(object)
    if apogee_id is None:
        logg = data["label"].sel(label_name="LOGG").values
        found = np.flatnonzero(
            (data["split"].values.astype(object) == "test") & (logg < GIANT_BELOW)
        )
        missing = f"no test star with log g < {GIANT_BELOW:g}: name one as figures.star"
    else:
        found = np.flatnonzero(names == apogee_id)
        missing = f"no star {apogee_id!r} (figures.star)"
    if found.size == 0:
        raise SpectraFMError(f"{path}: {missing}")
    star = data.isel(star=found[0])
    return Star(
        apogee_id=str(names[found[0]]),
        wavelength=data["wavelength"].values,
        observed=star["observed"].values,
        synthetic=star["synthetic"].values,
        mock=bool(data.attrs["mock"]),
        stars=names.size,
    )
