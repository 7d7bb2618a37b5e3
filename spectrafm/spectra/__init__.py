"""Spectra of any instrument, wavelength windows and pixel masks.

`Spectrum` and `Spectra` are imported at their first use, so that reading a configuration, which
needs windows only, does not load astropy.
"""

from __future__ import annotations

from spectrafm.spectra.windows import (
    FLUX_RANGE,
    SHORTEST,
    FluxRange,
    Kind,
    Split,
    Window,
    check_windows,
    pixel_mask,
    pixels_in,
)

#: Name -> module that defines it.
_LATER = {
    "Spectra": "spectrafm.spectra.spectra",
    "Spectrum": "spectrafm.spectra.spectrum",
    "join_arms": "spectrafm.spectra.spectrum",
}

__all__ = [
    "FLUX_RANGE",
    "SHORTEST",
    "FluxRange",
    "Kind",
    "Spectra",
    "Spectrum",
    "Split",
    "Window",
    "check_windows",
    "join_arms",
    "pixel_mask",
    "pixels_in",
]


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module 'spectrafm.spectra' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
