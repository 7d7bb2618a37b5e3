"""Spectra from atmospheres: line opacity, Brackett lines, emergent flux.

Spectra are computed on a grid three times finer than APOGEE's pixels (1.38 km/s) and returned as
emergent flux over continuum, without instrumental effects.
"""

from __future__ import annotations

import numpy as np

from spectrafm.surveys.apogee.grid import LOG_WAVELENGTH_START, LOG_WAVELENGTH_STEP, N_GRID
from spectrafm.surveys.mock.atmosphere import N_LAYERS, OPTICAL_DEPTH, Atmosphere
from spectrafm.surveys.mock.chemistry import (
    ATOMIC_MASS,
    BOLTZMANN,
    ELECTRON_VOLT,
    LIGHT_SPEED,
    PLANCK,
)
from spectrafm.surveys.mock.lines import LineList

#: Fine pixels per APOGEE pixel.
OVERSAMPLING = 3
N_FINE = OVERSAMPLING * N_GRID

#: Width of a fine pixel, cm/s.
FINE_STEP = LIGHT_SPEED * np.log(10) * LOG_WAVELENGTH_STEP / OVERSAMPLING

#: Wavelength of the fine pixels, Angstrom: three of them share the centre of an APOGEE pixel.
FINE_WAVELENGTH = 10 ** (
    LOG_WAVELENGTH_START
    + LOG_WAVELENGTH_STEP / OVERSAMPLING * (np.arange(N_FINE) - (OVERSAMPLING - 1) / 2)
)

OSCILLATOR = 0.026540  # pi e^2 / m_e c, cm^2 Hz

# Lines and wings that absorb less than this share of the continuum are left out.
_NEGLIGIBLE = 2e-3
_WIDEST = 400  # fine pixels

# Layers whose mean gives the shape of a line, near optical depth 0.16.
_LINE_LAYERS = [9, 10]
# Layer that decides whether a line is worth computing: continuum optical depth near 0.1.
_DEPTH_LAYER = 11

# Brackett series, upper levels 11 to 24: absorption oscillator strengths (Menzel & Pekeris 1935);
# beyond the table f n^3 is constant.
_BRACKETT_STRENGTH = {
    11: 6.14e-3, 12: 4.65e-3, 13: 3.62e-3, 14: 2.88e-3, 15: 2.34e-3, 16: 1.93e-3, 17: 1.61e-3,
    **{n: 7.9 / n**3 for n in range(18, 25)},
}  # fmt: skip
_RYDBERG = 109677.58  # cm^-1
_BRACKETT_EXCITATION = 12.7485  # eV, level 4
_BRACKETT_WEIGHT = 32  # statistical weight of level 4
# Factor that matches mean APOGEE spectra, since the Stark profile is crude and hydrogen is in LTE.
_BRACKETT_SCALE = 0.6
# Integral of 1 / (1 + |x|^2.5) over all x.
_STARK_AREA = 0.8 * np.pi / np.sin(np.pi / 2.5)
# Half-width of the window of a Brackett line, in units of its width.
_STARK_REACH = 40


def _integrator() -> np.ndarray:
    """Matrix that turns opacity over Rosseland opacity, by layer, into optical depth."""
    step = np.log(OPTICAL_DEPTH[1] / OPTICAL_DEPTH[0])
    matrix = np.tril(np.ones((N_LAYERS, N_LAYERS)), -1) + 0.5 * np.eye(N_LAYERS)
    matrix[1:, 0] = 0.5
    matrix *= step * OPTICAL_DEPTH
    # Above the first layer the ratio of opacities is taken as constant.
    matrix[:, 0] += OPTICAL_DEPTH[0]
    matrix[0, 0] = OPTICAL_DEPTH[0]
    return matrix


_INTEGRATOR = _integrator()


def normalised_flux(
    atmosphere: Atmosphere,
    star: int,
    vmicro: float,
    lines: LineList,
    brackett: float = 1.0,
) -> np.ndarray:
    """Emergent flux over continuum of one star.

    Parameters
    ----------
    atmosphere : Atmosphere
        A batch of atmospheres.
    star : int
        Which one of the batch.
    vmicro : float
        Microturbulence, km/s.
    lines : LineList
    brackett : float
        Factor on the opacity of the hydrogen lines.

    Returns
    -------
    numpy.ndarray
        Shape (N_FINE,), float32.
    """
    layers = Layers(atmosphere, star)
    depth = metal_lines(layers, vmicro, lines)
    add_brackett(depth, layers, brackett)
    depth += layers.continuum[:, None].astype(np.float32)
    continuum = emergent(layers, layers.continuum[:, None])
    return emergent(layers, depth) / continuum.astype(np.float32)


