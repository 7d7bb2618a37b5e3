"""The spectra of one star of a store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.labels import GIANT_BELOW
from spectrafm.store.read import column, labels_of, open_whole_store, read


class Star(NamedTuple):
    """The spectra of one star."""

    apogee_id: str
    wavelength: np.ndarray  # (pixel,) Angstrom
    observed: np.ndarray  # (pixel,) normalised flux, NaN where missing
    synthetic: np.ndarray  # (pixel,); NaN where the store has no synthetic spectra
    mock: bool
    stars: int  # number of stars in the whole store
    survey: str = ""  # as in `spectrafm.surveys`; empty: unknown
    release: str = ""


def read_star(path: Path, apogee_id: str | None = None) -> Star:
    """Read the spectra of one star.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    apogee_id : str, optional
        Identifier of the star. Default: the first giant of the test split.

    Raises
    ------
    SpectraFMError
        When the star is not in the store, or the test split has no giant.
    """
    group = open_whole_store(path)
    names = read(group, "apogee_id")
    if apogee_id is None:
        logg = column(group, "logg", labels_of(group))
        giants = np.zeros(len(names), bool) if logg is None else logg < GIANT_BELOW
        found = np.flatnonzero((read(group, "split") == "test") & giants)
        lacking = f"no test star with log g < {GIANT_BELOW:g}: name one as figures.star"
    else:
        found = np.flatnonzero(names == apogee_id)
        lacking = f"no star {apogee_id!r} (figures.star)"
    if found.size == 0:
        raise SpectraFMError(f"{path}: {lacking}")
    rows = slice(found[0], found[0] + 1)
    observed = read(group, "observed", rows)[0]
    if "mask" in group:
        observed = np.where(read(group, "mask", rows)[0], np.float32(np.nan), observed)
    synthetic = np.full_like(observed, np.nan)
    if "synthetic" in group:
        synthetic = read(group, "synthetic", rows)[0]
    return Star(
        apogee_id=str(names[found[0]]),
        wavelength=read(group, "wavelength"),
        observed=observed,
        synthetic=synthetic,
        mock=bool(group.attrs.get("mock", False)),
        stars=names.size,
        survey=str(group.attrs.get("survey", "")),
        release=str(group.attrs.get("release", "")),
    )
