"""Gray model atmospheres in hydrostatic and local thermodynamic equilibrium.

Each atmosphere has sixteen layers in Rosseland optical depth; all stars of a batch are solved at
once. The Sun's pressures at optical depth one are within a few hundredths of a dex of textbook
values (tests/test_mock_physics.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrafm.surveys.mock import chemistry
from spectrafm.surveys.mock.chemistry import BOLTZMANN, ELECTRON_DONORS, INDEX
from spectrafm.surveys.mock.columns import Columns
from spectrafm.surveys.mock.opacity import ContinuousOpacity

#: Rosseland optical depth of the layers.
OPTICAL_DEPTH = 10 ** np.arange(-4.6, 1.61, 0.4)
N_LAYERS = OPTICAL_DEPTH.size

# Damped iterations of pressure and electron density together; both errors halve at every step.
_ITERATIONS = 30


@dataclass(frozen=True)
class Parameters(Columns):
    """Parameters that determine a star's spectrum; one entry per star."""

    teff: np.ndarray  # K
    logg: np.ndarray  # log10 of cm s^-2
    abundance: np.ndarray  # (stars, elements), log10 of the number per 10^12 hydrogen nuclei
    vmicro: np.ndarray  # km/s
    broadening: np.ndarray  # km/s, full width at half maximum of macroturbulence and rotation


@dataclass(frozen=True)
class Atmosphere:
    """State of the gas in cgs units; each array has shape (stars, layers)."""

    temperature: np.ndarray  # K
    pressure: np.ndarray  # dyne cm^-2
    electrons: np.ndarray  # cm^-3
    hydrogen: np.ndarray  # neutral atoms, cm^-3
    rosseland: np.ndarray  # opacity, cm^-1
    h_band: np.ndarray  # continuous opacity at 1.6 micron, cm^-1
    weighted: dict[str, np.ndarray]  # number density over partition function, by line species


def temperature_structure(
    teff: np.ndarray, metallicity: np.ndarray, surface_change: np.ndarray | float = 0.0
) -> np.ndarray:
    """Temperature of a gray atmosphere whose surface is cooled by lines.

    Parameters
    ----------
    teff : numpy.ndarray
        Shape (stars,), K.
    metallicity : numpy.ndarray
        Shape (stars,).
        [M/H]: the fewer the metals, the weaker the line cooling.
    surface_change : numpy.ndarray or float
        Shape (stars,).
        Relative change of the temperature far above optical depth 0.1, which stands for what
        one-dimensional atmospheres miss.

    Returns
    -------
    numpy.ndarray
        Shape (stars, layers), K.
    """
    hopf = 0.7104 - 0.1331 * np.exp(-3.4488 * OPTICAL_DEPTH)
    gray = teff[:, None] * (0.75 * (OPTICAL_DEPTH + hopf)) ** 0.25
    line_cooling = 0.035 * np.clip(1 + 0.25 * metallicity, 0, None)
    cooled = 1 - line_cooling[:, None] * np.exp(-OPTICAL_DEPTH / 0.05)
    changed = 1 + np.reshape(surface_change, (-1, 1)) * np.exp(-OPTICAL_DEPTH / 0.1)
    return gray * cooled * changed


def solve(parameters: Parameters, surface_change: np.ndarray | float = 0.0) -> Atmosphere:
    """Solve the atmospheres of a batch of stars.

    Hydrostatic equilibrium dP/dtau = g/kappa and the electron density are iterated together,
    each step damped by half in the logarithm: the opacity of H- grows about linearly with
    pressure, so the undamped iteration would oscillate without end.

    Parameters
    ----------
    parameters : Parameters
    surface_change : numpy.ndarray or float
        Shape (stars,).
        See `temperature_structure`.
    """
    metallicity = parameters.abundance[:, INDEX["Fe"]] - chemistry.SOLAR[INDEX["Fe"]]
    temperature = temperature_structure(parameters.teff, metallicity, surface_change)
    gravity = 10 ** parameters.logg[:, None]
    opacity = ContinuousOpacity(temperature)
    gas = _Gas(temperature, parameters.abundance)
    pressure = gravity * OPTICAL_DEPTH**0.6 / 0.05
    electrons = 1e-4 * pressure / (BOLTZMANN * temperature)
    for _ in range(_ITERATIONS):
        hydrogen, density, electrons = gas.state(pressure, electrons)
        formed = gas.molecules(hydrogen, density)
        rosseland, h_band = opacity.means(hydrogen, electrons, formed["H2O"])
        pressure = np.sqrt(pressure * _hydrostatic(gravity, rosseland / density))
    return Atmosphere(
        temperature,
        pressure,
        electrons,
        hydrogen,
        rosseland,
        h_band,
        gas.species(hydrogen, density, electrons, formed),
    )


