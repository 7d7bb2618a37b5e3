"""Wavelengths in air and in vacuum.

The refractive index of dry air at 15 degrees Celsius, 101325 Pa and 450 ppm of CO2 is that of
Ciddor (1996, Applied Optics 35, 1566, equation 1), as in specutils' method ``Ciddor1996`` and in
APOGEE's pipeline.
"""

from __future__ import annotations

import numpy as np

#: Angstrom; below this wavelength the convention is vacuum, and the formula does not hold.
SHORTEST_IN_AIR = 2000.0


def refractive_index(vacuum: np.ndarray) -> np.ndarray:
    """Refractive index of standard air.

    Parameters
    ----------
    vacuum : numpy.ndarray
        Wavelength in vacuum, Angstrom, at least `SHORTEST_IN_AIR`.

    Returns
    -------
    numpy.ndarray
        Dimensionless, the same shape.
    """
    wavenumber2 = (1e4 / np.asarray(vacuum, np.float64)) ** 2  # micrometre**-2
    return 1 + 0.05792105 / (238.0185 - wavenumber2) + 0.00167917 / (57.362 - wavenumber2)


def vacuum_to_air(vacuum: np.ndarray) -> np.ndarray:
    """Wavelength in standard air, Angstrom, of a wavelength in vacuum, Angstrom."""
    return vacuum / refractive_index(vacuum)


def air_to_vacuum(air: np.ndarray) -> np.ndarray:
    """Wavelength in vacuum, Angstrom, of a wavelength in standard air, Angstrom.

    The inverse of `vacuum_to_air`, by fixed-point iteration: each step divides the error by more
    than 10,000, so that three give the precision of float64.
    """
    vacuum = np.array(air, np.float64)
    for _ in range(4):
        vacuum = air * refractive_index(vacuum)
    return vacuum
