"""Reading FITS files and catalogues; damage of any kind raises one error that names the file."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from spectrafm.errors import SpectraFMError

#: Values at or below this are fill values. Older releases fill unknown values with -9999 or
#: -9999.99; DR17 uses NaN.
FILL = -9000.0

#: Bytes of a catalogue read at a time.
BLOCK = 1 << 24


@contextlib.contextmanager
def opened_fits(file: Path | BinaryIO, name: str) -> Iterator[fits.HDUList]:
    """Open a FITS file for reading; errors inside the block become one that names the file.

    A file on disk is memory-mapped, since catalogues are large; a file in memory is not.

    Parameters
    ----------
    file : pathlib.Path or binary file object
    name : str
        Name of the file in error messages.

    Yields
    ------
    astropy.io.fits.HDUList

    Raises
    ------
    SpectraFMError
        When the file is missing, truncated or damaged. Damaged bytes make astropy raise errors
        of many types (OSError, TypeError, IndexError, KeyError, VerifyError ...), hence the
        broad ``except``.
    """
    with warnings.catch_warnings():
        # Non-standard cards in old releases are harmless. A truncated file is not, but astropy
        # only warns about it, so that warning becomes an error.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*truncated")
        try:
            with fits.open(file, mode="readonly", memmap=isinstance(file, Path)) as hdus:
                yield hdus
        except SpectraFMError:
            raise
        except FileNotFoundError:
            raise SpectraFMError(f"{name}: no such file") from None
        except Exception as error:
            what = " ".join(str(error).split()) or type(error).__name__
            raise SpectraFMError(f"{name}: not a whole FITS file ({what})") from None


@dataclass(frozen=True)
class Catalogue:
    """A FITS table of many rows on disk.

    Attributes
    ----------
    path : pathlib.Path
    name : str
        Name of the file in error messages.
    offset : int
        Byte at which the rows begin.
    rows : int
        Number of rows.
    row : numpy.dtype
        Type of one row on disk.
    scaled : frozenset of str
        Columns whose values on disk must be scaled (TSCAL, TZERO).
    """

    path: Path
    name: str
    offset: int
    rows: int
    row: np.dtype
    scaled: frozenset[str]

    def __len__(self) -> int:
        return self.rows

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.row.names or ()

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of rows, each with the slice of row numbers that it covers.

        Blocks are read, not memory-mapped: pages of a mapped file count as memory of the process,
        so that a scheduler would charge 4 GB for allStar to a job that keeps 0.2 GB.

        Raises
        ------
        SpectraFMError
            When the file ends before its last row.
        """
        at_once = max(1, BLOCK // self.row.itemsize)
        for start in range(0, self.rows, at_once):
            count = min(at_once, self.rows - start)
            where = self.offset + start * self.row.itemsize
            block = np.fromfile(self.path, self.row, count, offset=where)
            if len(block) < count:
                raise SpectraFMError(f"{self.name}: not a whole FITS file (truncated)")
            yield slice(start, start + count), block


def has_hdu(hdus: fits.HDUList, number: int) -> bool:
    """Whether a file has an HDU of this number, without reading the HDUs after it.

    ``len(hdus)`` reads all HDUs, and never returns if a damaged header makes the length of an HDU
    negative.
    """
    try:
        return hdus[number] is not None
    except IndexError:
        return False


@contextlib.contextmanager
def opened_catalogue(path: Path, name: str) -> Iterator[Catalogue]:
    """Open the table in HDU1 of a catalogue; see `opened_fits`.

    Raises
    ------
    SpectraFMError
        When the file is missing, truncated or damaged, or HDU1 is not a table.
    """
    with opened_fits(path, name) as hdus:
        if not has_hdu(hdus, 1) or hdus[1].is_image:
            raise SpectraFMError(f"{name}: HDU1 is not a table")
        table = hdus[1]
        scaled = {
            column.name
            for column in table.columns
            if column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0)
        }
        row = table.data.dtype
        offset = table.fileinfo()["datLoc"]
        yield Catalogue(path, name, offset, len(table.data), row, frozenset(scaled))


def read_columns(
    catalogue: Catalogue, columns: Iterable[str], integers: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Read columns of a catalogue into memory, in native byte order.

    Text is stripped of its padding. Numbers are taken as measured values and returned as floats,
    with NaN in place of fill values. Columns in ``integers`` are flags or identifiers and are
    returned as int64.

    Parameters
    ----------
    catalogue : Catalogue
    columns : iterable of str
        Names of the columns to read.
    integers : collection of str
        Those of ``columns`` that hold flags or identifiers.

    Returns
    -------
    dict of str to numpy.ndarray
        One array for each column, shape (rows,) or (rows, elements).

    Raises
    ------
    SpectraFMError
        Names the file and the columns that it lacks.
    """
    columns = list(columns)
    missing = [column for column in columns if column not in catalogue.names]
    if missing:
        raise SpectraFMError(f"{catalogue.name}: no column {', '.join(missing)}")
    for column in columns:
        if column in catalogue.scaled:
            raise SpectraFMError(f"{catalogue.name}: column {column} is scaled; not supported")
    raw = {column: np.empty(catalogue.rows, catalogue.row[column]) for column in columns}
    for rows, block in catalogue.blocks():
        for column in columns:
            raw[column][rows] = block[column]
    # One column at a time, so that memory never holds raw and native values of all columns.
    return {column: _native(raw.pop(column), column in integers) for column in columns}


def _native(values: np.ndarray, integer: bool) -> np.ndarray:
    if values.dtype.kind == "S":
        # Latin-1 decodes any byte, so that a damaged row does not prevent reading the others.
        return np.strings.strip(np.strings.decode(values, "latin-1"), " \0")
    values = values.astype(values.dtype.newbyteorder("="))
    if not integer:
        # A float type that represents every integer of the column's type.
        kind = np.promote_types(values.dtype, np.float32)
        values = values.astype(kind, copy=False)
        values[values <= FILL] = np.nan
        return values
    if values.dtype.kind == "f":
        return np.nan_to_num(values, nan=0).astype(np.int64)
    if values.dtype.itemsize == 4:
        # The sign bit of a 32-bit flag is flag bit 31.
        values = values.view(np.uint32)
    return values.astype(np.int64)
