"""Spectra from specutils, and to it; specutils is optional and imported only here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, NDUncertainty, StdDevUncertainty

from spectrafm.errors import SpectraFMError, SpectrumError
from spectrafm.spectra.spectra import Spectra
from spectrafm.spectra.spectrum import Spectrum


def from_specutils(spectra: Any, **about: Any) -> Spectra:
    """Spectra from specutils; see `Spectra.from_specutils`."""
    several = [spectra] if hasattr(spectra, "spectral_axis") else list(spectra)
    fluxes, wavelengths, errors, masks = [], [], [], []
    for number, one in enumerate(several, 1):
        if not hasattr(one, "spectral_axis") or not hasattr(one, "flux"):
            raise SpectrumError(
                f"spectrum {number}", "flux", f"{type(one).__name__} is no spectrum"
            )
        axis = one.spectral_axis
        axis = u.Quantity(axis.value, axis.unit)
        error = _standard_deviation(one, number)
        mask = None if one.mask is None else np.asarray(one.mask)
        for row in np.ndindex(one.flux.shape[:-1]):
            fluxes.append(one.flux[row])
            # One axis for all rows, except in a collection.
            wavelengths.append(axis[row] if axis.ndim > 1 else axis)
            errors.append(None if error is None else error[row])
            masks.append(None if mask is None else mask[row])
    for field, values in (("flux_error", errors), ("mask", masks)):
        if any(value is None for value in values) and any(value is not None for value in values):
            raise SpectrumError("spectra", field, "some of the spectra have it, others do not")
    return Spectra(
        fluxes,
        wavelengths,
        errors if errors and errors[0] is not None else None,
        masks if masks and masks[0] is not None else None,
        **about,
    )


def _standard_deviation(one: Any, number: int) -> u.Quantity | None:
    uncertainty = one.uncertainty
    if uncertainty is None:
        return None
    if not isinstance(uncertainty, NDUncertainty):
        raise SpectrumError(f"spectrum {number}", "flux_error", "an uncertainty of unknown kind")
    if isinstance(uncertainty, InverseVariance):
        # specutils divides by zero where an inverse variance of zero marks a bad pixel.
        with np.errstate(divide="ignore"):
            return u.Quantity(1 / np.sqrt(uncertainty.array), one.flux.unit)
    uncertainty = uncertainty.represent_as(StdDevUncertainty)
    return u.Quantity(uncertainty.array, uncertainty.unit or one.flux.unit)


def to_specutils(spectra: Sequence[Spectrum]) -> list[Any]:
    """Spectra as objects of specutils; see `Spectra.to_specutils`."""
    try:
        import specutils
    except ImportError:
        raise SpectraFMError("specutils is not installed: pip install specutils") from None
    make = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    made = []
    for one in spectra:
        unit = u.Unit(one.provenance.get("flux_unit", "")) if not one.normalisation else u.one
        scale = one.provenance.get("flux_divided_by", 1.0)
        error = None
        if one.flux_error is not None:
            error = StdDevUncertainty(np.where(one.mask, np.inf, one.flux_error) * scale)
        about = {"name": one.name, "medium": "vacuum", "frame": one.frame, "source": one.source}
        made.append(
            make(
                spectral_axis=one.wavelength * u.AA,
                flux=one.flux * scale * unit,
                uncertainty=error,
                mask=one.mask,
                meta={**about, "normalisation": one.normalisation, "assumed": one.assumed},
            )
        )
    return made
