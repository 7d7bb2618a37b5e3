"""Reading FITS files and catalogues; damage of any kind raises one error that names the file."""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from spectrafm.errors import SpectraFMError

#: Values at or below this are fill values. Older releases fill unknown values with -9999 or
#: -9999.99; DR17 uses NaN.
FILL = -9000.0

#: Fill values above it, which only an equal value is: DR16 has them among errors.
FILLS = (-999.0, -999.99)

#: TZERO of a column of unsigned integers, by bytes (FITS standard 4.0, section 5.2.5).
_UNSIGNED = {2: 1 << 15, 4: 1 << 31, 8: 1 << 63}

_NONE: Mapping[str, int] = {}

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
class ColumnType:
    """What the header of a table says of a column.

    Attributes
    ----------
    code : str
        Letter of its TFORM, such as ``E``.
    unsigned : bool
        Whether the values on disk are unsigned integers less half of their range.
    scaled : bool
        Whether they must be scaled otherwise (TSCAL, TZERO).
    null : int or None
        Integer that stands for an unknown value (TNULL).
    """

    code: str
    unsigned: bool
    scaled: bool
    null: int | None


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
    columns : mapping of str to ColumnType
    """

    path: Path
    name: str
    offset: int
    rows: int
    row: np.dtype
    columns: Mapping[str, ColumnType]

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
        # Copies made before the data are touched: a column of a table with data holds its values.
        described = [copy.copy(column) for column in table.columns]
        row = table.data.dtype
        columns = {column.name: _type_of(column, row[column.name]) for column in described}
        offset = table.fileinfo()["datLoc"]
        yield Catalogue(path, name, offset, len(table.data), row, columns)


def _type_of(column: fits.Column, dtype: np.dtype) -> ColumnType:
    zero, scale = column.bzero or 0, column.bscale or 1
    unsigned = dtype.kind == "i" and scale == 1 and zero == _UNSIGNED.get(dtype.itemsize)
    null = column.null if isinstance(column.null, int) else None
    code = re.sub(r"^\d*", "", str(column.format))[:1]
    return ColumnType(code, unsigned, not unsigned and (scale, zero) != (1, 0), null)


def read_columns(
    catalogue: Catalogue,
    columns: Iterable[str],
    *,
    texts: Collection[str] = (),
    integers: Mapping[str, int] = _NONE,
    vectors: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Read columns of a catalogue into memory, in native byte order.

    Numbers are taken as measured values, whatever their type, and returned as floats, with NaN in
    place of fill values and infinities.

    Parameters
    ----------
    catalogue : Catalogue
    columns : iterable of str
        Names of the columns to read: one number a row, unless another parameter names them.
    texts : collection of str
        Those of ``columns`` that hold text; it is stripped of its padding.
    integers : mapping of str to int
        Those that hold flags or identifiers, with the value that an unknown one gets; they are
        returned as int64.
    vectors : collection of str
        Those that hold several numbers a row.

    Returns
    -------
    dict of str to numpy.ndarray
        One array for each column, shape (rows,) or (rows, elements).

    Raises
    ------
    SpectraFMError
        Names the file and the columns that it lacks, or that hold something else.
    """
    columns = list(columns)
    missing = [column for column in columns if column not in catalogue.names]
    if missing:
        raise SpectraFMError(f"{catalogue.name}: no column {', '.join(missing)}")
    for column in columns:
        wanted = "text" if column in texts else "numbers" if column in vectors else "one number"
        found = _content_of(catalogue, column)
        if found != wanted:
            raise SpectraFMError(
                f"{catalogue.name}: column {column} holds {found} a row, expected {wanted}"
            )
    raw = {column: np.empty(catalogue.rows, catalogue.row[column]) for column in columns}
    for rows, block in catalogue.blocks():
        for column in columns:
            raw[column][rows] = block[column]
    # One column at a time, so that memory never holds raw and native values of all columns.
    made = {}
    for column in columns:
        values, kind = raw.pop(column), catalogue.columns[column]
        if column in texts:
            made[column] = _text(values)
        elif column in integers:
            made[column] = _flags(values, kind, integers[column])
        else:
            made[column] = _measured(values, kind)
    return made


def _content_of(catalogue: Catalogue, column: str) -> str:
    """What a column holds in each row: text, one number, numbers, or what is not supported."""
    kind, dtype = catalogue.columns[column], catalogue.row[column]
    if kind.scaled:
        return "scaled values"
    if kind.code in "PQ":
        return "a list of variable length"
    if kind.code in "LX" or kind.code not in "ABIJKED":
        return {"L": "true or false", "X": "bits"}.get(kind.code, "values of another type")
    if kind.code == "A":
        return "several texts" if dtype.shape else "text"
    return "one number" if dtype.shape in ((), (1,)) else "numbers"


def _text(values: np.ndarray) -> np.ndarray:
    # Latin-1 decodes any byte, so that a damaged row does not prevent reading the others.
    return np.strings.strip(np.strings.decode(values, "latin-1"), " \0")


def _native(values: np.ndarray, kind: ColumnType) -> np.ndarray:
    """Values in native byte order; unsigned integers as such."""
    values = values.astype(values.dtype.newbyteorder("="))
    if values.shape[1:] == (1,):
        values = values[:, 0]
    if kind.unsigned:
        unsigned = np.dtype(f"u{values.dtype.itemsize}")
        values = values.view(unsigned) ^ unsigned.type(_UNSIGNED[values.dtype.itemsize])
    return values


def _unknown(values: np.ndarray, kind: ColumnType) -> np.ndarray:
    """Mask of the numbers that stand for an unknown value, also where a sign was lost."""
    if values.dtype.kind == "f":
        fills = [values == values.dtype.type(fill) for fill in FILLS]
        return ~np.isfinite(values) | (values <= FILL) | np.logical_or(*fills)
    unknown = np.zeros(values.shape, bool)
    if kind.null is not None:
        # TNULL is the value on disk.
        unknown |= values == kind.null + (_UNSIGNED[values.dtype.itemsize] if kind.unsigned else 0)
    if values.dtype.kind == "i":
        return unknown | (values <= FILL) | (values == FILLS[0])
    if values.dtype.itemsize > 1:
        for fill in (-9999, int(FILLS[0])):
            unknown |= values == (1 << 8 * values.dtype.itemsize) + fill
    return unknown


def _measured(values: np.ndarray, kind: ColumnType) -> np.ndarray:
    values = _native(values, kind)
    unknown = _unknown(values, kind)
    # A float type that represents every integer of the column's type.
    values = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    values[unknown] = np.nan
    return values


def _flags(values: np.ndarray, kind: ColumnType, where_unknown: int) -> np.ndarray:
    values = _native(values, kind)
    if values.dtype.kind == "f":
        unknown = _unknown(values, kind) | (np.abs(values) >= 2.0**63)
        values = np.where(unknown, 0, values)
    else:
        # The sign bit of a 32-bit flag is flag bit 31, and a damaged flag may have any bits.
        unknown = _filled_flags(values, kind)
        if values.dtype.kind == "i" and values.dtype.itemsize == 4:
            values = values.view(np.uint32)
    return np.where(unknown, where_unknown, values.astype(np.int64))


def _filled_flags(values: np.ndarray, kind: ColumnType) -> np.ndarray:
    """Mask of the flags that are a fill value; any other negative number is a set of bits."""
    if values.dtype.kind != "i":
        return _unknown(values, kind)
    null = values == kind.null if kind.null is not None else False
    return (values == -9999) | (values == int(FILLS[0])) | null
