"""From the arrays that a user has to those of each spectrum: 1-D, 2-D and ragged lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u

from spectrafm.errors import SpectrumError
from spectrafm.spectra.units import plain


class Given(NamedTuple):
    """One array of one spectrum as it was given."""

    values: np.ndarray  # (pixels,) float64, or bool of a mask; native byte order
    unit: u.UnitBase | None
    mask: np.ndarray | None  # (pixels,) bool, True where masked


def rows_of(values: Any, field: str, names: Sequence[str] | None) -> list[Given] | Given:
    """Split what was given for a field into one array for each spectrum.

    Parameters
    ----------
    values : array-like
        One array, an array of shape (spectra, pixels), or a list of arrays of any length.
    field : str
        Name of the field in error messages.
    names : sequence of str, optional
        Names of the spectra.

    Returns
    -------
    Given or list of Given
        One, if an array with one dimension was given: it is of one spectrum, or common to all.

    Raises
    ------
    SpectrumError
        When an array holds no numbers, has another number of dimensions, or is empty.
    """
    if _is_list_of_arrays(values):
        return [_array(row, field, _name(names, number), {1}) for number, row in enumerate(values)]
    whole = _array(values, field, "spectrum" if not names else names[0], {1, 2})
    if whole.values.ndim == 1:
        return whole
    masks = [None] * len(whole.values) if whole.mask is None else whole.mask
    return [Given(row, whole.unit, mask) for row, mask in zip(whole.values, masks, strict=True)]


def _name(names: Sequence[str] | None, number: int) -> str:
    return names[number] if names and number < len(names) else f"spectrum {number + 1}"


def _is_list_of_arrays(values: Any) -> bool:
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        values = list(values)
    if not isinstance(values, list | tuple):
        return False
    return any(np.ndim(getattr(value, "value", value)) > 0 for value in _safely(values))


def _safely(values: Sequence[Any]) -> list[Any]:
    """The elements whose shape numpy can tell, and those that are sequences."""
    shaped = []
    for value in values:
        try:
            np.ndim(getattr(value, "value", value))
        except ValueError:  # a ragged sequence
            shaped.append(np.empty(1))
        else:
            shaped.append(value)
    return shaped


def _array(values: Any, field: str, name: str, dimensions: set[int]) -> Given:
    """Numbers of a field as float64 (bool for a mask) in native byte order."""
    if isinstance(values, list | tuple) and any(isinstance(v, u.Quantity) for v in values):
        try:
            values = u.Quantity(list(values))
        except (u.UnitsError, TypeError, ValueError) as error:
            raise SpectrumError(name, field, f"values of different units ({error})") from None
    bare, unit, mask = plain(values)
    try:
        array = np.asarray(bare)
    except (ValueError, TypeError) as error:
        raise SpectrumError(name, field, f"not an array of numbers ({error})") from None
    if array.dtype == object and array.size:
        raise SpectrumError(name, field, "not an array of numbers: its values are objects")
    if array.ndim not in dimensions:
        wanted = " or ".join(f"{n}-D" for n in sorted(dimensions))
        raise SpectrumError(name, field, f"has shape {array.shape}, expected a {wanted} array")
    if not array.size:
        raise SpectrumError(name, field, "has no pixel")
    if field == "mask":
        if array.dtype.kind not in "biu":
            raise SpectrumError(
                name, field, f"holds {array.dtype.name}, expected True (bad) or False, or bits"
            )
        return Given(array != 0, None, None)
    if array.dtype.kind not in "iuf":
        raise SpectrumError(name, field, f"holds {array.dtype.name}, expected real numbers")
    with np.errstate(all="ignore"):
        return Given(array.astype(np.float64), unit, mask)


def one_for_each(
    given: list[Given] | Given | None, count: int, field: str, shared: bool
) -> list[Given | None]:
    """One array of a field for each spectrum.

    Parameters
    ----------
    given : Given, list of Given or None
        What `rows_of` returned; None: the spectra have no such array.
    count : int
        Number of spectra.
    field : str
        Name of the field in error messages.
    shared : bool
        Whether one array may be common to all spectra, as wavelengths are.

    Raises
    ------
    SpectrumError
        When the number of arrays is not that of the spectra.
    """
    if given is None:
        return [None] * count
    if isinstance(given, Given):
        if count == 1 or shared:
            return [given] * count
        raise SpectrumError(
            "spectra", field, f"one array for {count} spectra: give one for each of them"
        )
    if len(given) != count:
        raise SpectrumError(
            "spectra", field, f"{len(given)} arrays for {count} spectra (from flux)"
        )
    return list(given)
