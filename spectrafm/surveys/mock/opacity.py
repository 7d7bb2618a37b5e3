"""Continuous opacity of cool stars: H-, H, Rayleigh and Thomson scattering, and steam.

Sources
-------
H- bound-free and free-free: John 1988 (A&A 193, 189). Hydrogen: hydrogenic cross-sections with a
Gaunt factor of one. Water vapour: one effective cross-section, see `STEAM`.
"""

from __future__ import annotations

import numpy as np

from spectrafm.surveys.mock.chemistry import BOLTZMANN

THOMSON = 6.6524e-25  # cm^2 per electron

#: Absorption by water vapour beyond 0.9 micron, cm^2 per molecule. Its millions of weak lines act
#: as a continuum that veils the atomic lines of M dwarfs; this one value stands for the troughs
#: between them. It is set so that the Al and K lines have the depths of ASPCAP's best fits (DR13)
#: to M dwarfs of 3000 to 3200 K; without it they are far too deep.
STEAM = 4e-22
_STEAM_FROM = 0.9  # micron

# John (1988), bound-free, C_n; the threshold wavelength in micron.
_BOUND_FREE = (152.519, 49.534, -118.858, 92.536, -34.194, 4.982)
_THRESHOLD = 1.6419
_ALPHA = 1.439e4  # hc/k in micron K, as John (1988) rounds it

# John (1988), free-free beyond 0.3645 micron: A_n ... F_n for n = 1 ... 6. Used down to 0.35 micron
# as well, where free-free is a small part of H-.
_FREE_FREE = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [2483.346, 285.827, -2054.291, 2827.776, -1341.537, 208.952],
        [-3449.889, -1158.382, 8746.523, -11485.632, 5303.609, -812.939],
        [2200.040, 2427.719, -13651.105, 16755.524, -7510.494, 1132.738],
        [-696.271, -1841.400, 8624.970, -10051.530, 4400.067, -655.020],
        [88.283, 444.517, -1863.864, 2095.288, -901.788, 132.985],
    ]
)

#: Wavelengths of the Rosseland mean, micron.
ROSSELAND_WAVELENGTHS = np.geomspace(0.35, 2.6, 9)

#: The one wavelength, micron, whose continuous opacity stands for the whole H band.
H_BAND = 1.6


def hminus_bound_free(wavelength: float, temperature: np.ndarray) -> np.ndarray:
    """Bound-free absorption of H-, cm^4/dyne per neutral hydrogen atom and electron pressure.

    Parameters
    ----------
    wavelength : float, micron
    temperature : numpy.ndarray
        K.
    """
    if wavelength >= _THRESHOLD:
        return np.zeros_like(temperature)
    x = 1 / wavelength - 1 / _THRESHOLD
    series = sum(c * x ** (n / 2) for n, c in enumerate(_BOUND_FREE))
    cross_section = 1e-18 * wavelength**3 * x**1.5 * series
    saha_factor = 0.750 * temperature**-2.5 * np.exp(_ALPHA / (_THRESHOLD * temperature))
    return saha_factor * stimulated(wavelength, temperature) * cross_section


def hminus_free_free(wavelength: float, temperature: np.ndarray) -> np.ndarray:
    """Free-free absorption of H-, cm^4/dyne per neutral hydrogen atom and electron pressure."""
    powers = np.array([wavelength**2, 1, *(wavelength**-k for k in range(1, 5))])
    per_order = _FREE_FREE @ powers
    theta = 5040 / temperature
    return 1e-29 * sum(c * theta ** ((n + 2) / 2) for n, c in enumerate(per_order))


def hydrogen(wavelength: float, temperature: np.ndarray) -> np.ndarray:
    """Bound-free and free-free absorption of neutral hydrogen, cm^2 per atom."""
    chi = 157_890 / temperature  # ionisation energy of hydrogen over kT
    # Levels whose edge lies redward of the wavelength; above the eighth, the sum over levels is
    # an integral that the free-free term (Unsoeld 1955) continues.
    bound = sum(
        np.exp(-chi * (1 - 1 / n**2)) / n**3 for n in range(1, 9) if wavelength < 0.0911763 * n**2
    )
    free = np.exp(-chi) * np.exp(chi / 81) / (2 * chi)
    angstrom = 1e4 * wavelength
    return 1.045e-26 * angstrom**3 * (bound + free) * stimulated(wavelength, temperature)


def rayleigh(wavelength: float) -> float:
    """Rayleigh scattering by neutral hydrogen, cm^2 per atom."""
    return 5.8e-29 / wavelength**4


def stimulated(wavelength: float, temperature: np.ndarray) -> np.ndarray:
    """Correction for stimulated emission, 1 - exp(-hc / lambda k T)."""
    return -np.expm1(-_ALPHA / (wavelength * temperature))


def rosseland_weight(wavelength: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Weight of the Rosseland mean per logarithmic wavelength: dB/dT times frequency, unscaled.

    dB_nu/dT goes as x^4 e^x / (e^x - 1)^2 with x = hc / lambda k T, and d nu as x d ln lambda.
    """
    x = _ALPHA / (wavelength * temperature)
    return x**5 * np.exp(-x) / np.expm1(-x) ** 2


class ContinuousOpacity:
    """Continuous opacity of a gas at given temperatures, for changing densities.

    Terms that depend on temperature alone are computed once, because the hydrostatic iteration
    changes only the pressures.

    Parameters
    ----------
    temperature : numpy.ndarray
        K.
    """

    def __init__(self, temperature: np.ndarray):
        self._temperature = temperature
        self._wavelengths = [*ROSSELAND_WAVELENGTHS, H_BAND]
        self._hminus = np.stack(
            [
                hminus_bound_free(w, temperature) + hminus_free_free(w, temperature)
                for w in self._wavelengths
            ]
        )
        self._hydrogen = np.stack(
            [hydrogen(w, temperature) + rayleigh(w) for w in self._wavelengths]
        )
        self._steam = np.where(np.array(self._wavelengths) > _STEAM_FROM, STEAM, 0.0)
        self._steam = self._steam.reshape(-1, *(1 for _ in temperature.shape))
        weights = np.stack([rosseland_weight(w, temperature) for w in ROSSELAND_WAVELENGTHS])
        self._weights = weights / weights.sum(axis=0)

    def means(
        self, hydrogen_atoms: np.ndarray, electrons: np.ndarray, water: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Opacity per volume, cm^-1.

        Parameters
        ----------
        hydrogen_atoms, electrons, water : numpy.ndarray
            Number densities of neutral hydrogen, electrons and H2O, cm^-3.

        Returns
        -------
        rosseland, h_band : numpy.ndarray
            The Rosseland mean and the opacity at 1.6 micron.
        """
        electron_pressure = electrons * BOLTZMANN * self._temperature
        by_wavelength = hydrogen_atoms * (self._hminus * electron_pressure + self._hydrogen)
        by_wavelength += THOMSON * electrons + self._steam * water
        rosseland = 1 / (self._weights / by_wavelength[:-1]).sum(axis=0)
        return rosseland, by_wavelength[-1]