def _hydrostatic(gravity: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Pressure that carries the layers above: the integral of g/kappa over optical depth."""
    per_log_depth = gravity / opacity * OPTICAL_DEPTH
    step = np.diff(np.log(OPTICAL_DEPTH))
    slabs = 0.5 * step * (per_log_depth[:, 1:] + per_log_depth[:, :-1])
    # Above the first layer the opacity is taken as proportional to pressure: P = 2 g tau / kappa.
    top = 2 * per_log_depth[:, :1]
    return np.concatenate([top, top + np.cumsum(slabs, axis=1)], axis=1)


class _Gas:
    """Equation of state of one batch; terms that depend on temperature alone are computed once."""

    def __init__(self, temperature: np.ndarray, abundance: np.ndarray):
        self._temperature = temperature
        # Number of each element per hydrogen nucleus, (stars, elements).
        self._ratio = 10 ** (abundance - 12)
        self._others = self._ratio[:, 1:].sum(axis=1)[:, None]
        self._mass = (self._ratio @ chemistry.MASS)[:, None] * chemistry.ATOMIC_MASS
        self._saha = {s: chemistry.saha(s, temperature) for s in ("H", *ELECTRON_DONORS)}
        self._molecules = chemistry.Molecules(temperature)
        self._h2 = chemistry.dissociation_constant("H2", temperature)

    def of(self, symbol: str) -> np.ndarray:
        """Number of an element per hydrogen nucleus, (stars, 1)."""
        return self._ratio[:, INDEX[symbol], None]

    def state(self, pressure: np.ndarray, electrons: np.ndarray):
        """Neutral hydrogen (cm^-3), density (g cm^-3) and a better electron density (cm^-3)."""
        heavy = np.maximum(pressure / (BOLTZMANN * self._temperature) - electrons, 1.0)
        protons = self._saha["H"] / electrons  # per neutral atom
        # Particles: atoms and protons and H2, and the other elements per hydrogen nucleus:
        # linear n + quadratic n^2 = heavy, solved for the neutral atoms n.
        linear = (1 + self._others) * (1 + protons)
        quadratic = (1 + 2 * self._others) / self._h2
        hydrogen = 2 * heavy / (linear + np.sqrt(linear**2 + 4 * quadratic * heavy))
        nuclei = hydrogen * (1 + protons) + 2 * hydrogen**2 / self._h2
        given = hydrogen * protons
        for symbol in ELECTRON_DONORS:
            ratio = self._saha[symbol]
            given = given + nuclei * self.of(symbol) * ratio / (ratio + electrons)
        return hydrogen, nuclei * self._mass, np.sqrt(electrons * given)

    def molecules(self, hydrogen: np.ndarray, density: np.ndarray) -> dict[str, np.ndarray]:
        """Number densities of free C, N, O and of the molecules, cm^-3."""
        nuclei = density / self._mass
        return self._molecules.densities(hydrogen, {s: nuclei * self.of(s) for s in "CNO"})

    def species(self, hydrogen, density, electrons, formed) -> dict[str, np.ndarray]:
        """Number density over partition function, cm^-3, of every species that has lines."""
        nuclei = density / self._mass
        weighted = {"H": hydrogen / chemistry.ELEMENTS["H"].neutral}
        for symbol, element in chemistry.ELEMENTS.items():
            if symbol in ("H", "He"):
                continue
            ionised = chemistry.saha(symbol, self._temperature) / electrons
            atoms = formed.get(symbol, nuclei * self.of(symbol))
            weighted[symbol] = atoms / (1 + ionised) / element.neutral
            # Ti2 is the spectroscopists' Ti II.
            weighted[f"{symbol}2"] = atoms * ionised / (1 + ionised) / element.ion
        for name in ("CO", "OH", "CN"):
            partition = chemistry.molecular_partition(name, self._temperature)
            weighted[name] = formed[name] / partition
        return weighted
