"""No normalisation, for models that take flux as it is."""

from __future__ import annotations

from spectrafm.spectra.spectrum import Spectrum


def none(spectrum: Spectrum) -> Spectrum:
    """Leave the flux as it is."""
    return spectrum.replace(normalisation=spectrum.normalisation or "none")
