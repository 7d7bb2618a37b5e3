"""Spectra as figures need them: one star of the store, lines that stop at the detector gaps."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray

from spectrafm.errors import SpectraFMError
from spectrafm.manifest import check_presence, read_manifest

#: log g below which a star counts as a giant (paper section 4.2).
GIANT = 3.0


class Star(NamedTuple):
    """Both spectra of one star."""

    apogee_id: str
    wavelength: np.ndarray  # (pixel,) Angstrom
    observed: np.ndarray  # (pixel,) normalised flux, NaN where missing
    synthetic: np.ndarray  # (pixel,)
    mock: bool
    stars: int  # in the whole store


def open_zarr(path: Path) -> xarray.Dataset:
    """Open a Zarr folder of this package without loading it.

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


def read_star(store: Path, apogee_id: str | None = None) -> Star:
    """Read a star's spectra from the store.

    Parameters
    ----------
    store : path
        ``store.zarr``.
    apogee_id : str, optional
        Which star; none: the first giant of the test split.

    Raises
    ------
    SpectraFMError
        When the star is not in the store, or the store has no such giant.
    """
    data = open_zarr(store)
    names = data["apogee_id"].values.astype(object)
    if apogee_id is None:
        logg = data["label"].sel(label_name="LOGG").values
        found = np.flatnonzero((data["split"].values.astype(object) == "test") & (logg < GIANT))
        missing = f"no test star with log g < {GIANT:g}: name one as figures.star"
    else:
        found = np.flatnonzero(names == apogee_id)
        missing = f"no star {apogee_id!r} (figures.star)"
    if found.size == 0:
        raise SpectraFMError(f"{store}: {missing}")
    star = data.isel(star=found[0])
    return Star(
        apogee_id=str(names[found[0]]),
        wavelength=data["wavelength"].values,
        observed=star["observed"].values,
        synthetic=star["synthetic"].values,
        mock=bool(data.attrs["mock"]),
        stars=names.size,
    )


def gaps(wavelength: np.ndarray) -> list[tuple[float, float]]:
    """Stretches without pixels between the detectors, Angstrom.

    Parameters
    ----------
    wavelength : (pixel,) array
        Increasing, Angstrom.
    """
    steps = np.diff(wavelength)
    wide = np.flatnonzero(steps > 3 * np.median(steps)) if steps.size else []
    return [(wavelength[i], wavelength[i + 1]) for i in wide]


def with_gaps(wavelength: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put a NaN into each gap, so that a plotted line does not cross it.

    Parameters
    ----------
    wavelength, values : (pixel,) array

    Returns
    -------
    tuple of (pixel + gap,) array
    """
    middles = [(start + stop) / 2 for start, stop in gaps(wavelength)]
    places = np.searchsorted(wavelength, middles)
    return np.insert(wavelength, places, middles), np.insert(values, places, np.nan)


def within(wavelength: np.ndarray, windows: list) -> np.ndarray:
    """Which pixels lie in any of the windows (Angstrom), as a (pixel,) bool array."""
    return np.any([(wavelength >= lo) & (wavelength <= hi) for lo, hi in windows], axis=0)
