"""Labelled spectra of a user: a table of files or spectra, and a store that a stage learns from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.inference.answers import as_stars
from spectrafm.inference.model import TrainedModel
from spectrafm.labels import Label, error_column
from spectrafm.readers.peek import peek
from spectrafm.readers.read import read_spectra
from spectrafm.readers.tables import read_table
from spectrafm.spectra.spectra import Spectra
from spectrafm.store.layout import Column, Stars, write_store

logger = logging.getLogger(__name__)

#: Columns of a table that may name the file of each star's spectrum.
FILE_COLUMNS = ("file", "path", "filename", "spectrum")

#: Share of a window of the model that spectra cover at least, for it to be read.
COVERED = 0.5


@dataclass(frozen=True)
class Labelled:
    """Labelled spectra on one wavelength grid.

    Attributes
    ----------
    names : list of str
    wavelength : numpy.ndarray, shape (P,), Angstrom
    flux, error : numpy.ndarray, shape (n, P), float32
        As the network reads them; NaN where missing.
    snr : numpy.ndarray, shape (n,)
    label, label_error : numpy.ndarray, shape (n, R), float32
        NaN where unknown.
    labels : tuple of Label
    windows : list of (float, float), Angstrom
    inputs : dict of str to numpy.ndarray, shape (n,), float32
        Further numbers that the model reads; NaN where unknown.
    """

    names: list[str]
    wavelength: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    snr: np.ndarray
    label: np.ndarray
    label_error: np.ndarray
    labels: tuple[Label, ...]
    windows: list[tuple[float, float]]
    inputs: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.names)

    def write(self, path: Path, split: np.ndarray, mock: bool = False) -> Path:
        """Write a store of those stars that have a side of the split.

        Parameters
        ----------
        path : pathlib.Path
        split : numpy.ndarray of str, shape (n,)
            ``train``, ``validation``, ``test``, or empty: left out.
        """
        rows = np.flatnonzero(split != "")
        table = pd.DataFrame(
            {
                "apogee_id": [f"{self.names[row]}#{row}" for row in rows],
                "split": split[rows],
                "snr": self.snr[rows],
                **{name: values[rows] for name, values in self.inputs.items()},
            }
        )
        for place, label in enumerate(self.labels):
            table[label.name] = self.label[rows, place]
            table[error_column(label.name)] = self.label_error[rows, place]
        flux = self.flux[rows]
        spectra = {
            "observed": flux,
            "observed_error": np.where(np.isfinite(flux), self.error[rows], np.nan).astype("f4"),
            "mask": ~np.isfinite(flux),
        }
        write_store(
            path,
            [Stars(table, spectra)],
            {"title": "labelled spectra of a user", "mock": mock},
            wavelength=self.wavelength,
            labels=self.labels,
            columns=(
                Column("snr", np.float32, "signal-to-noise ratio", "1"),
                *(Column(name, np.float32, f"input {name}") for name in self.inputs),
            ),
            synthetic=False,
        )
        return path


def read_labelled(path: Path) -> tuple[Spectra, dict[str, Any]]:
    """Read a table of labelled spectra.

    The table holds the spectra themselves, one a row, or a column of `FILE_COLUMNS` with a file
    each, relative to the table; its other columns are labels.

    Parameters
    ----------
    path : pathlib.Path
        CSV, ECSV, VOTable, Parquet or FITS.

    Returns
    -------
    spectra : Spectra
    columns : dict of str to column
        Every other column by name, one value a spectrum.

    Raises
    ------
    SpectraFMError
        When the table or one of its files cannot be read, or holds something else.
    """
    path = Path(path)
    table = read_table(path, peek(path).kind)
    named = next((name for name in table.colnames if name.lower() in FILE_COLUMNS), None)
    if named is None:
        spectra = read_spectra(path)
        if len(spectra) != len(table):
            raise SpectraFMError(
                f"{path}: no column {' or '.join(FILE_COLUMNS)} that names each star's file, and "
                f"not a spectrum a row ({len(spectra)} spectra in {len(table)} rows)"
            )
    else:
        each = []
        for text in table[named]:
            found = read_spectra(path.parent / str(text).strip())
            if len(found) != 1:
                raise SpectraFMError(f"{path}: {text}: holds {len(found)} spectra, not one")
            each.append(found[0])
        spectra = Spectra.of(each)
    return spectra, {name: table[name] for name in table.colnames if name != named}


def labelled(
    trained: TrainedModel,
    spectra: Spectra,
    columns: Mapping[str, Any],
    wanted: Sequence[str] | None,
    units: Mapping[str, str] | None = None,
) -> Labelled:
    """Put labelled spectra on one wavelength grid, as the model reads them.

    Parameters
    ----------
    trained : TrainedModel
        The model to start from.
    spectra : Spectra
    columns : mapping of str to array-like, shape (n,)
        Labels, and their errors as ``<label>_ERR``.
    wanted : sequence of str, optional
        Labels to learn, also ones that the model does not know. Default: those of the model's
        that are among the columns.
    units : mapping of str to str, optional
        Units of new labels. Default: that of the column, else none.

    Raises
    ------
    SpectraFMError
        When a label is missing or not one number a spectrum, no spectrum has a good pixel, or the
        model reads other pixels than theirs.
    """
    names = list(columns.keys() if hasattr(columns, "keys") else columns.colnames)
    wanted = [name for name in trained.labels if name in names] if wanted is None else list(wanted)
    lacking = [name for name in wanted if name not in names]
    if lacking or not wanted:
        what = ", ".join(lacking) or f"label of the model ({', '.join(trained.labels)})"
        raise SpectraFMError(f"the table has no {what}; its columns: {', '.join(names)}")
    known = {label.name: label for label in trained.network.label_table}
    table = tuple(known.get(n) or Label(n, _unit(columns[n], n, units), n) for n in wanted)
    label = np.stack([_values(columns[name], name, len(spectra)) for name in wanted], axis=1)
    error = np.stack(
        [
            _values(columns[error_column(name)], error_column(name), len(spectra))
            if error_column(name) in names
            else np.zeros(len(spectra), np.float32)
            for name in wanted
        ],
        axis=1,
    )
    windows = _windows(trained, spectra)
    shown = [as_stars(trained, one, windows) for one in spectra]
    wavelength = shown[0].wavelength
    flux = np.full((len(shown), len(wavelength)), np.nan, np.float32)
    flux_error = np.full_like(flux, np.nan)
    moved = 0
    for row, one in enumerate(shown):
        if np.array_equal(one.wavelength, wavelength):
            flux[row], flux_error[row] = one.flux[0], one.flux_error[0]
        elif len(one.wavelength):
            for into, values in ((flux, one.flux[0]), (flux_error, one.flux_error[0])):
                into[row] = np.interp(wavelength, one.wavelength, values, np.nan, np.nan)
            moved += 1
    if moved:
        logger.info("%d spectra interpolated to the wavelengths of the first", moved)
    # Without errors every good pixel counts alike.
    flux_error = np.where(np.isfinite(flux_error), flux_error, np.float32(0.01))
    if not np.isfinite(flux).any():
        raise SpectraFMError("no spectrum has a good pixel in the wavelengths that the model reads")
    snr = np.array([one.columns["snr"][0] for one in shown], np.float32)
    each = [one.name for one in spectra]
    inputs = {
        name: _values(columns[name], name, len(spectra))
        if name in names
        else np.array([one.columns[name][0] for one in shown], np.float32)
        for name in trained.network.reads.inputs
    }
    return Labelled(each, wavelength, flux, flux_error, snr, label, error, table, windows, inputs)


def _unit(column: Any, name: str, units: Mapping[str, str] | None) -> str:
    if units and name in units:
        return units[name]
    unit = getattr(column, "unit", None)
    return "" if unit is None else str(unit)


def _values(column: Any, name: str, count: int) -> np.ndarray:
    """A column as float32, shape (n,), NaN where masked."""
    try:
        values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), np.float32), np.nan)
    except (TypeError, ValueError):
        raise SpectraFMError(f"labels: {name} does not hold numbers") from None
    if values.shape != (count,):
        raise SpectraFMError(f"labels: {name} has shape {values.shape}, for {count} spectra")
    return values


def _windows(trained: TrainedModel, spectra: Spectra) -> list[tuple[float, float]]:
    """The model's windows that the spectra cover; where there is none, their whole range."""
    low = float(np.median([one.wavelength[0] for one in spectra]))
    high = float(np.median([one.wavelength[-1] for one in spectra]))
    if trained.grid is not None:
        return list(trained.windows)
    found = [(a, b) for a, b in trained.windows if min(b, high) - max(a, low) >= COVERED * (b - a)]
    if not found:
        logger.info("the spectra cover no window of the model: %.1f-%.1f is read", low, high)
        return [(low, high)]
    if len(found) < len(trained.windows):
        logger.info("the spectra cover %d of %d windows", len(found), len(trained.windows))
    return found
