"""Opening FITS files so that any damage is one error that names the file."""

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

#: Older releases fill unknown values with -9999 or -9999.99; DR17 uses NaN.
FILL = -9000.0

#: Bytes of a catalogue read at a time.
BLOCK = 1 << 24


@contextlib.contextmanager
def opened_fits(file: Path | BinaryIO, name: str) -> Iterator[fits.HDUList]:
    """Open a FITS file for reading; whatever goes wrong inside the block names the file.

    A file on disk is memory-mapped (the catalogues are large), a file in memory is not.

    Parameters
    ----------
    file : pathlib.Path or binary file object
    name : str
        How the file is called in error messages.

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
        # Old releases carry cards that are not standard: harmless. A file cut short is not,
        # though astropy only warns of it.
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
    """A table of many rows on disk.

    Attributes
    ----------
    path : pathlib.Path
    name : str
        How the file is called in error messages.
    offset : int
        Byte at which the rows begin.
    rows : int
    row : numpy.dtype
        One row as it lies on disk.
    scaled : frozenset of str
        Columns whose values are not those on disk (TSCAL, TZERO).
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
        """The columns."""
        return self.row.names or ()

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows, a few at a time, and which ones they are.

        Reading, not mapping: pages of a mapped file count as memory of the process, so that a
        scheduler would see 4 GB of allStar in a job that keeps 0.2.
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
    """Whether an HDU is there, without reading on behind it as ``len(hdus)`` does.

    Where a damaged header makes the length of an HDU negative, that never ends.
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
        Also when HDU1 is no table.
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
    """Read columns of a catalogue in native byte order; of the others nothing is kept.

    Text is stripped of its padding. Numbers are measured values: floats, with NaN for fill values.
    Those of ``integers`` are flags or identifiers: int64, as they are.

    Parameters
    ----------
    catalogue : Catalogue
    columns : iterable of str
    integers : collection of str
        Which of them are no measured values.

    Raises
    ------
    SpectraFMError
        Naming the file and the columns that it lacks.
    """
    columns = list(columns)
    missing = [column for column in columns if column not in catalogue.names]
    if missing:
        raise SpectraFMError(f"{catalogue.name}: no column {', '.join(missing)}")
    for column in columns:
        if column in catalogue.scaled:
            raise SpectraFMError(f"{catalogue.name}: column {column} is scaled, as no release's is")
    raw = {column: np.empty(catalogue.rows, catalogue.row[column]) for column in columns}
    for rows, block in catalogue.blocks():
        for column in columns:
            raw[column][rows] = block[column]
    # One after the other, so that raw and native values of all columns never stand side by side.
    return {column: _native(raw.pop(column), column in integers) for column in columns}


def _native(values: np.ndarray, integer: bool) -> np.ndarray:
    if values.dtype.kind == "S":
        # Whatever bytes a row holds, the other rows can be read: Latin-1 knows all of them.
        return np.strings.strip(np.strings.decode(values, "latin-1"), " \0")
    values = values.astype(values.dtype.newbyteorder("="))
    if not integer:
        # A float that holds every integer of the column's size.
        kind = np.promote_types(values.dtype, np.float32)
        values = values.astype(kind, copy=False)
        values[values <= FILL] = np.nan
        return values
    if values.dtype.kind == "f":
        return np.nan_to_num(values, nan=0).astype(np.int64)
    if values.dtype.itemsize == 4:
        # The sign of a 32-bit flag is its bit 31, not a sign.
        values = values.view(np.uint32)
    return values.astype(np.int64)
