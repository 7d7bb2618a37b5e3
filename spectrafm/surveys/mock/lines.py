"""The line list, and how the lines of observed stars differ from those of ASPCAP's models."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np

from spectrafm.surveys.mock import chemistry


@dataclass(frozen=True)
class LineList:
    """Absorption lines in order of wavelength; every array has one value per line."""

    species: np.ndarray  # str: an element, an element and "2" for its ion, or a molecule
    wavelength: np.ndarray  # Angstrom, vacuum
    excitation: np.ndarray  # eV
    loggf: np.ndarray
    damping: np.ndarray  # van der Waals, log10 rad/s per hydrogen atom and cm^-3 at 10^4 K
    giant: np.ndarray  # line-to-continuum opacity in a 4500 K giant

    def __len__(self) -> int:
        return len(self.wavelength)

    def stronger(self, change: np.ndarray | float) -> LineList:
        """The same lines with ``change`` (dex; one value, or one per line) added to log gf."""
        return replace(self, loggf=self.loggf + change)

    @functools.cached_property
    def by_species(self) -> dict[str, np.ndarray]:
        """Positions of the lines of each species."""
        return {str(s): np.flatnonzero(self.species == s) for s in np.unique(self.species)}

    @functools.cached_property
    def mass(self) -> np.ndarray:
        """Mass of the absorbing particle, atomic mass units."""
        return np.array([_mass(species) for species in self.species])


def _mass(species: str) -> float:
    if species in chemistry.DIATOMICS:
        return chemistry.molecule_mass(species)
    return chemistry.ELEMENTS[species.removesuffix("2")].mass


@functools.cache
def read_lines() -> LineList:
    """Read the line list ``lines.csv``, whose header names its sources."""
    text = resources.files(__package__).joinpath("lines.csv").read_text("utf-8")
    names, *rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    column = dict(zip(names, zip(*rows, strict=True), strict=True))
    return LineList(
        np.array(column["species"]),
        *(
            np.array(column[name], dtype=float)
            for name in ("wave_vac", "ep", "loggf", "lg_vdw", "eta_giant")
        ),
    )


# Seeds of the differences between observed stars and models. They represent physics, so they are
# the same in every mock survey whatever its own seed.
_SKY_SEED = 1615
_MODEL_SEED = 1624


def sky_lines(teff: float, logg: float, fe_h: float, gap: float) -> LineList:
    """Lines of an observed star: the line list with departures that the models do not include.

    Species and single lines depart by 0.06 and 0.05 dex, more in hot stars and giants, like errors
    of one-dimensional LTE. Iron lines weaken with falling metallicity, as overionisation causes.

    Parameters
    ----------
    teff : float, K
    logg : float
    fe_h : float
        [Fe/H].
    gap : float
        Factor on all departures.
    """
    lines = read_lines()
    species, single = _departures()
    trend = 1 + 0.6 * (teff - 4800) / 1000 - 0.5 * (logg - 2.5) / 2
    change = (species + single) * trend
    change = change - 0.05 * max(0.0, -fe_h) * (lines.species == "Fe")
    return lines.stronger(gap * change)


@functools.cache
def _departures() -> tuple[np.ndarray, np.ndarray]:
    """Departures of each line's species and of the line itself, dex."""
    lines = read_lines()
    rng = np.random.default_rng(_SKY_SEED)
    of_species = {species: rng.normal(0, 0.06) for species in lines.by_species}
    species = np.array([of_species[str(s)] for s in lines.species])
    return species, rng.normal(0, 0.05, len(lines))


@functools.cache
def model_lines(gap: float) -> LineList:
    """Lines of the models: errors of 0.10 dex, and a quarter of the weak lines absent.

    Parameters
    ----------
    gap : float
        Factor on the errors; absent lines keep the share ``1 - gap`` of their strength, and
        vanish at 1 and above.
    """
    lines = read_lines()
    rng = np.random.default_rng(_MODEL_SEED)
    error = gap * rng.normal(0, 0.10, len(lines))
    absent = (lines.giant < np.median(lines.giant)) & (rng.random(len(lines)) < 0.25)
    remaining = max(1 - gap, 1e-30)
    return lines.stronger(error + np.where(absent, np.log10(remaining), 0.0))
