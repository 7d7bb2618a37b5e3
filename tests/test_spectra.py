"""Windows: in Angstrom, on the grid, and refused with the likely unit where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from spectrafm.errors import SpectraFMError
from spectrafm.plugs import load
from spectrafm.spectra import Window, check_windows, pixel_mask, pixels_in
from spectrafm.surveys import SURVEYS
from spectrafm.surveys.apogee.grid import WAVELENGTH

WINDOW = TypeAdapter(Window)
APOGEE = load(SURVEYS["apogee"].wavelength_range)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ((1.61, 1.62), r"\[1\.61, 1\.62\] looks like micron: write \[16100, 16200\]"),
        ((1610.58, 1622), r"\[1610\.58, 1622\] looks like nm: write \[16105\.8, 16220\]"),
        ((100, 150), r"\[100, 150\] begins below 2000 \(windows are in Angstrom"),
        ((0, 17000), "begins below 2000"),
        ((-5, 3), "micron"),
        ((16220, 16105), r"a window is \[shortest, longest\] in Angstrom"),
    ],
)
def test_a_window_in_another_unit_is_refused_with_that_unit(window, message):
    with pytest.raises(ValidationError, match=message):
        WINDOW.validate_python(window)


def test_windows_in_angstrom_are_taken():
    for window in ((3300.0, 10500.0), (16105.8, 16220), (6000, 53000)):
        assert WINDOW.validate_python(window) == window


def test_a_window_outside_of_the_grid_is_refused_with_the_grid():
    check_windows([(15152.2, 16028.0), (16105.8, 16220.0)], APOGEE, "survey apogee")
    with pytest.raises(SpectraFMError) as raised:
        check_windows([(16105.8, 16220.0), (17100.0, 17200.0)], APOGEE, "survey apogee")
    assert str(raised.value) == (
        "survey apogee: no pixel lies in the window [17100, 17200]: "
        "wavelengths are 15152.2 to 16943.5 Angstrom"
    )
    with pytest.raises(SpectraFMError, match=r"looks like micron: write \[16100, 16200\]"):
        check_windows([(1.61, 1.62)], APOGEE)
    with pytest.raises(SpectraFMError, match=r"looks like nm: write \[26000, 27000\]"):
        check_windows([(2600, 2700)], (20000.0, 50000.0))


def test_pixels_of_windows():
    ends = (WAVELENGTH[100], WAVELENGTH[102])
    gap = (15812.0, 15850.0)
    first, second = pixels_in(WAVELENGTH, [ends, gap])
    assert first.tolist() == [100, 101, 102]
    assert second.size == 0
    assert np.flatnonzero(pixel_mask(WAVELENGTH, [ends, ends])).tolist() == [100, 101, 102]
    assert pixel_mask(WAVELENGTH, None).all()
    with pytest.raises(SpectraFMError, match=r"^x: no pixel lies in the window \[15812, 15850\]"):
        pixel_mask(WAVELENGTH, [ends, gap], "x")
