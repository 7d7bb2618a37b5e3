"""Spectra drawn at random: few and many pixels, repeated and unsorted, with bad values."""

from __future__ import annotations

import numpy as np
from astropy import units as u

from spectrafm.spectra import Spectra, Spectrum


class Drawn:
    """One drawn spectrum with every kind of damage, and the arguments that give it."""

    def __init__(self, seed: int, low: float = 3500.0, high: float = 17_000.0):
        draw = np.random.default_rng(seed)
        pixels = round(10 ** draw.uniform(0, np.log10(20_000) if seed % 10 == 0 else 3))
        wavelength = np.sort(draw.uniform(low, high, pixels))
        again = draw.random(pixels) < draw.choice([0, 0, 0.2])
        wavelength[again] = draw.choice(wavelength, again.sum())
        flux = draw.normal(0.9, 0.1, pixels) * 10.0 ** draw.choice([-30, -17, 0, 0, 0, 4, 30])
        error = np.abs(flux) * draw.uniform(0.001, 0.1, pixels)
        for value in (np.nan, np.inf, 0.0, -1.0):
            error[draw.random(pixels) < draw.choice([0, 0.05])] = value
            flux[draw.random(pixels) < draw.choice([0, 0.05])] = value
        self.wavelength, self.flux, self.error = draw.permuted(wavelength), flux, error
        self.mask = draw.random(pixels) < draw.choice([0, 0.3, 1], p=[0.5, 0.45, 0.05])
        self.has_error = bool(draw.random() < 0.7)
        self.draw = draw

    def made(self, order=slice(None), unit=u.AA, dtype=None) -> Spectrum:
        axis = (self.wavelength[order] * u.AA).to(unit, u.spectral())
        flux, error = self.flux[order], self.error[order]
        if dtype is not None:
            axis = axis.value.astype(dtype) * unit
            flux, error = flux.astype(dtype), error.astype(dtype)
        error = error if self.has_error else None
        medium = None if unit in (u.Hz, u.eV) else "vacuum"
        return Spectra(flux, axis, error, self.mask[order], medium=medium, frame="rest")[0]
