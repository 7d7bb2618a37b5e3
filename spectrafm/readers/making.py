"""From what a file holds to a spectrum that says where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits

from spectrafm.errors import SpectraFMError
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import LIGHT, Spectrum

#: Unit of flux in SDSS files, which most of them do not state.
SDSS_FLUX = u.Unit(1e-17 * u.erg / u.s / u.cm**2 / u.AA)

#: Redshifts beyond this are of no star, or fill values.
FASTEST_STAR = 0.01


def from_file(
    path: Path,
    format: str,
    wavelength: u.Quantity,
    flux: Any,
    flux_error: Any = None,
    mask: np.ndarray | None = None,
    *,
    name: str | None = None,
    provenance: dict[str, Any] | None = None,
    **about: Any,
) -> Spectrum:
    """Make a spectrum of a format in which a flux of zero means missing.

    Parameters
    ----------
    path : pathlib.Path
    format : str
        Name of the format in words, such as ``APOGEE aspcapStar``.
    wavelength, flux, flux_error, mask
        As for `spectrafm.spectra.Spectra`, for one spectrum.
    name : str, optional
        Default: the file's name.
    provenance : dict, optional
        Further facts; None as a value is left out.
    **about
        ``medium``, ``frame``, ``resolution``, ``normalisation``.

    Raises
    ------
    SpectrumError
        When the arrays are no spectrum.
    """
    name = name or path.name
    bad = np.asarray(getattr(flux, "value", flux)) == 0
    bad = bad if mask is None else bad | np.asarray(mask, bool)
    (one,) = Spectra(flux, wavelength, flux_error, bad, names=name, **about)
    facts = {key: value for key, value in (provenance or {}).items() if value is not None}
    said = {**one.provenance, "format": format, **facts}
    return one.replace(source=str(path), provenance=said)


def error_of(inverse_variance: np.ndarray) -> np.ndarray:
    """One-sigma errors of inverse variances; NaN, so that it is masked, where there is none."""
    variance = np.asarray(inverse_variance, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, 1 / np.sqrt(variance), np.nan)


def velocity_of(redshift: Any) -> float | None:
    """Radial velocity of a star's redshift, km/s; None for a fill value."""
    try:
        value = float(redshift)
    except (TypeError, ValueError):
        return None
    return value * LIGHT if abs(value) < FASTEST_STAR else None


def number_in(header: fits.Header, key: str) -> float | None:
    """A number in a header; None if it is missing or a fill value."""
    value = header.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if np.isfinite(value) and value > -9000 else None


def log_wavelength(start: Any, step: Any, pixels: int, path: Path) -> u.Quantity:
    """Wavelengths of a grid that is even in log10(wavelength / Angstrom)."""
    if not all(isinstance(value, int | float) for value in (start, step)) or not 0 < step < 1e-2:
        raise SpectraFMError(f"{path}: no logarithmic wavelength grid (start {start}, step {step})")
    if not 3 < start < 6:
        raise SpectraFMError(f"{path}: a grid that starts at 10**{start} Angstrom")
    return 10.0 ** (start + step * np.arange(pixels)) * u.AA
