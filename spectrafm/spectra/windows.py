"""Kinds of spectra, wavelength windows and pixel masks, for any instrument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator

from spectrafm.errors import SpectraFMError

#: Observed spectra of stars, or their best-fit models.
Kind = Literal["observed", "synthetic"]

#: Side of the split.
Split = Literal["train", "validation", "test"]

#: Angstrom; a window that begins below this wavelength must be in another unit.
SHORTEST = 2000.0

#: Angstrom per unit, for the other units in which infrared wavelengths are often given.
_UNITS = {"micron": 1e4, "nm": 10.0}


def _window(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("a window is [shortest, longest] in Angstrom")
    if value[0] < SHORTEST:
        if value[1] < 30:
            what = _hint(value, "micron")
        elif value[0] > 200 and value[1] < 6000:
            what = _hint(value, "nm")
        else:
            what = f" begins below {SHORTEST:g}"
        raise ValueError(f"{_text(value)}{what} (windows are in Angstrom, vacuum)")
    return value


#: Shortest and longest wavelength, both included, in vacuum Angstrom.
Window = Annotated[tuple[float, float], AfterValidator(_window)]


def _flux_range(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError("a flux range is [lowest, highest] normalised flux")
    return value


#: Lowest and highest normalised flux; a pixel with flux outside this range is missing.
FluxRange = Annotated[tuple[float, float], AfterValidator(_flux_range)]

#: The authors' range (paper section 3): that of a stage which sets none.
FLUX_RANGE = (0.05, 1.2)


def check_windows(
    windows: Sequence[tuple[float, float]], wavelength_range: tuple[float, float], of: str = ""
) -> None:
    """Refuse a window that lies outside a range of wavelengths.

    Parameters
    ----------
    windows : sequence of (float, float)
        Shortest and longest wavelength of each window, Angstrom.
    wavelength_range : (float, float)
        First and last wavelength of a grid, Angstrom.
    of : str
        Owner of the grid, such as the path of a store; the error message begins with it.

    Raises
    ------
    SpectraFMError
        Names the window, the range and, if the numbers fit another unit, that unit.
    """
    shortest, longest = wavelength_range
    for window in windows:
        if window[1] < shortest or window[0] > longest:
            raise SpectraFMError(_no_pixel(window, wavelength_range, of))


def pixels_in(wavelength: np.ndarray, windows: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """Indices of the pixels that lie in each window, both ends included.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Shape (pixels,), vacuum Angstrom.
    windows : sequence of (float, float)
        Shortest and longest wavelength of each window, Angstrom.

    Returns
    -------
    list of numpy.ndarray
        One integer array for each window; empty if no pixel lies in the window.
    """
    return [
        np.flatnonzero((wavelength >= shortest) & (wavelength <= longest))
        for shortest, longest in windows
    ]


def pixel_mask(
    wavelength: np.ndarray, windows: Sequence[tuple[float, float]] | None, of: str = ""
) -> np.ndarray:
    """Mask of the pixels that lie in any of the windows; all pixels if ``windows`` is None.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Shape (pixels,), vacuum Angstrom, increasing.
    windows : sequence of (float, float), optional
        Shortest and longest wavelength of each window, Angstrom.
    of : str
        Owner of the pixels, such as the path of a store; the error message begins with it.

    Returns
    -------
    numpy.ndarray
        bool, shape (pixels,).

    Raises
    ------
    SpectraFMError
        When a window has no pixel; see `check_windows`.
    """
    if windows is None:
        return np.ones(len(wavelength), bool)
    mask = np.zeros(len(wavelength), bool)
    for window, pixels in zip(windows, pixels_in(wavelength, windows), strict=True):
        if not pixels.size:
            raise SpectraFMError(_no_pixel(window, (wavelength[0], wavelength[-1]), of))
        mask[pixels] = True
    return mask


def _no_pixel(window: tuple[float, float], covered: tuple[float, float], of: str) -> str:
    shortest, longest = covered
    hint = ""
    for unit, angstrom in _UNITS.items():
        if window[0] * angstrom <= longest and window[1] * angstrom >= shortest:
            hint = f"; {_text(window)}{_hint(window, unit)}"
            break
    owner = f"{of}: " if of else ""
    return (
        f"{owner}no pixel lies in the window {_text(window)}: "
        f"wavelengths are {shortest:.1f} to {longest:.1f} Angstrom{hint}"
    )


def _hint(window: tuple[float, float], unit: str) -> str:
    """Part of an error message: the window's likely unit, and the window in Angstrom."""
    angstrom = [round(end * _UNITS[unit], 6) for end in window]
    return f" looks like {unit}: write {_text(angstrom)}"


def _text(window: Sequence[float]) -> str:
    return f"[{', '.join(f'{end:.10g}' for end in window)}]"
