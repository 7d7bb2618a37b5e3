"""Division of a spectrum by a continuum; pixels without one are masked."""

from __future__ import annotations

import numpy as np

from spectrafm.spectra.spectrum import Spectrum

#: Fewest good pixels from which a continuum is found.
FEWEST = 20


def divided(spectrum: Spectrum, continuum: np.ndarray, name: str) -> Spectrum:
    """Divide flux and error by a continuum.

    Parameters
    ----------
    spectrum : spectrafm.spectra.Spectrum
    continuum : numpy.ndarray
        Shape (pixels,), in the unit of the flux; NaN or not positive where it is unknown.
    name : str
        Name of the normaliser.

    Returns
    -------
    spectrafm.spectra.Spectrum
    """
    known = np.isfinite(continuum) & (continuum > 0)
    safe = np.where(known, continuum, 1.0)
    with np.errstate(over="ignore"):
        flux = (spectrum.flux / safe).astype(np.float32)
        error = spectrum.flux_error
        error = None if error is None else (error / safe).astype(np.float32)
    mask = spectrum.mask | ~known | ~np.isfinite(flux)
    if error is not None:
        mask |= ~np.isfinite(error)
        error = np.where(mask, np.float32(0), error)
    lost = int(np.count_nonzero(mask & ~spectrum.mask))
    provenance = {**spectrum.provenance, "flux_unit": ""}
    provenance.pop("flux_divided_by", None)
    if lost:
        provenance["pixels_without_continuum"] = lost
    flux = np.where(mask, np.float32(0), flux)
    return spectrum.replace(
        flux=flux, flux_error=error, mask=mask, normalisation=name, provenance=provenance
    )
