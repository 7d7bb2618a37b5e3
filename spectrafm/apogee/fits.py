"""Opening FITS files so that any damage is one error that names the file."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from astropy.io import fits

from spectrafm.files import SpectraFMError


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
