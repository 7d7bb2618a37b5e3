"""Opening FITS files so that any damage is one error that names the file."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from spectrafm.files import SpectraFMError

#: Older releases fill unknown values with -9999 or -9999.99; DR17 uses NaN.
FILL = -9000.0


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


@contextlib.contextmanager
def opened_catalogue(path: Path, name: str) -> Iterator[fits.FITS_rec]:
    """Open the table in HDU1 of a catalogue; see `opened_fits`.

    Raises
    ------
    SpectraFMError
        Also when HDU1 is no table.
    """
    with opened_fits(path, name) as hdus:
        if len(hdus) < 2 or hdus[1].is_image:
            raise SpectraFMError(f"{name}: HDU1 is not a table")
        yield hdus[1].data


def read_columns(table: fits.FITS_rec, columns: Iterable[str], name: str) -> dict[str, np.ndarray]:
    """Read columns of a catalogue in native byte order.

    Text is stripped of its padding; measured values have NaN for fill values; integers, which
    are flags here, become int64.

    Raises
    ------
    SpectraFMError
        Naming the file and the columns that it lacks.
    """
    columns = list(columns)
    present = set(table.names)
    missing = [column for column in columns if column not in present]
    if missing:
        raise SpectraFMError(f"{name}: no column {', '.join(missing)}")
    return {column: _native(table[column]) for column in columns}


def _native(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "SU":
        return np.char.strip(np.asarray(values).astype(str))
    values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f":
        return np.where(values <= FILL, values.dtype.type(np.nan), values)
    if values.dtype.itemsize == 4:
        # The sign of a 32-bit flag is its bit 31, not a sign.
        values = values.view(np.uint32)
    return values.astype(np.int64)
