# Tests of: spectrafm/continuum/
"""Normalisers: a smooth continuum is removed, and what has none is masked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits

from spectrafm.continuum import NORMALISERS, normalise
from spectrafm.errors import SpectraFMError
from spectrafm.spectra import Spectra, Spectrum

REAL = Path(__file__).parents[2] / "shared" / "data" / "aspcapstar_dr13"
GRID = 10 ** (4.179 + 6e-6 * np.arange(8575))
CHIPS = np.zeros(8575, bool)
for first, last in ((246, 3274), (3585, 6080), (6344, 8335)):
    CHIPS[first:last] = True


def made(wavelength: np.ndarray, flux: np.ndarray, error: float | None = 0.01, **said) -> Spectrum:
    """A spectrum with errors that are a share of its flux."""
    errors = None if error is None else np.abs(flux) * error
    return Spectra(flux, wavelength * u.AA, errors, medium="vacuum", frame="rest", **said)[0]


def star(wavelength: np.ndarray, seed: int = 0) -> np.ndarray:
    """Normalised flux: many narrow lines and noise."""
    draw = np.random.default_rng(seed)
    flux = np.ones(len(wavelength))
    for centre, depth in zip(
        draw.uniform(wavelength[0], wavelength[-1], 150), draw.uniform(0.02, 0.5, 150), strict=True
    ):
        flux -= depth * np.exp(-0.5 * ((wavelength / centre - 1) * 3e4) ** 2)
    return flux + draw.normal(0, 0.003, len(wavelength))


@pytest.mark.parametrize(("name", "at_edges"), [("aspcap", 0.006), ("running", 0.03)])
def test_a_smooth_continuum_of_any_scale_is_removed(name, at_edges):
    flux = np.where(CHIPS, star(GRID), 0)
    shape = 3e-17 * (1 + 0.2 * ((GRID - 16000) / 900) + 0.1 * ((GRID - 16000) / 900) ** 2)
    plain = normalise(made(GRID, flux), name)
    tilted = normalise(made(GRID, flux * shape), name)
    assert tilted.normalisation == name
    np.testing.assert_array_equal(tilted.mask, ~CHIPS)
    change = np.abs(tilted.flux - plain.flux)[CHIPS]
    assert np.quantile(change, 0.8) < 0.006
    assert change.max() < at_edges
    assert abs(np.median(tilted.flux[CHIPS]) - 1) < 0.02
    assert abs(tilted.signal_to_noise / 100 - 1) < 0.01
    assert tilted.provenance["flux_unit"] == ""


def test_the_continuum_does_not_climb_to_the_peaks_of_the_noise():
    noisy = np.random.default_rng(1).normal(1, 0.03, len(GRID))
    level = np.median(normalise(made(GRID, noisy, 0.03), "aspcap").flux)
    assert 0.965 < level < 0.99, "the upper envelope, by less than one standard deviation"


def test_each_detector_has_a_polynomial_of_its_own():
    """A step between detectors, which one polynomial for all could not follow."""
    step = np.where(GRID < 15833, 1.0, np.where(GRID < 16454, 0.7, 1.3))
    flux = np.where(CHIPS, star(GRID), 0)
    found = normalise(made(GRID, flux * step), "aspcap").flux
    np.testing.assert_allclose(found, normalise(made(GRID, flux), "aspcap").flux, atol=1e-4)


def test_flux_that_aspcap_has_normalised_keeps_its_level():
    levels = []
    for path in sorted(REAL.glob("*.fits")):
        with fits.open(path) as hdus:
            flux = hdus[1].data.astype(float)
        before = made(GRID, flux, None)
        after = normalise(before, "aspcap")
        levels.append(np.median(after.flux[after.good] / before.flux[after.good]))
    if not levels:
        pytest.skip(f"no real aspcapStar files: {REAL} is not there")
    assert len(levels) == 13
    assert abs(np.mean(levels) - 1) < 0.015
    assert np.std(levels) < 0.015


def test_spectra_of_low_resolution_and_of_few_pixels():
    wavelength = np.linspace(3360, 10200, 343)
    hump = np.exp(-(((wavelength - 6000) / 2500) ** 2)) * 1e-16
    low = normalise(made(wavelength, hump), "running")
    assert 0.8 < np.median(low.flux) < 1.05
    for name in ("aspcap", "running"):
        few = normalise(made(wavelength[:19], hump[:19]), name)
        assert few.mask.all()
        assert few.provenance["pixels_without_continuum"] == 19
        assert np.isfinite(few.flux).all()


def test_a_flux_that_is_negative_has_no_continuum():
    for name in ("aspcap", "running"):
        assert normalise(made(GRID, -star(GRID), None), name).mask.all()


def test_none_leaves_the_flux_and_no_normaliser_is_applied_twice():
    one = made(GRID, star(GRID))
    np.testing.assert_array_equal(normalise(one, "none").flux, one.flux)
    assert normalise(one, "none").normalisation == "none"
    once = normalise(one, "aspcap")
    assert normalise(once, "aspcap") is once
    assert once.assumed == one.assumed
    again = normalise(once, "running")
    assert "normalised with 'aspcap' before" in again.assumed[-1]
    with pytest.raises(SpectraFMError, match="no normaliser 'x'; known: aspcap, running"):
        normalise(one, "x")


def test_every_normaliser_can_be_loaded_and_answers():
    for name in NORMALISERS:
        assert normalise(made(GRID, star(GRID)), name).normalisation == name
