"""Abundances, ionisation and molecules of a stellar gas in local thermodynamic equilibrium.

All quantities are in cgs units unless a name says otherwise. Functions are vectorised: a
temperature may have any shape.

Sources
-------
Solar abundances: Grevesse, Asplund & Sauval 2007 (Space Sci. Rev. 130, 105), the scale of APOGEE.
Molecular equilibrium constants are checked in the tests against Barklem & Collet 2016
(A&A 588, A96).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BOLTZMANN = 1.380649e-16  # erg/K
PLANCK = 6.62607015e-27  # erg s
LIGHT_SPEED = 2.99792458e10  # cm/s
ELECTRON_VOLT = 1.602176634e-12  # erg
ATOMIC_MASS = 1.66053907e-24  # g


class Element(NamedTuple):
    """Solar abundance, mass, ionisation energy and partition functions of an element."""

    solar: float  # log10 of the number per 10^12 hydrogen nuclei
    mass: float  # atomic mass units
    ionisation: float  # eV, neutral to singly ionised
    neutral: float  # partition function of the neutral atom near 5000 K
    ion: float  # partition function of the ion near 5000 K


ELEMENTS = {
    "H": Element(12.00, 1.008, 13.598, 2.0, 1.0),
    "He": Element(10.93, 4.003, 24.587, 1.0, 2.0),
    "C": Element(8.39, 12.01, 11.260, 9.3, 5.9),
    "N": Element(7.78, 14.01, 14.534, 4.1, 9.0),
    "O": Element(8.66, 16.00, 13.618, 8.8, 4.0),
    "Na": Element(6.17, 22.99, 5.139, 2.1, 1.0),
    "Mg": Element(7.53, 24.31, 7.646, 1.02, 2.0),
    "Al": Element(6.37, 26.98, 5.986, 5.85, 1.0),
    "Si": Element(7.51, 28.09, 8.152, 9.3, 5.7),
    "P": Element(5.36, 30.97, 10.487, 4.5, 8.1),
    "S": Element(7.14, 32.06, 10.360, 8.1, 4.1),
    "K": Element(5.08, 39.10, 4.341, 2.2, 1.0),
    "Ca": Element(6.31, 40.08, 6.113, 1.18, 2.2),
    "Sc": Element(3.17, 44.96, 6.561, 12.0, 22.5),
    "Ti": Element(4.90, 47.87, 6.828, 29.5, 56.0),
    "V": Element(4.00, 50.94, 6.746, 46.0, 43.0),
    "Cr": Element(5.64, 52.00, 6.767, 10.4, 7.2),
    "Mn": Element(5.39, 54.94, 7.434, 6.4, 7.6),
    "Fe": Element(7.45, 55.85, 7.902, 26.5, 42.5),
    "Co": Element(4.92, 58.93, 7.881, 32.5, 28.5),
    "Ni": Element(6.23, 58.69, 7.640, 29.0, 10.5),
    "Cu": Element(4.21, 63.55, 7.726, 2.3, 1.0),
    "Ce": Element(1.58, 140.1, 5.539, 160.0, 190.0),
}

#: Position of each element along the abundance axis of every array.
INDEX = {symbol: position for position, symbol in enumerate(ELEMENTS)}

#: Solar log10 abundances, shape (elements,).
SOLAR = np.array([element.solar for element in ELEMENTS.values()])

MASS = np.array([element.mass for element in ELEMENTS.values()])

#: The elements that ASPCAP's [alpha/M] moves together.
ALPHA_ELEMENTS = ("O", "Mg", "Si", "S", "Ca", "Ti")

#: The elements that give a cool star its free electrons, besides hydrogen.
ELECTRON_DONORS = ("Na", "Mg", "Al", "Si", "K", "Ca", "Ti", "Fe", "Cr", "Ni", "C", "S")


def saha(symbol: str, temperature: np.ndarray) -> np.ndarray:
    """Ion-to-neutral ratio of an element times the electron density.

    Parameters
    ----------
    symbol : str
    temperature : numpy.ndarray
        K.

    Returns
    -------
    numpy.ndarray
        n_II n_e / n_I, cm^-3.
    """
    element = ELEMENTS[symbol]
    boltzmann_factor = np.exp(-element.ionisation * ELECTRON_VOLT / (BOLTZMANN * temperature))
    return 4.829e15 * element.ion / element.neutral * temperature**1.5 * boltzmann_factor


class Diatomic(NamedTuple):
    """Spectroscopic constants of a two-atom molecule (NIST; ground electronic state)."""

    atoms: tuple[str, str]
    dissociation: float  # eV
    rotation: float  # rotational constant B, cm^-1
    vibration: float  # harmonic frequency, cm^-1
    degeneracy: int  # electronic statistical weight
    symmetry: int  # 2 when the two nuclei are alike


DIATOMICS = {
    "CO": Diatomic(("C", "O"), 11.092, 1.9313, 2170.0, 1, 1),
    "OH": Diatomic(("O", "H"), 4.392, 18.91, 3738.0, 4, 1),
    "CN": Diatomic(("C", "N"), 7.72, 1.8997, 2069.0, 2, 1),
    "H2": Diatomic(("H", "H"), 4.478, 60.85, 4401.0, 1, 2),
    "N2": Diatomic(("N", "N"), 9.759, 1.998, 2359.0, 1, 2),
}

# In cool dwarfs water binds the oxygen that CO leaves, and its opacity weakens all other lines.
WATER_ROTATION = (27.88, 14.51, 9.28)  # cm^-1
WATER_VIBRATION = (3657.0, 1595.0, 3756.0)  # cm^-1
WATER_ATOMISATION = 9.511  # eV
WATER_SYMMETRY = 2


def molecule_mass(name: str) -> float:
    """Mass of a diatomic molecule, atomic mass units."""
    return sum(ELEMENTS[atom].mass for atom in DIATOMICS[name].atoms)


def _thermal(wavenumber: float, temperature: np.ndarray) -> np.ndarray:
    """Energy of a wavenumber (cm^-1) in units of kT."""
    return PLANCK * LIGHT_SPEED * wavenumber / (BOLTZMANN * temperature)


def _translation(mass: float, temperature: np.ndarray) -> np.ndarray:
    """Translational states per volume, cm^-3, of a particle of ``mass`` atomic mass units."""
    return (2 * np.pi * mass * ATOMIC_MASS * BOLTZMANN * temperature / PLANCK**2) ** 1.5


def molecular_partition(name: str, temperature: np.ndarray) -> np.ndarray:
    """Partition function of a diatomic molecule: rigid rotor times harmonic oscillator."""
    molecule = DIATOMICS[name]
    rotor = 1 / (_thermal(molecule.rotation, temperature) * molecule.symmetry)
    oscillator = 1 / -np.expm1(-_thermal(molecule.vibration, temperature))
    return molecule.degeneracy * rotor * oscillator


def dissociation_constant(name: str, temperature: np.ndarray) -> np.ndarray:
    """n_A n_B / n_AB of a diatomic molecule, cm^-3 (Guldberg-Waage law)."""
    molecule = DIATOMICS[name]
    first, second = (ELEMENTS[atom] for atom in molecule.atoms)
    reduced = first.mass * second.mass / (first.mass + second.mass)
    atoms = first.neutral * second.neutral
    binding = np.exp(-molecule.dissociation * ELECTRON_VOLT / (BOLTZMANN * temperature))
    states = _translation(reduced, temperature)
    return states * atoms / molecular_partition(name, temperature) * binding


def water_constant(temperature: np.ndarray) -> np.ndarray:
    """n_H^2 n_O / n_H2O, cm^-6."""
    hydrogen, oxygen = ELEMENTS["H"], ELEMENTS["O"]
    water_mass = 2 * hydrogen.mass + oxygen.mass
    rotor = np.sqrt(np.pi / np.prod([_thermal(b, temperature) for b in WATER_ROTATION], axis=0))
    oscillators = np.prod([-np.expm1(-_thermal(w, temperature)) for w in WATER_VIBRATION], axis=0)
    partition = rotor / WATER_SYMMETRY / oscillators
    atoms = hydrogen.neutral**2 * oxygen.neutral
    states = _translation(hydrogen.mass, temperature) ** 2
    states = states * _translation(oxygen.mass, temperature) / _translation(water_mass, temperature)
    binding = np.exp(-WATER_ATOMISATION * ELECTRON_VOLT / (BOLTZMANN * temperature))
    return states * atoms / partition * binding


def free_atoms_of_pair(nuclei: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Free atoms of an element that forms X2: solves n + 2 n^2 / constant = nuclei."""
    # This form of the root loses no digits when nearly all atoms stay free.
    return 2 * nuclei / (1 + np.sqrt(1 + 8 * nuclei / constant))


