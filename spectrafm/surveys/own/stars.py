"""The stars of your table: their labels, and where their spectra are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

from spectrafm.archive.fits import FILL, FILLS
from spectrafm.errors import SpectraFMError
from spectrafm.labels import PAPER, Label
from spectrafm.readers.peek import peek
from spectrafm.readers.read import join_stars, read_spectra
from spectrafm.readers.tables import columns_of, first_rows, read_table, spectra_of
from spectrafm.spectra.spectrum import Spectrum
from spectrafm.surveys.own.options import LabelColumns
from spectrafm.surveys.own.options import Spectra as SpectraOptions

#: Names, in lower case, of the column with the path of each star's file, relative to the table.
FILE_COLUMNS = ("file", "path", "filename", "spectrum_file")

#: Names, in lower case, of the column with radial velocities, km/s.
VELOCITY_COLUMNS = ("radial_velocity", "rv", "vrad", "v_rad", "vhelio", "rv_kms")


@dataclass(frozen=True)
class OwnTable:
    """A table of stars.

    Attributes
    ----------
    path : pathlib.Path
    table : astropy.table.Table
        A row for each star.
    names : list of str
        Identifier of each star.
    labels : list of Label
    values, errors : numpy.ndarray
        float32, shape (stars, labels): labels and their one-sigma errors; NaN where unknown.
    velocity : numpy.ndarray
        float64, shape (stars,): km/s; NaN where unknown.
    spectra : sequence of Spectrum or None
        Those of the table; None if the table names files.
    """

    path: Path
    table: Table
    names: list[str]
    labels: list[Label]
    values: np.ndarray
    errors: np.ndarray
    velocity: np.ndarray
    spectra: Sequence[Spectrum] | None

    def each(self) -> Iterator[Spectrum | SpectraFMError]:
        """The spectrum of each star in turn, or why it cannot be read."""
        if self.spectra is not None:
            yield from self.spectra
            return
        column = _column(self.table, FILE_COLUMNS)
        for name in self.table[column]:
            path = self.path.parent / str(name)
            try:
                found = join_stars(read_spectra(path))
                if len(found) != 1:
                    raise SpectraFMError(f"{path}: {len(found)} spectra, expected one")
            except SpectraFMError as error:
                yield error
            else:
                yield found[0]


def read_own_table(path: Path, spectra: SpectraOptions, wanted: LabelColumns) -> OwnTable:
    """Read your table.

    Parameters
    ----------
    path : pathlib.Path
        A table whose columns hold spectra, or the paths of files with one spectrum each.
    spectra : SpectraOptions
    wanted : LabelColumns

    Raises
    ------
    SpectraFMError
        When the table has neither, a star is named twice or not at all, or a label is missing, has
        no unit or a negative error.
    """
    table = read_table(path, peek(path).kind)
    about = spectra.model_dump(exclude={"normaliser", "grid"})
    if "flux" in columns_of(table):
        found = spectra_of(table, path, **about)
        names = [one.name for one in found]
        stars = table[first_rows(table)]
    elif _column(table, FILE_COLUMNS) is not None:
        given = [key for key, value in about.items() if value is not None]
        if given:
            raise SpectraFMError(f"{path}: {given[0]} is what each file says, not the table")
        found, stars = None, table
        column = columns_of(table).get("name")
        files = table[_column(table, FILE_COLUMNS)]
        names = [str(name) for name in (files if column is None else table[column])]
    else:
        raise SpectraFMError(
            f"{path}: neither a column flux nor a column file; columns: "
            f"{', '.join(table.colnames[:20])}"
        )
    _check_names(path, names)
    labels, values, errors = _labels(path, stars, wanted)
    return OwnTable(path, stars, names, labels, values, errors, _velocity(stars), found)


def _column(table: Table, names: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in table.colnames}
    return next((lower[name.lower()] for name in names if name.lower() in lower), None)


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not names:
        raise SpectraFMError(f"{path}: the table is empty")
    if not all(name.strip() for name in names):
        raise SpectraFMError(f"{path}: star {[n.strip() for n in names].index('') + 1} has no name")
    unique, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise SpectraFMError(
            f"{path}: star {str(unique[counts > 1][0])!r} is in it {counts.max()} times"
        )


def _labels(
    path: Path, table: Table, wanted: LabelColumns
) -> tuple[list[Label], np.ndarray, np.ndarray]:
    """Labels with their values and errors, float32, shape (stars, labels)."""
    names = wanted.columns or [name for name in PAPER if _column(table, [name])]
    if not names:
        raise SpectraFMError(
            f"{path}: no label among the columns {', '.join(table.colnames[:20])}: name yours "
            "with --columns"
        )
    labels, values, errors = [], [], []
    for name in names:
        column = _column(table, [name])
        if column is None:
            raise SpectraFMError(f"{path}: no column {name}")
        unit, factor = _unit_of(path, table[column].unit, name, wanted)
        symbol = PAPER[name].symbol if name in PAPER else None
        labels.append(Label(name, unit, symbol or name))
        values.append(_known(path, table, column) * factor)
        of_error = _column(table, [f"{name}_ERR", f"{name}_ERROR", f"E_{name}"])
        error = np.full(len(table), np.nan)
        if of_error is not None:
            error = _known(path, table, of_error) * factor
            if (error < 0).any():
                raise SpectraFMError(f"{path}: {of_error} has a negative error")
        errors.append(error)
    stacked = [np.stack(some, axis=1).astype(np.float32) for some in (values, errors)]
    return labels, *stacked


def _unit_of(
    path: Path, unit: u.UnitBase | None, name: str, wanted: LabelColumns
) -> tuple[str, float]:
    """Unit of a label in the store, and the factor from that of the column to it."""
    usual = PAPER[name].unit if name in PAPER else None
    if unit is None:
        found = wanted.units.get(name) or usual
        if found is None:
            raise SpectraFMError(
                f"{path}: {name} has no unit: give --units '{{{name}: Gyr}}', or dex"
            )
        return found, 1.0
    if usual is None or isinstance(u.Unit(usual), u.function.FunctionUnitBase):
        return (usual or unit.to_string()), 1.0
    try:
        return usual, float(u.Unit(unit).to(u.Unit(usual)))
    except u.UnitsError:
        raise SpectraFMError(f"{path}: {name} is in {unit}, expected {usual}") from None


def _known(path: Path, table: Table, column: str) -> np.ndarray:
    """Numbers of a column, float64, with NaN in place of masked and fill values."""
    values = table[column]
    mask = getattr(values, "mask", None)
    try:
        numbers = np.array(np.ma.getdata(getattr(values, "value", values)), np.float64)
    except (TypeError, ValueError):
        raise SpectraFMError(f"{path}: column {column} holds no numbers") from None
    if numbers.ndim != 1:
        raise SpectraFMError(f"{path}: column {column} holds several numbers a star")
    unknown = ~np.isfinite(numbers) | (numbers <= FILL) | np.isin(numbers, FILLS)
    if mask is not None:
        unknown |= np.broadcast_to(np.asarray(mask), numbers.shape)
    return np.where(unknown, np.nan, numbers)


def _velocity(table: Table) -> np.ndarray:
    """Radial velocities of the stars, km/s; NaN where unknown."""
    column = _column(table, VELOCITY_COLUMNS)
    if column is None:
        return np.full(len(table), np.nan)
    unit = table[column].unit or u.km / u.s
    values = _known(Path(column), table, column)
    return values * float(u.Unit(unit).to(u.km / u.s))
