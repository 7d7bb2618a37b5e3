"""From arrays with units to plain numbers: wavelength in vacuum Angstrom, flux and its unit.

A wavelength may be given as a length, a wavenumber, a frequency or an energy. A number without a
unit is refused, unless it can only be an Angstrom; then a sentence says so.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from astropy import units as u

from spectrafm.errors import SpectrumError
from spectrafm.spectra.medium import SHORTEST_IN_AIR, air_to_vacuum

#: Where wavelengths were measured.
Medium = Literal["air", "vacuum"]
MEDIA = ("air", "vacuum")

#: Numbers without a unit are Angstrom if all lie in this range; in any other unit they would be
#: wavelengths at which no stellar spectrograph works.
ANGSTROM_RANGE = (3000.0, 30000.0)

#: Other units by the range of numbers that they have in the optical and near infrared.
_LIKELY = (
    ((0.2, 30.0), "micrometre", "u.um"),
    ((200.0, 3000.0), "nm", "u.nm"),
    ((1e13, 2e15), "Hz", "u.Hz"),
)


def plain(values: Any) -> tuple[Any, u.UnitBase | None, np.ndarray | None]:
    """Split what a user gives into bare values, unit and mask.

    Parameters
    ----------
    values : array-like
        A list, array, `numpy.ma.MaskedArray`, `astropy.units.Quantity`, `astropy.table.Column` or
        `astropy.utils.masked.Masked`.

    Returns
    -------
    values : object
        The same without unit and mask.
    unit : astropy.units.UnitBase or None
    mask : numpy.ndarray or None
        True where masked.
    """
    mask = getattr(values, "mask", None)
    mask = np.array(mask) if mask is not None and np.ndim(mask) else None
    unit = getattr(values, "unit", None)
    values = getattr(values, "unmasked", values)
    if isinstance(values, np.ma.MaskedArray):
        values = values.data
    if isinstance(values, u.Quantity):
        values = values.value
    return values, unit, mask


#: Decimals of a wavelength in Angstrom that was converted from another unit.
DECIMALS = 8


def to_vacuum_angstrom(
    values: np.ndarray, unit: u.UnitBase | None, medium: Medium | None, spectrum: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert a spectral coordinate to wavelengths in vacuum.

    Parameters
    ----------
    values : numpy.ndarray
        float64, shape (pixels,), finite and positive.
    unit : astropy.units.UnitBase or None
        A unit of length, wavenumber, frequency or energy.
    medium : {"air", "vacuum"} or None
        Where the wavelengths hold; None: vacuum is assumed. A frequency or an energy is the same
        in both.
    spectrum : str
        Name of the spectrum in error messages.

    Returns
    -------
    wavelength : numpy.ndarray
        float64, shape (pixels,): Angstrom, vacuum.
    assumed : tuple of str
        What had to be assumed, one sentence each.

    Raises
    ------
    SpectrumError
        When the unit is missing and not unmistakable, is of another quantity, or air is named
        where it makes no sense.
    """
    assumed = []
    if unit is None:
        _check_is_angstrom(values, spectrum)
        unit = u.AA
        assumed.append("wavelength has no unit: taken as Angstrom")
    try:
        with np.errstate(all="ignore"):
            wavelength = (values * u.Unit(unit)).to_value(u.AA, u.spectral())
    except (u.UnitsError, TypeError, ValueError):
        raise SpectrumError(
            spectrum, "wavelength", f"its unit {unit} is none of wavelength, frequency or energy"
        ) from None
    if unit != u.AA:
        # A factor such as 9.999999999999998 would put the first pixel of a window outside it.
        wavelength = np.where(wavelength > 1, wavelength.round(DECIMALS), wavelength)
    if not (np.isfinite(wavelength) & (wavelength > 0)).all():
        raise SpectrumError(spectrum, "wavelength", f"in {unit} it is beyond all wavelengths")
    independent = u.Unit(unit).physical_type in ("frequency", "energy")
    if medium == "air":
        if independent:
            raise SpectrumError(
                spectrum, "medium", f"{unit} is the same in air and vacuum: leave medium out"
            )
        if wavelength.min() < SHORTEST_IN_AIR:
            raise SpectrumError(
                spectrum,
                "medium",
                f"wavelengths below {SHORTEST_IN_AIR:g} Angstrom are in vacuum by convention, "
                f"not in air (the shortest is {wavelength.min():g} Angstrom)",
            )
        wavelength = air_to_vacuum(wavelength)
    elif medium is None and not independent:
        assumed.append("medium is not given: wavelengths are taken as in vacuum")
    return wavelength, tuple(assumed)


def _check_is_angstrom(values: np.ndarray, spectrum: str) -> None:
    shortest, longest = values.min(), values.max()
    if ANGSTROM_RANGE[0] <= shortest and longest <= ANGSTROM_RANGE[1]:
        return
    hint = ""
    for (low, high), name, code in _LIKELY:
        if low <= shortest and longest <= high:
            hint = f"; they look like {name}: give wavelength * {code}"
            break
    raise SpectrumError(
        spectrum,
        "wavelength",
        f"has no unit, and numbers from {shortest:g} to {longest:g} are not unmistakable: "
        f"give it as an astropy Quantity{hint}",
    )


def to_flux(
    values: np.ndarray, unit: u.UnitBase | None, spectrum: str, field: str
) -> tuple[np.ndarray, u.UnitBase | None]:
    """Convert a flux without dimension to plain numbers; any other keeps its values and unit.

    Parameters
    ----------
    values : numpy.ndarray
        float64, shape (pixels,).
    unit : astropy.units.UnitBase or None
    spectrum, field : str
        Names in error messages.

    Returns
    -------
    values : numpy.ndarray
        float64, shape (pixels,).
    unit : astropy.units.UnitBase or None
        None for a flux without dimension.

    Raises
    ------
    SpectrumError
        When the unit is logarithmic, such as a magnitude.
    """
    if unit is None:
        return values, None
    unit = u.Unit(unit)
    if isinstance(unit, u.function.FunctionUnitBase) or unit in (u.mag, u.dex, u.dB):
        raise SpectrumError(spectrum, field, f"is logarithmic ({unit}): give a linear flux")
    if unit.is_equivalent(u.one):
        return values * unit.to(u.one), None
    return values, unit
