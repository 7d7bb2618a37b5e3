# Tests of: spectrafm/surveys/mock/instrument.py
"""What the instrument does to a spectrum."""

import numpy as np
import pytest

from spectrafm.surveys.apogee.grid import CHIP_PIXELS, CHIPS, GRID_WAVELENGTH, N_GRID
from spectrafm.surveys.mock import instrument
from spectrafm.surveys.mock.synthesis import N_FINE, OVERSAMPLING

EXPOSURE = instrument.Exposure(snr=300.0, fibre=100, shift=40.0, persistence=False)
BLANK = np.ones(N_FINE, dtype=np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def profile_width(broadening=0.0, **options):
    """Standard deviation of a narrow line after broadening, pixels."""
    fine = BLANK.copy()
    fine[OVERSAMPLING * 4000 + 1] = 0
    # Around the line only: elsewhere stands what float32 rounds off, not the same on every machine.
    pixel = np.arange(3980, 4021)
    absorbed = 1 - instrument.to_pixels(fine, broadening, **options)[pixel]
    mean = np.average(pixel, weights=absorbed)
    assert mean == pytest.approx(4000, abs=1e-3)
    return np.sqrt(np.average((pixel - mean) ** 2, weights=absorbed))


def test_resolution_is_that_of_apogee():
    binned = 1 / 12  # variance of the pixel itself
    assert 2.3548 * np.sqrt(profile_width() ** 2 - binned) == pytest.approx(3.22, abs=0.03)
    broader = profile_width(broadening=299792.458 / 22500)
    assert broader == pytest.approx(np.sqrt(2) * profile_width(), rel=0.02)


def test_broadening_keeps_the_absorbed_light():
    fine = BLANK.copy()
    fine[12000:12030] = 0.2
    pixels = instrument.to_pixels(fine, 8.0)
    absorbed = np.sum(1 - fine, dtype=float) / OVERSAMPLING
    assert np.sum(1 - pixels) == pytest.approx(absorbed, rel=1e-5)


def test_normalisation_divides_out_a_smooth_response_and_blanks_the_gaps():
    spectrum = 1 - 0.3 * rng().random(N_GRID)
    response = np.ones(N_GRID)
    for start, stop in CHIPS:
        response[start:stop] = 3 + np.polyval([1e-2, -0.1, 0.3], np.linspace(-1, 1, stop - start))
    once = instrument.normalise(spectrum)
    np.testing.assert_allclose(once[CHIP_PIXELS].mean(), 1, atol=1e-3)
    outside = np.setdiff1d(np.arange(N_GRID), CHIP_PIXELS)
    assert np.all(once[outside] == 0)
    flat = instrument.normalise(response)
    np.testing.assert_allclose(flat[CHIP_PIXELS], 1, atol=1e-12)


def test_continuum_of_a_star_with_many_lines_lies_above_one():
    spectrum = np.ones(N_GRID)
    spectrum[::3] = 0.85
    assert instrument.normalise(spectrum)[CHIP_PIXELS].max() == pytest.approx(1.053, abs=0.01)


def test_without_a_gap_a_blank_star_shows_noise_and_bad_pixels_only():
    flux, error = instrument.observe(BLANK, 5.0, EXPOSURE, 0.0, rng())
    bad = error > 1e9
    assert 0.0005 < bad[CHIP_PIXELS].mean() < 0.004
    assert np.all((flux[bad] < 0.05) | (flux[bad] > 1.2))
    good = np.zeros(N_GRID, dtype=bool)
    good[CHIP_PIXELS] = True
    good &= ~bad
    pull = (flux[good] - 1) / error[good]
    assert pull.std() == pytest.approx(1, abs=0.03)
    assert abs(pull.mean()) < 0.05


def test_noise_has_a_floor_and_rises_towards_the_ends_of_a_detector():
    _, faint = instrument.observe(BLANK, 5.0, instrument.Exposure(100, 1, 0, False), 0.0, rng())
    _, bright = instrument.observe(BLANK, 5.0, instrument.Exposure(5000, 1, 0, False), 0.0, rng())
    start, stop = CHIPS[1]
    middle = slice((start + stop) // 2 - 20, (start + stop) // 2 + 20)
    assert np.median(faint[middle]) == pytest.approx(0.01, rel=0.01)
    assert np.median(bright[middle]) == pytest.approx(0.004, rel=0.01)
    assert np.median(faint[start : start + 20]) == pytest.approx(0.0135, rel=0.02)


def systematics(gap, exposure=EXPOSURE, seed=1):
    """What a featureless star shows besides noise."""
    with_gap, error = instrument.observe(BLANK, 5.0, exposure, gap, rng(seed))
    without, _ = instrument.observe(BLANK, 5.0, exposure, 0.0, rng(seed))
    return np.where(error < 1e9, with_gap - without, 0.0)[CHIP_PIXELS]


def test_systematics_grow_with_the_gap():
    half, full = systematics(0.5), systematics(1.0)
    assert 0.003 < full.std() < 0.03
    assert full.std() == pytest.approx(2 * half.std(), rel=0.1)


def test_persistence_weakens_lines_of_the_blue_detector_only():
    spectrum = BLANK.copy()
    spectrum[::9] = 0.4
    shown = {}
    for persistence in (False, True):
        exposure = instrument.Exposure(300.0, 100, 40.0, persistence)
        flux, _ = instrument.observe(spectrum, 0.0, exposure, 1.0, rng(7))
        shown[persistence] = flux
    (blue_start, blue_stop), green, red = CHIPS
    difference = shown[True] - shown[False]
    assert np.abs(difference[blue_start:blue_stop]).max() > 1e-4
    assert np.all(difference[slice(*green)] == 0)
    assert np.all(difference[slice(*red)] == 0)


def test_airglow_moves_with_the_velocity_of_the_star():
    places = []
    for shift in (-100.0, 100.0):
        exposure = instrument.Exposure(50.0, 100, shift, False)
        sky = instrument._sky_residuals(exposure, 1.0, rng(2))
        window = np.abs(GRID_WAVELENGTH - 16692.37) < 12
        places.append(GRID_WAVELENGTH[window][np.argmax(np.abs(sky[window]))])
    assert places[0] - places[1] == pytest.approx(16692.37 * 200 / 299792.458, abs=0.3)