class Molecules:
    """Molecular equilibrium of carbon, nitrogen and oxygen at given temperatures.

    CO binds as much carbon and oxygen as its equilibrium allows, OH and H2O share the remaining
    oxygen, and N2 binds nitrogen. CN is a trace whose effect on C and N is neglected. The
    equilibrium constants depend on temperature alone and are computed once.

    Parameters
    ----------
    temperature : numpy.ndarray
        K.
    """

    def __init__(self, temperature: np.ndarray):
        self._constant = {name: dissociation_constant(name, temperature) for name in DIATOMICS}
        self._water = water_constant(temperature)

    def densities(
        self, hydrogen: np.ndarray, nuclei: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Number densities of free C, N and O and of CO, OH, CN and H2O, cm^-3.

        Parameters
        ----------
        hydrogen : numpy.ndarray
            Number density of neutral hydrogen atoms, cm^-3.
        nuclei : dict of str to numpy.ndarray
            Number densities of the nuclei of C, N and O, free or bound, cm^-3.
        """
        carbon, oxygen = nuclei["C"], nuclei["O"]
        per_oxygen_oh = hydrogen / self._constant["OH"]
        per_oxygen_water = hydrogen**2 / self._water
        # Oxygen outside CO, per free oxygen atom.
        shared = 1 + per_oxygen_oh + per_oxygen_water
        constant = self._constant["CO"] * shared
        # (carbon - x) (oxygen - x) = constant x; the smaller root, without loss of digits.
        total = carbon + oxygen + constant
        monoxide = 2 * carbon * oxygen / (total + np.sqrt(total**2 - 4 * carbon * oxygen))
        # The law of mass action avoids a difference of nearly equal numbers.
        oxygen_free = np.maximum(oxygen - monoxide, constant * monoxide / carbon) / shared
        carbon_free = self._constant["CO"] * monoxide / oxygen_free
        nitrogen_free = free_atoms_of_pair(nuclei["N"], self._constant["N2"])
        return {
            "C": carbon_free,
            "N": nitrogen_free,
            "O": oxygen_free,
            "CO": monoxide,
            "OH": oxygen_free * per_oxygen_oh,
            "H2O": oxygen_free * per_oxygen_water,
            "CN": carbon_free * nitrogen_free / self._constant["CN"],
        }
