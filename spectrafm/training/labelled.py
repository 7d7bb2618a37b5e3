"""Labelled spectra of a user on one grid, as a model reads them, and as a store to learn from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.inference.answers import as_stars
from spectrafm.inference.model import TrainedModel
from spectrafm.labels import PAPER_LABELS, Label, error_column
from spectrafm.readers.labelled import LabelledTable
from spectrafm.spectra.grid import on_grid
from spectrafm.spectra.spectrum import Spectrum, common_resolution
from spectrafm.store.layout import Column, Stars, write_store

logger = logging.getLogger(__name__)

#: Share of a window of the model that spectra cover at least, for it to be read.
COVERED = 0.5

#: Error of a pixel whose own is unknown, in units of the median flux.
UNKNOWN_ERROR = 0.01


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
    mock : bool
        Whether a star is simulated.
    resolution : float or None
        Resolving power of the spectra, where it is known and the same for all.
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
    mock: bool
    resolution: float | None

    def __len__(self) -> int:
        return len(self.names)

    def write(self, path: Path, split: np.ndarray) -> Path:
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
            {
                "title": "labelled spectra of a user",
                "mock": self.mock,
                "resolution": self.resolution,
            },
            wavelength=self.wavelength,
            labels=self.labels,
            columns=(
                Column("snr", np.float32, "signal-to-noise ratio", "1"),
                *(Column(name, np.float32, f"input {name}") for name in self.inputs),
            ),
            synthetic=False,
        )
        return path


def labelled(
    trained: TrainedModel,
    stars: LabelledTable,
    wanted: Sequence[str] | None,
    units: Mapping[str, str],
) -> Labelled:
    """Put labelled spectra on one wavelength grid, as the model reads them.

    A spectrum that cannot be read is logged and left out. Others are put at rest, where a radial
    velocity is known, and on the wavelengths of the first.

    Parameters
    ----------
    trained : TrainedModel
        The model to start from.
    stars : LabelledTable
    wanted : sequence of str, optional
        Labels to learn, also ones that the model does not know. Default: those of the model's
        that are among the columns.
    units : mapping of str to str
        Units of new labels whose column has none.

    Raises
    ------
    SpectraFMError
        When a label is missing or not one number a spectrum, no spectrum has a good pixel, or the
        model reads other pixels than theirs.
    """
    usual = {label.name: label for label in (*PAPER_LABELS, *trained.network.label_table)}
    known = stars.labels(wanted or stars.named(trained.labels), usual, units)
    rows, spectra = _read(stars)
    if trained.grid is None:
        moved = [on_grid(one, spectra[0].wavelength) for one in spectra]
        count = sum(new.flux is not old.flux for new, old in zip(moved, spectra, strict=True))
        if count:
            logger.info("%d spectra interpolated to the wavelengths of the first", count)
        spectra = moved
    windows = _windows(trained, spectra)
    shown = [as_stars(trained, one, windows) for one in spectra]
    flux = np.concatenate([one.flux for one in shown])
    error = np.concatenate([one.flux_error for one in shown])
    if not np.isfinite(flux).any():
        raise SpectraFMError(
            f"{stars.source}: no spectrum has a good pixel in the wavelengths that the model reads"
        )
    level = np.median(np.abs(np.nan_to_num(flux)), axis=1, keepdims=True)
    inputs = {}
    for name in trained.network.reads.inputs:
        column = stars.column(name)
        own = np.array([one.columns[name][0] for one in shown], np.float32)
        inputs[name] = own if column is None else stars.numbers(column)[rows].astype(np.float32)
    return Labelled(
        names=[stars.names[row] for row in rows],
        wavelength=shown[0].wavelength,
        flux=flux,
        # Without errors every good pixel counts alike.
        error=np.where(np.isfinite(error), error, UNKNOWN_ERROR * level).astype(np.float32),
        snr=np.concatenate([one.signal_to_noise for one in shown]).astype(np.float32),
        resolution=common_resolution([one.resolution for one in spectra]),
        label=known.value[rows],
        label_error=np.nan_to_num(known.error[rows]),
        labels=known.table,
        windows=windows,
        inputs=inputs,
        mock=any(one.provenance.get("mock") for one in spectra),
    )


def _read(stars: LabelledTable) -> tuple[list[int], list[Spectrum]]:
    """Rows of the stars whose spectrum can be read, and their spectra at rest."""
    rows, spectra, moving = [], [], 0
    for row, one in enumerate(stars.each()):
        if isinstance(one, SpectraFMError):
            logger.warning("left out: %s: %s", stars.names[row], one)
            continue
        one, velocity = stars.at_rest(row, one)
        moving += velocity is None
        rows.append(row)
        spectra.append(one)
    if not spectra:
        raise SpectraFMError(f"{stars.source}: no spectrum could be read")
    if moving:
        logger.warning(
            "%d spectra are not known to be at rest, and have no radial velocity", moving
        )
    return rows, spectra


def _windows(trained: TrainedModel, spectra: Sequence[Spectrum]) -> list[tuple[float, float]]:
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