class Layers:
    """The layers of one star's atmosphere, with the quantities that the synthesis needs.

    Attributes
    ----------
    temperature : numpy.ndarray
        Shape (layers,), K.
    planck : numpy.ndarray
        Shape (layers,).
        Source function in the middle of the H band, arbitrary unit.
    continuum : numpy.ndarray
        Shape (layers,).
        Continuous optical depth in the H band.
    """

    def __init__(self, atmosphere: Atmosphere, star: int):
        self.temperature = atmosphere.temperature[star]
        self.electrons = atmosphere.electrons[star]
        self.hydrogen = atmosphere.hydrogen[star]
        self.rosseland = atmosphere.rosseland[star]
        self.weighted = {s: number[star] for s, number in atmosphere.weighted.items()}
        self.quantum = PLANCK * LIGHT_SPEED / 1.6e-4 / (BOLTZMANN * self.temperature)
        self.planck = 1 / np.expm1(self.quantum)
        self.continuum = _INTEGRATOR @ (atmosphere.h_band[star] / self.rosseland)

    def absorption(self, species: str, excitation: np.ndarray) -> np.ndarray:
        """Line opacity over Rosseland opacity, per gf, wavelength (cm) and profile (s/cm).

        Parameters
        ----------
        species : str
        excitation : numpy.ndarray
            Shape (lines,), eV.

        Returns
        -------
        numpy.ndarray
            Shape (lines, layers).
        """
        boltzmann = np.exp(-np.outer(excitation, ELECTRON_VOLT / (BOLTZMANN * self.temperature)))
        absorbers = self.weighted[species] * -np.expm1(-self.quantum) / self.rosseland
        return OSCILLATOR * absorbers * boltzmann


def emergent(layers: Layers, depth: np.ndarray) -> np.ndarray:
    """Two-stream emergent flux: B at the surface plus dB attenuated by exp(-sqrt(3) tau).

    Parameters
    ----------
    depth : numpy.ndarray
        Shape (layers, pixels).
        Optical depth.

    Returns
    -------
    numpy.ndarray
        Shape (pixels,).
    """
    rise = np.diff(layers.planck)
    weights = 0.5 * (np.append(rise, 0) + np.insert(rise, 0, 0)).astype(depth.dtype)
    attenuation = depth * depth.dtype.type(-np.sqrt(3))
    np.exp(attenuation, out=attenuation)
    surface = depth.dtype.type(layers.planck[0])
    return surface + np.einsum("lp,l->p", attenuation, weights)


def metal_lines(layers: Layers, vmicro: float, lines: LineList) -> np.ndarray:
    """Optical depth of all lines of the list at every layer and fine pixel.

    The strength of a line is computed in every layer; its shape is that in the layers where it
    forms.

    Returns
    -------
    numpy.ndarray
        Shape (layers, N_FINE), float32.
    """
    strength = np.empty((len(lines), N_LAYERS))
    for species, members in lines.by_species.items():
        strength[members] = layers.absorption(species, lines.excitation[members])
    strength *= (10**lines.loggf * lines.wavelength * 1e-8 / FINE_STEP)[:, None]
    strength = np.einsum("il,nl->ni", _INTEGRATOR, strength)
    width, share = _voigt_shape(layers, vmicro, lines)

    # Distance from the centre up to which a line is not negligible, in fine pixels.
    contrast = strength[:, _DEPTH_LAYER] / layers.continuum[_DEPTH_LAYER] / _NEGLIGIBLE
    wing = np.sqrt(contrast * share * width / (2 * np.pi))
    reach = np.clip(np.maximum(1.8 * width, wing), 4, _WIDEST).astype(int)
    kept = np.flatnonzero(contrast > width)

    # One entry for every pixel under every line.
    reach = reach[kept]
    entries = 2 * reach + 1
    line = np.repeat(kept, entries)
    offset = np.arange(entries.sum()) - np.repeat(np.cumsum(entries) - entries + reach, entries)
    centre = _fine_position(lines.wavelength)
    pixel = np.rint(centre).astype(int)[line] + offset
    inside = (pixel >= 0) & (pixel < N_FINE)
    line, pixel = line[inside], pixel[inside]
    profile = _pseudo_voigt(pixel - centre[line], width[line], share[line])
    depth = np.empty((N_LAYERS, N_FINE), dtype=np.float32)
    for layer, of_line in enumerate(strength.T):
        depth[layer] = np.bincount(pixel, profile * of_line[line], N_FINE)
    return depth


