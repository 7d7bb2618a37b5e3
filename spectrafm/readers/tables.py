"""Tables of spectra: the columns that hold them, whatever their names, and the file formats.

A table has either a row for each pixel, with a column of identifiers if it holds several spectra,
or a row for each spectrum, whose columns are arrays.
"""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from spectrafm.errors import SpectraFMError, SpectrumError
from spectrafm.readers.making import error_of
from spectrafm.reading import reading
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import Spectrum

#: Names, in lower case, of the columns that hold each part of a spectrum.
NAMES = {
    "wavelength": ("wavelength", "wave", "lambda", "lam", "wl", "wavelengths", "spectral_axis"),
    "loglam": ("loglam", "log_wavelength", "log_lambda"),
    "other_axis": ("frequency", "freq", "nu", "wavenumber", "energy"),
    "flux": ("flux", "fluxes", "intensity", "normalised_flux", "normalized_flux", "norm_flux"),
    "flux_error": (
        *("flux_error", "flux_err", "fluxerr", "e_flux", "error", "err", "sigma", "uncertainty"),
        *("normalised_error", "normalized_error"),
    ),
    "ivar": ("ivar", "flux_ivar", "inverse_variance"),
    "mask": ("mask", "bad", "bad_pixel"),
    "good": ("good", "good_pixel_mask", "good_pixels"),
    "name": (
        *("source_id", "name", "id", "star", "star_id", "object", "object_id", "apogee_id"),
        *("target_id", "targetid", "sobject_id", "obsid", "spectrum_id"),
    ),
}

#: The parts that can be the spectral axis, in order of preference.
AXES = ("wavelength", "loglam", "other_axis")

#: Keys of a table's metadata that say what its columns cannot.
ABOUT = ("medium", "frame", "resolution", "normalisation")

#: A unit at the end of a column's name: ``wavelength [nm]``, ``flux (Jy)``, ``wavelength_nm``.
_UNIT_IN_NAME = re.compile(r"^(.*?)\s*[\[(]\s*(.*?)\s*[\])]$")
_SUFFIXES = {"nm": u.nm, "um": u.um, "micron": u.um, "angstrom": u.AA, "aa": u.AA, "hz": u.Hz}


#: What VOTables have for a number without a unit; not every version of astropy reads it as that.
_NO_UNIT = "---"


def read_table(path: Path, kind: str, rows: int | None = None) -> Table:
    """Read a table from a CSV, ECSV, VOTable, Parquet or FITS file.

    Parameters
    ----------
    path : pathlib.Path
    kind : str
        `spectrafm.readers.peek.Peek.kind`.
    rows : int, optional
        Read only so many rows, where the format allows it.

    Raises
    ------
    SpectraFMError
        When the file is damaged.
    """
    formats = {"votable": "votable", "parquet": "parquet", "fits": "fits"}
    with reading(path, f"{kind} table"), warnings.catch_warnings():
        # Harmless departures from a standard, and lengths of texts in Parquet.
        warnings.simplefilter("ignore")
        logging.getLogger("astropy").setLevel(logging.ERROR)
        if kind in formats:
            more = {"hdu": 1} if kind == "fits" else {}
            table = Table.read(path, format=formats[kind], **more)
            # Keywords of FITS headers are in capitals.
            table.meta = {str(key).lower(): value for key, value in table.meta.items()}
            for column in table.itercols():
                if str(column.unit) == _NO_UNIT:
                    column.unit = u.one
            return table
        with open(path, encoding="utf-8-sig") as handle:
            first = handle.readline()
        if first.startswith("# %ECSV"):
            return Table.read(path, format="ascii.ecsv")
        return _csv(path, rows)


def _csv(path: Path, rows: int | None) -> Table:
    """A text table; its separator is that of the line with the column names."""
    import pandas as pd

    with open(path, encoding="utf-8-sig") as handle:
        names = next((line for line in handle if line.strip() and line[0] != "#"), "")
    separator = next((mark for mark in ",;\t|" if mark in names), r"\s+")
    frame = pd.read_csv(
        path, sep=separator, comment="#", nrows=rows, skipinitialspace=True, encoding="utf-8-sig"
    )
    if any(str(name).lstrip("-+").replace(".", "", 1).isdigit() for name in frame.columns):
        raise SpectraFMError(
            f"{path}: the first line has no names of columns, such as wavelength,flux,flux_error"
        )
    return Table.from_pandas(frame)


