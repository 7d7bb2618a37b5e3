"""What a spectrum is, whatever instrument it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator

#: Observed spectra of stars, or the models that fit them best.
Kind = Literal["observed", "synthetic"]

#: Side of the split.
Split = Literal["train", "validation", "test"]


def _window(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("a window is [shortest, longest] in Angstrom")
    return value


#: Shortest and longest wavelength, both included: vacuum Angstrom.
Window = Annotated[tuple[float, float], AfterValidator(_window)]


def _flux_range(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("a flux range is [lowest, highest] normalised flux")
    return value


#: Lowest and highest normalised flux that is kept; a pixel outside is missing.
FluxRange = Annotated[tuple[float, float], AfterValidator(_flux_range)]


def pixels_in(wavelength: np.ndarray, windows: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """Indices of the pixels that lie in each window, both ends included.

    Parameters
    ----------
    wavelength : ndarray, shape (P,)
        Vacuum Angstrom.
    windows : sequence of (float, float)
        Shortest and longest wavelength of each, Angstrom.

    Returns
    -------
    list of ndarray of int
        In the order of ``windows``; empty where no pixel lies in a window.
    """
    return [
        np.flatnonzero((wavelength >= shortest) & (wavelength <= longest))
        for shortest, longest in windows
    ]
