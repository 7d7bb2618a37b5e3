"""A table of labelled spectra: of each star its spectrum, or the file of it, and its labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from spectrafm.archive.fits import FILL, FILLS
from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label, error_column
from spectrafm.readers.peek import peek
from spectrafm.readers.read import join_stars, read_spectra, reading_spectra
from spectrafm.readers.tables import columns_of, first_rows, read_table, spectra_of
from spectrafm.reading import printable
from spectrafm.spectra.spectrum import Spectrum

#: Names, in lower case, of the column with the path of each star's file, relative to the table.
FILE_COLUMNS = ("file", "path", "filename", "spectrum_file", "spectrum")

#: Names, in lower case, of the column with radial velocities, km/s.
VELOCITY_COLUMNS = ("radial_velocity", "rv", "vrad", "v_rad", "vhelio", "rv_kms")


class Labels(NamedTuple):
    """Labels of some stars."""

    table: tuple[Label, ...]
    value: np.ndarray  # (stars, labels) float32; NaN where unknown
    error: np.ndarray  # (stars, labels) float32, one sigma; NaN where unknown


@dataclass(frozen=True)
class LabelledTable:
    """A table of stars.

    Attributes
    ----------
    source : str
        Its file, for messages.
    table : astropy.table.Table
        A row for each star.
    names : list of str
        Identifier of each star.
    spectra : sequence of Spectrum or None
        Those of the table; None if the table names files.
    """

    source: str
    table: Table
    names: list[str]
    spectra: Sequence[Spectrum] | None

    def __len__(self) -> int:
        return len(self.names)

    def each(self) -> Iterator[Spectrum | SpectraFMError]:
        """The spectrum of each star in turn, or why it cannot be read."""
        if self.spectra is not None:
            yield from self.spectra
            return
        for name in self.table[self.column(*FILE_COLUMNS)]:
            path = Path(self.source).parent / str(name).strip()
            try:
                found = join_stars(read_spectra(path))
                if len(found) != 1:
                    raise SpectraFMError(f"{path}: {len(found)} spectra, expected one")
            except SpectraFMError as error:
                yield error
            else:
                yield found[0]

    def at_rest(self, row: int, one: Spectrum) -> tuple[Spectrum, float | None]:
        """The spectrum of a star at rest, and the radial velocity that was removed, km/s.

        The velocity is that of the table, else that of the spectrum's file; None if neither has
        one: the spectrum is then returned as it is.
        """
        if one.frame == "rest":
            return one, 0.0
        known = self._velocity[row]
        if np.isnan(known):
            known = one.provenance.get("radial_velocity")
        return (one, None) if known is None else (one.at_rest(float(known)), float(known))

    @cached_property
    def _velocity(self) -> np.ndarray:
        """Radial velocities of the table, km/s; NaN where unknown."""
        column = self.column(*VELOCITY_COLUMNS)
        if column is None:
            return np.full(len(self), np.nan)
        unit = self.table[column].unit or u.km / u.s
        return self.numbers(column) * self._factor(column, unit, u.km / u.s)

    def column(self, *names: str) -> str | None:
        """The first column with one of these names, in capitals or not; None if there is none."""
        lower = {column.lower(): column for column in self.table.colnames}
        return next((lower[name.lower()] for name in names if name.lower() in lower), None)

    def numbers(self, column: str) -> np.ndarray:
        """Numbers of a column, float64, with NaN in place of masked and fill values.

        Raises
        ------
        SpectraFMError
            When it does not hold one number a star.
        """
        values = self.table[column]
        mask = getattr(values, "mask", None)
        try:
            numbers = np.array(np.ma.getdata(getattr(values, "value", values)), np.float64)
        except (TypeError, ValueError):
            raise SpectraFMError(f"{self.source}: column {column} holds no numbers") from None
        if numbers.ndim != 1:
            raise SpectraFMError(f"{self.source}: column {column} holds several numbers a star")
        unknown = ~np.isfinite(numbers) | (numbers <= FILL) | np.isin(numbers, FILLS)
        if mask is not None:
            unknown |= np.broadcast_to(np.asarray(mask), numbers.shape)
        return np.where(unknown, np.nan, numbers)

    def labels(
        self, names: Sequence[str], known: Mapping[str, Label], units: Mapping[str, str]
    ) -> Labels:
        """Labels of the stars.

        Parameters
        ----------
        names : sequence of str
            Columns with labels; their errors stand in ``<label>_ERR``, where there are any.
        known : mapping of str to Label
            Labels whose unit is known; a column in another unit is converted to it.
        units : mapping of str to str
            Units of other labels, for columns without a unit.

        Raises
        ------
        SpectraFMError
            When a label is missing, has no unit or one of another kind, or a negative error.
        """
        found, values, errors = [], [], []
        for name in names:
            column = self.column(name)
            if column is None:
                raise SpectraFMError(f"{self.source}: no column {name}; columns: {self._columns()}")
            unit, factor = self._unit(column, name, known, units)
            found.append(Label(name, unit, known[name].symbol if name in known else name))
            values.append(self.numbers(column) * factor)
            errors.append(np.full(len(self), np.nan))
            of_error = self.column(error_column(name), f"{name}_ERROR", f"E_{name}")
            if of_error is not None:
                errors[-1] = self.numbers(of_error) * factor
                if (errors[-1] < 0).any():
                    raise SpectraFMError(f"{self.source}: {of_error} has a negative error")
        value, error = (np.stack(some, axis=1).astype(np.float32) for some in (values, errors))
        return Labels(tuple(found), value, error)

    def named(self, labels: Sequence[str]) -> list[str]:
        """Those of some labels that the table has.

        Raises
        ------
        SpectraFMError
            When it has none.
        """
        found = [name for name in labels if self.column(name)]
        if not found:
            raise SpectraFMError(
                f"{self.source}: no label ({', '.join(labels)}) among the columns "
                f"{self._columns()}: name yours"
            )
        return found

    def _columns(self) -> str:
        return ", ".join(self.table.colnames[:20])

    def _unit(
        self, column: str, name: str, known: Mapping[str, Label], units: Mapping[str, str]
    ) -> tuple[str, float]:
        """Unit of a label, and the factor from that of its column to it."""
        usual = known[name].unit if name in known else None
        unit = self.table[column].unit
        if unit is None:
            found = usual or units.get(name)
            if found is None:
                raise SpectraFMError(
                    f"{self.source}: {name} has no unit: give --units '{{{name}: Gyr}}', in Python "
                    f"units={{{name!r}: 'Gyr'}}; or dex"
                )
            return found, 1.0
        if isinstance(unit, u.UnrecognizedUnit):
            raise SpectraFMError(
                f"{self.source}: {column} is in no known unit ({printable(str(unit))})"
            )
        if usual is None or isinstance(u.Unit(usual), u.function.FunctionUnitBase):
            return (usual or unit.to_string()), 1.0
        return usual, self._factor(column, unit, u.Unit(usual))

    def _factor(self, column: str, unit: u.UnitBase, wanted: u.UnitBase) -> float:
        """Factor from the unit of a column to another."""
        try:
            return float(unit.to(wanted))
        except (u.UnitsError, ValueError, TypeError):
            found = printable(str(unit))
            raise SpectraFMError(
                f"{self.source}: {column} is in {found}, expected {wanted}"
            ) from None


def read_labelled(path: Path, **about: Any) -> LabelledTable:
    """Read a table of labelled spectra.

    Parameters
    ----------
    path : pathlib.Path
        CSV, ECSV, VOTable, Parquet or FITS: a table whose columns hold spectra, or the paths of
        files with one spectrum each.
    **about
        What the table does not say of its spectra: see `spectrafm.readers.tables.spectra_of`.

    Raises
    ------
    SpectraFMError
        When the table has neither, or a star is named twice or not at all.
    """
    path = Path(path)
    with reading_spectra(path):
        table = read_table(path, peek(path).kind)
        whole = LabelledTable(str(path), table, [], None)
        files = whole.column(*FILE_COLUMNS)
        if "flux" in columns_of(table):
            spectra = spectra_of(table, path, **about)
            names = [one.name for one in spectra]
            found = LabelledTable(str(path), table[first_rows(table)], names, spectra)
        elif files is not None:
            given = [key for key, value in about.items() if value is not None]
            if given:
                raise SpectraFMError(f"{path}: {given[0]} is what each file says, not the table")
            names = [str(name) for name in table[columns_of(table).get("name", files)]]
            found = LabelledTable(str(path), table, names, None)
        else:
            raise SpectraFMError(
                f"{path}: neither a column flux nor a column file; columns: "
                f"{', '.join(table.colnames[:20])}"
            )
        _check_names(path, names)
        return found


def labelled_arrays(spectra: Sequence[Spectrum], labels: Mapping[str, Any]) -> LabelledTable:
    """Spectra and labels in memory, as a table.

    Parameters
    ----------
    spectra : sequence of Spectrum
    labels : mapping of str to array-like, shape (n,), or table
        Labels, and their errors as ``<label>_ERR``.

    Raises
    ------
    SpectraFMError
        When there is not one number a spectrum.
    """
    names = list(labels.colnames if hasattr(labels, "colnames") else labels)
    for name in names:
        if np.shape(labels[name]) != (len(spectra),):
            raise SpectraFMError(
                f"labels: {name} has shape {np.shape(labels[name])}, for {len(spectra)} spectra"
            )
    table = Table({name: labels[name] for name in names})
    return LabelledTable("labels", table, [one.name for one in spectra], spectra)


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
