"""Any table of spectra: CSV, ECSV, VOTable, Parquet or a FITS table; see `tables`."""

from __future__ import annotations

from pathlib import Path

from spectrafm.readers.peek import Peek, peek
from spectrafm.readers.tables import NAMES, read_table, spectra_of
from spectrafm.spectra.spectra import Spectra


def recognises(file: Peek) -> bool:
    """Any file that is a table; a FITS file whose first table has a column of flux."""
    return file.kind != "fits" or bool(file.columns(1) & set(NAMES["flux"]))


def read(path: Path) -> Spectra:
    """Read every spectrum of the table."""
    return spectra_of(read_table(path, peek(path).kind), path)
