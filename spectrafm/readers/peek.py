"""A first look at a file: what kind it is, and the headers of a FITS file."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from astropy.io import fits

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.reading import reading

#: Bytes at the beginning of a file that show its kind.
HEAD = 4096

#: Largest number of HDUs whose headers are read; every known format shows itself in the first few.
MOST_HDUS = 24

Kind = Literal["fits", "parquet", "votable", "text"]


@dataclass(frozen=True)
class Peek:
    """What the beginning of a file shows.

    Attributes
    ----------
    path : pathlib.Path
    kind : {"fits", "parquet", "votable", "text"}
    headers : list of astropy.io.fits.Header
        Headers of the first HDUs of a FITS file.
    """

    path: Path
    kind: Kind
    headers: list[fits.Header] = field(default_factory=list)

    def header(self, number: int) -> fits.Header:
        """Header of an HDU; an empty one if the file has fewer."""
        return self.headers[number] if number < len(self.headers) else fits.Header()

    def names(self) -> list[str]:
        """EXTNAME of each HDU, in capitals; empty where there is none."""
        return [str(header.get("EXTNAME", "")).strip().upper() for header in self.headers]

    def columns(self, number: int) -> set[str]:
        """Names of the columns of an HDU's table, in lower case."""
        header = self.header(number)
        fields = header.get("TFIELDS", 0)
        count = fields if isinstance(fields, int) else 0
        names = (header.get(f"TTYPE{n}", "") for n in range(1, min(count, 999) + 1))
        return {str(name).strip().lower() for name in names}


def peek(path: str | os.PathLike) -> Peek:
    """Look at the beginning of a file.

    Raises
    ------
    SpectraFMError
        When the file is missing or empty, or its headers are damaged.
    """
    path = Path(path)
    with reading(path, "file of spectra"):
        with open(path, "rb") as handle:
            head = handle.read(HEAD)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as handle:
                head = handle.read(HEAD)
    if not head:
        raise SpectraFMError(f"{path}: the file is empty")
    if head.startswith(b"SIMPLE  ="):
        return Peek(path, "fits", _headers(path))
    if head.startswith(b"PAR1"):
        return Peek(path, "parquet")
    if b"<VOTABLE" in head:
        return Peek(path, "votable")
    if b"\0" in head:
        raise SpectraFMError(f"{path}: neither a FITS or Parquet file nor text")
    return Peek(path, "text")


def _headers(path: Path) -> list[fits.Header]:
    found = []
    with opened_fits(path, str(path)) as hdus:
        while len(found) < MOST_HDUS and has_hdu(hdus, len(found)):
            found.append(hdus[len(found)].header)
    return found