def columns_of(table: Table) -> dict[str, str]:
    """The column that holds each part of a spectrum: a key of `NAMES` -> name in the table."""
    bare = {}
    for name in table.colnames:
        bare.setdefault(_bare(name)[0], name)
    return {
        part: next(bare[name] for name in names if name in bare)
        for part, names in NAMES.items()
        if any(name in bare for name in names)
    }


def _bare(name: str) -> tuple[str, u.UnitBase | None]:
    """Name of a column in lower case without the unit in it, and the unit."""
    lower = name.strip().lower()
    matched = _UNIT_IN_NAME.match(name.strip())
    if matched:
        try:
            return matched[1].strip().lower(), u.Unit(matched[2])
        except ValueError:
            return lower, None
    base, _, suffix = lower.rpartition("_")
    if base and suffix in _SUFFIXES:
        return base, _SUFFIXES[suffix]
    return lower, None


def spectra_of(table: Table, path: Path, **given: Any) -> Spectra:
    """The spectra of a table.

    Parameters
    ----------
    table : astropy.table.Table
    path : pathlib.Path
        Its file, for messages and as the source.
    **given
        ``wavelength_unit`` and ``flux_unit`` for columns without a unit; ``medium``, ``frame``,
        ``resolution``, ``normalisation``. What is not given here may stand in the table's metadata.

    Raises
    ------
    SpectraFMError
        When a column is missing.
    SpectrumError
        When the arrays are no spectra.
    """
    found = columns_of(table)
    axis = next((found[part] for part in AXES if part in found), None)
    if "flux" not in found or (axis is None and "wavelength" not in table.meta):
        missing = "flux" if "flux" not in found else "wavelength"
        raise SpectraFMError(
            f"{path}: no column {missing}; columns: {', '.join(table.colnames[:20]) or 'none'}"
        )
    about = {key: given.get(key) or table.meta.get(key) for key in ABOUT}
    if about["normalisation"] is None and "norm" in found["flux"].lower():
        about["normalisation"] = "as given"
    units = {"wavelength": given.get("wavelength_unit"), "flux": given.get("flux_unit")}
    if _is_array(table[found["flux"]]):
        rows = [(_name(table, found, path, row), table[row]) for row in range(len(table))]
    else:
        rows = _groups(table, found, path)
    if not rows:
        raise SpectraFMError(f"{path}: the table is empty")
    return Spectra.of(
        [_spectrum(part, table, found, axis, name, path, units, about) for name, part in rows]
    )


class First(NamedTuple):
    """The first spectrum of a table."""

    pixels: int
    wavelength: np.ndarray | None  # (pixels,), as the column has it
    is_row: bool  # whether it is a row of arrays


def first_spectrum(table: Table) -> First:
    """Size and wavelengths of the first spectrum of a table with a column of flux.

    Raises
    ------
    SpectraFMError
        When its entries are no numbers.
    """
    found = columns_of(table)
    is_row = _is_array(table[found["flux"]])
    part = table[0] if is_row else _groups(table, found, Path("table"))[0][1]
    flux = _numbers(part[found["flux"]], "the first spectrum", "flux")[0]
    wavelength = None
    if "wavelength" in found:
        wavelength = _numbers(part[found["wavelength"]], "the first spectrum", "wavelength")[0]
        wavelength = wavelength if wavelength.shape == flux.shape else None
    return First(flux.size, wavelength, is_row)


def first_rows(table: Table) -> np.ndarray:
    """Number of the first row of each spectrum of a table, in the order of `spectra_of`."""
    found = columns_of(table)
    if _is_array(table[found["flux"]]):
        return np.arange(len(table))
    if "name" not in found:
        return np.arange(min(len(table), 1))
    names = np.asarray(table[found["name"]]).astype(str)
    return np.sort(np.unique(names, return_index=True)[1])


