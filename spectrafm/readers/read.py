"""Reading spectra from files of any known format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from spectrafm.errors import SpectraFMError, SpectrumError
from spectrafm.plugs import load
from spectrafm.readers import READERS
from spectrafm.readers.peek import Peek, peek
from spectrafm.reading import reading
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import Spectrum, join_arms


def read_spectra(path: str | os.PathLike, format: str | None = None) -> Spectra:
    """Read every spectrum of a file.

    Parameters
    ----------
    path : pathlib.Path or str
    format : str, optional
        A key of `spectrafm.readers.READERS`. Default: recognised by the file's content.

    Returns
    -------
    spectrafm.spectra.Spectra

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged, or has no known format; the message names it.
    """
    path = Path(path)
    if format is not None and format not in READERS:
        raise SpectraFMError(f"no format {format!r}; known: {', '.join(READERS)}")
    with reading_spectra(path):
        return load(f"{READERS[format or format_of(peek(path))]}:read")(path)


@contextlib.contextmanager
def reading_spectra(path: Path) -> Iterator[None]:
    """Turn any error inside the block into a `SpectraFMError` that names the file.

    Damaged bytes make parsers raise errors of many types, in headers as in data.
    """
    with reading(path, "file of spectra"), np.errstate(all="ignore"):
        try:
            yield
        except SpectrumError as error:
            raise SpectraFMError(f"{path}: {error}") from None


def format_of(file: Peek) -> str:
    """The first format that recognises a file.

    Raises
    ------
    SpectraFMError
        When none does.
    """
    for name, module in READERS.items():
        if load(f"{module}:recognises")(file):
            return name
    parts = [name or "no name" for name in file.names()] or ["none"]
    raise SpectraFMError(
        f"{file.path}: a FITS file of no known format (HDUs: {', '.join(parts[:8])}); known: "
        f"{', '.join(READERS)}. Give it as a table with columns wavelength, flux and flux_error"
    )


def join_stars(spectra: Iterable[Spectrum]) -> Spectra:
    """Join the arms of each star, where a format has a file for each arm.

    Parameters
    ----------
    spectra : iterable of spectrafm.spectra.Spectrum
        Those with the same ``provenance["arm_of"]`` are arms of one spectrum.
    """
    arms: dict[str, list[Spectrum]] = {}
    for number, one in enumerate(spectra):
        arms.setdefault(str(one.provenance.get("arm_of", f"no arm {number}")), []).append(one)
    return Spectra.of(join_arms(parts) if len(parts) > 1 else parts[0] for parts in arms.values())