def _fine_position(wavelength: np.ndarray) -> np.ndarray:
    """Fractional fine pixel of a wavelength."""
    pixels = (np.log10(wavelength) - LOG_WAVELENGTH_START) / LOG_WAVELENGTH_STEP
    return OVERSAMPLING * pixels + (OVERSAMPLING - 1) / 2


def _voigt_shape(layers: Layers, vmicro: float, lines: LineList) -> tuple[np.ndarray, np.ndarray]:
    """Full width at half maximum (fine pixels) and Lorentzian share of every line's profile.

    Pseudo-Voigt approximation of Thompson, Cox & Hastings 1987 (J. Appl. Cryst. 20, 79).
    """
    temperature = layers.temperature[_LINE_LAYERS].mean()
    hydrogen = np.sqrt(layers.hydrogen[_LINE_LAYERS].prod())
    thermal = 2 * BOLTZMANN * temperature / (lines.mass * ATOMIC_MASS)
    gauss = 2 * np.sqrt(np.log(2) * (thermal + (1e5 * vmicro) ** 2)) / FINE_STEP
    # Van der Waals damping, and 3e7 rad/s of radiative damping.
    gamma = 10**lines.damping * hydrogen * (temperature / 1e4) ** 0.3 + 3e7
    lorentz = gamma * lines.wavelength * 1e-8 / (2 * np.pi) / FINE_STEP
    return _pseudo_voigt_of(gauss, lorentz)


def _pseudo_voigt_of(gauss: np.ndarray, lorentz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Full width and Lorentzian share from the full widths of the Gaussian and the Lorentzian."""
    polynomial = np.polyval([1, 0.07842, 4.47163, 2.42843, 2.69269, 1], lorentz / gauss)
    width = gauss * polynomial**0.2
    return width, np.polyval([0.11116, -0.47719, 1.36603, 0], lorentz / width)


def _pseudo_voigt(offset: np.ndarray, width: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Profile of unit area at ``offset`` from the centre, all in fine pixels."""
    x2 = (2 * offset / width) ** 2
    lorentz = share / np.pi / (1 + x2)
    gauss = (1 - share) * np.sqrt(np.log(2) / np.pi) * np.exp(-np.log(2) * x2)
    return 2 / width * (lorentz + gauss)


def add_brackett(depth: np.ndarray, layers: Layers, scale: float) -> None:
    """Add the hydrogen lines to ``depth`` (layers, N_FINE), in place.

    Hydrogen lines form deeper than metal lines and are broadened by electrons (linear Stark
    effect), so each layer has its own profile. This is how the spectra depend on log g.
    """
    lower = layers.absorption("H", np.array([_BRACKETT_EXCITATION]))
    normal_field = 1.25e-9 * layers.electrons ** (2 / 3)  # Holtsmark's F_0, cgs
    thermal = np.sqrt(2 * BOLTZMANN * layers.temperature / ATOMIC_MASS)
    for level, oscillator in _BRACKETT_STRENGTH.items():
        wavelength = 1e8 / (_RYDBERG * (1 / 16 - 1 / level**2))  # Angstrom
        doppler = wavelength * thermal / LIGHT_SPEED
        stark = 5.5e-5 * (16 * level**2) ** 2 / (level**2 - 16) * normal_field
        width = np.hypot(doppler, stark)
        first, last = np.searchsorted(
            FINE_WAVELENGTH,
            wavelength + np.array([-1, 1]) * _STARK_REACH * width[_DEPTH_LAYER],
        )
        distance = FINE_WAVELENGTH[first:last] - wavelength
        x2 = ((distance / width[:, None]) ** 2).astype(np.float32)
        # |x|^2.5 as x^2 times the fourth root of x^2, which is many times faster than a power.
        profile = 1 / (1 + x2 * np.sqrt(np.sqrt(x2)))
        area = _STARK_AREA * width * 1e-8 * LIGHT_SPEED / (wavelength * 1e-8)  # cm/s
        strength = scale * _BRACKETT_SCALE * _BRACKETT_WEIGHT * oscillator * wavelength * 1e-8
        weights = (_INTEGRATOR * (strength * lower / area)).astype(np.float32)
        depth[:, first:last] += np.einsum("il,lp->ip", weights, profile)