def _is_array(column: Any) -> bool:
    """Whether each entry of a column is an array, or a text that lists numbers."""
    if column.ndim > 1:
        return True
    if column.dtype.kind in "OUS" and len(column):
        first = column[0]
        return np.ndim(first) > 0 or str(first).lstrip()[:1] in ("[", "(")
    return False


def _name(table: Table, found: dict[str, str], path: Path, row: int) -> str:
    if "name" in found:
        return str(table[found["name"]][row])
    return path.name if len(table) == 1 else f"{path.name} row {row + 1}"


def _groups(table: Table, found: dict[str, str], path: Path) -> list[tuple[str, Table]]:
    """The rows of each spectrum, in the order in which they first appear."""
    if "name" not in found or not len(table):
        name = next((str(table.meta[key]) for key in NAMES["name"] if key in table.meta), path.name)
        return [(name, table)] if len(table) else []
    names = np.asarray(table[found["name"]]).astype(str)
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1])
    return [(names[first[n]], table[parts[n]]) for n in np.argsort(first)]


def _spectrum(
    part: Any,
    table: Table,
    found: dict[str, str],
    axis: str | None,
    name: str,
    path: Path,
    units: dict[str, Any],
    about: dict[str, Any],
) -> Spectrum:
    def column(key: str) -> tuple[np.ndarray, np.ndarray | None, u.UnitBase | None]:
        values, mask = _numbers(part[found[key]], name, key)
        unit = table[found[key]].unit or _bare(found[key])[1]
        return values, mask, unit if unit is None else u.Unit(unit)

    if axis is None:
        wavelength, unit = np.asarray(table.meta["wavelength"], np.float64), units["wavelength"]
        unit = unit or table.meta.get("wavelength_unit")
    else:
        key = next(key for key in AXES if found.get(key) == axis)
        wavelength, _, unit = column(key)
        if key == "loglam":
            with np.errstate(over="ignore"):
                wavelength, unit = 10.0**wavelength, unit or u.AA
        unit = unit or units["wavelength"]
    flux, masked, flux_unit = column("flux")
    flux_unit = flux_unit or (None if units["flux"] is None else u.Unit(units["flux"]))
    bad = np.zeros(len(flux), bool) if masked is None else masked
    error = None
    if "flux_error" in found:
        error, _, error_unit = column("flux_error")
        error = error * (error_unit or flux_unit or u.one)
    elif "ivar" in found:
        error = error_of(column("ivar")[0]) * (flux_unit or u.one)
    for key in ("mask", "good"):
        if key in found:
            values = _numbers(part[found[key]], name, key)[0] != 0
            if values.shape != flux.shape:
                raise SpectrumError(name, key, f"{len(values)} pixels, but flux has {len(flux)}")
            bad = bad | (values if key == "mask" else ~values)
    (one,) = Spectra(
        flux if flux_unit is None else flux * flux_unit,
        wavelength if unit is None else wavelength * u.Unit(unit),
        error,
        bad,
        names=name,
        **about,
    )
    return one.replace(source=str(path), provenance={**one.provenance, "format": "table"})


def _numbers(values: Any, name: str, field: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers and mask of a column, or of one entry, which may be a text that lists them."""
    if isinstance(values, str | bytes):
        text = values.decode() if isinstance(values, bytes) else values
        try:
            values = np.array([float(n) for n in re.split(r"[,\s]+", text.strip(" []()\n")) if n])
        except ValueError:
            raise SpectrumError(name, field, "a text that lists no numbers") from None
    mask = getattr(values, "mask", None)
    mask = np.array(mask) if mask is not None and np.ndim(mask) else None
    values = getattr(values, "unmasked", values)
    values = np.ma.getdata(getattr(values, "value", values))
    try:
        return np.asarray(values).astype(np.float64), mask
    except (ValueError, TypeError):
        raise SpectrumError(name, field, "holds no numbers") from None
