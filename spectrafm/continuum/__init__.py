"""Registry of the normalisers, which divide a spectrum by its continuum: each is one file here."""

from __future__ import annotations

#: Name of each normaliser, and its function: (wavelength, flux, mask) -> continuum.
NORMALISERS = {"xp": "spectrafm.continuum.xp:continuum"}
