"""Drawing the stars of the mock survey: labels, abundances, motions.

The tables below are percentiles and medians of the labels of APOGEE DR17 after the paper's cuts
(S/N > 200 and no bad flag); no individual star of DR17 is used. Halo stars are drawn separately, so
that their share can be raised: a small mock survey with DR17's share would have only a few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrafm.surveys.mock.chemistry import ALPHA_ELEMENTS, ELEMENTS, INDEX, SOLAR
from spectrafm.surveys.mock.columns import Columns

#: Limits of the effective temperature, K; gray atmospheres are not valid for cooler stars.
TEFF_RANGE = (3200.0, 6900.0)

# Shares of log g in steps of 0.25 from 0 to 5: the red clump stands out at 2.25 to 2.75.
_LOGG_EDGES = np.arange(0, 5.01, 0.25)
_LOGG_SHARES = np.array([
    0.005, 0.011, 0.026, 0.042, 0.046, 0.051, 0.055, 0.054, 0.047, 0.170,
    0.107, 0.047, 0.035, 0.029, 0.019, 0.036, 0.062, 0.073, 0.080, 0.001,
])  # fmt: skip

# Percentiles of [Fe/H] > -1, by log g.
_PERCENT = np.array([0, 1, 5, 25, 50, 75, 95, 99, 100])
_FE_H_BY_LOGG = {
    1.0: (-1.0, -0.952, -0.822, -0.600, -0.446, -0.121, 0.235, 0.345, 0.43),
    2.0: (-1.0, -0.884, -0.708, -0.468, -0.290, -0.083, 0.202, 0.330, 0.43),
    3.0: (-1.0, -0.771, -0.569, -0.316, -0.138, 0.025, 0.228, 0.332, 0.41),
    4.0: (-1.0, -0.674, -0.497, -0.263, -0.106, 0.052, 0.257, 0.355, 0.45),
    5.0: (-1.0, -0.620, -0.434, -0.188, -0.051, 0.066, 0.234, 0.330, 0.42),
}

# Red giants: Teff = base + slope [Fe/H] at a log g, with the scatter about it, K.
_GIANT_LOGG = (0.0, 0.75, 1.25, 1.75, 2.15, 2.40, 2.75, 3.0)
_GIANT_TEFF = (3114, 3577, 3896, 4210, 4460, 4662, 4788, 4861)
_GIANT_SLOPE = (-386, -386, -401, -386, -360, -404, -251, -251)
_GIANT_SCATTER = (106, 106, 75, 83, 116, 92, 132, 120)

# Subgiants: percentiles of Teff by log g, K.
_SUBGIANT_PERCENT = (0, 5, 25, 50, 75, 95, 100)
_SUBGIANT_TEFF = {
    3.25: (4590, 4717, 4816, 4899, 4983, 5091, 5210),
    3.50: (4600, 4797, 4886, 4976, 5063, 5232, 6220),
    3.75: (4750, 4883, 5018, 5169, 5646, 6265, 6500),
    4.00: (4900, 5091, 5542, 5896, 6129, 6437, 6670),
}

# Main sequence: percentiles of Teff, then the run of log g and its scatter with Teff.
_DWARF_PERCENT = (0, 1, 5, 25, 50, 75, 95, 99, 100)
_DWARF_TEFF = (3200, 3428, 3804, 4901, 5605, 5959, 6311, 6493, 6900)
_SEQUENCE_TEFF = (3500, 4100, 4700, 5300, 5900, 6600)
_SEQUENCE_LOGG = (4.66, 4.62, 4.58, 4.49, 4.23, 4.17)
_SEQUENCE_SCATTER = (0.05, 0.05, 0.07, 0.13, 0.16, 0.14)

# The two sequences of [alpha/Fe] and the share of stars on the upper one, against [Fe/H].
_SEQUENCE_FE_H = (-1.0, -0.7, -0.5, -0.3, -0.1, 0.1, 0.3)
_ALPHA_LOW = (0.14, 0.11, 0.09, 0.07, 0.04, 0.02, 0.02)
_ALPHA_HIGH = (0.33, 0.32, 0.28, 0.21, 0.14, 0.10, 0.08)
_HIGH_SHARE = (0.72, 0.60, 0.38, 0.24, 0.15, 0.06, 0.02)


@dataclass(frozen=True)
class Stars(Columns):
    """True parameters of stars, with one entry per star."""

    teff: np.ndarray  # K
    logg: np.ndarray  # log10 of cm s^-2
    abundance: np.ndarray  # (stars, elements), log10 of the number per 10^12 hydrogen nuclei
    vmicro: np.ndarray  # km/s
    vmacro: np.ndarray  # km/s, full width at half maximum
    vsini: np.ndarray  # km/s
    velocity: np.ndarray  # heliocentric, km/s
    halo: np.ndarray  # bool

    @property
    def fe_h(self) -> np.ndarray:
        """[Fe/H]."""
        return self.abundance[:, INDEX["Fe"]] - SOLAR[INDEX["Fe"]]

    def over_iron(self, symbol: str) -> np.ndarray:
        """[X/Fe] of an element."""
        return self.abundance[:, INDEX[symbol]] - SOLAR[INDEX[symbol]] - self.fe_h


def draw_stars(count: int, halo_share: float, rng: np.random.Generator) -> Stars:
    """Draw the stars of a survey.

    Parameters
    ----------
    count : int
    halo_share : float
        Share of halo stars, all of them giants with [Fe/H] < -1. APOGEE has about 0.03.
    rng : numpy.random.Generator
    """
    halo = rng.random(count) < halo_share
    logg = np.where(halo, _halo_logg(count, rng), _disc_logg(count, rng))
    fe_h = np.where(halo, _halo_fe_h(count, rng), _disc_fe_h(logg, rng))
    teff = np.clip(_teff(logg, fe_h, rng), *TEFF_RANGE)
    dwarf = logg > 4
    logg = np.where(dwarf, _main_sequence_logg(teff, rng), logg)
    abundance = _abundances(logg, fe_h, halo, rng)
    return Stars(
        teff,
        logg,
        abundance,
        microturbulence(logg),
        macroturbulence(logg, fe_h),
        _rotation(teff, logg, rng),
        rng.normal(0, np.where(halo, 135.0, 45.0)),
        halo,
    )


def microturbulence(logg: np.ndarray) -> np.ndarray:
    """Microturbulence, km/s: the relation of ASPCAP for giants (Holtzman et al. 2018)."""
    cubic = 10 ** np.polyval([-0.0113, 0.0297, -0.0228, 0.226], logg)
    return np.maximum(cubic, 0.9)


def macroturbulence(logg: np.ndarray, fe_h: np.ndarray) -> np.ndarray:
    """Macroturbulence, km/s: the relation of Holtzman et al. (2015) for giants, 1 for dwarfs."""
    giant = 10 ** (0.741 - 0.0998 * logg - 0.225 * fe_h)
    return np.where(logg < 3.8, np.minimum(giant, 15.0), 1.0)


def _disc_logg(count: int, rng: np.random.Generator) -> np.ndarray:
    cumulative = np.cumsum(_LOGG_SHARES / _LOGG_SHARES.sum())
    return np.interp(rng.random(count), np.insert(cumulative, 0, 0), _LOGG_EDGES)


def _halo_logg(count: int, rng: np.random.Generator) -> np.ndarray:
    """Log g of halo stars, which are luminous giants if bright enough for S/N > 200."""
    return np.clip(rng.normal(1.28, 0.58, count), 0.1, 2.9)


def _disc_fe_h(logg: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rank = 100 * rng.random(len(logg))
    fe_h = np.empty_like(logg)
    for upper, percentiles in reversed(_FE_H_BY_LOGG.items()):
        below = logg <= upper
        fe_h[below] = np.interp(rank[below], _PERCENT, percentiles)
    return fe_h


def _halo_fe_h(count: int, rng: np.random.Generator) -> np.ndarray:
    """[Fe/H] of halo stars: half a Gaussian below -1; DR17 has no star below -2.5."""
    return np.maximum(-1.0 - 0.53 * np.abs(rng.normal(size=count)), -2.45)


def _teff(logg: np.ndarray, fe_h: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rank = 100 * rng.random(len(logg))
    scatter = np.interp(logg, _GIANT_LOGG, _GIANT_SCATTER) * rng.normal(size=len(logg))
    slope = np.interp(logg, _GIANT_LOGG, _GIANT_SLOPE)
    giant = np.interp(logg, _GIANT_LOGG, _GIANT_TEFF) + slope * fe_h + scatter
    teff = np.where(logg <= 3, giant, np.interp(rank, _DWARF_PERCENT, _DWARF_TEFF))
    for upper, percentiles in reversed(_SUBGIANT_TEFF.items()):
        subgiant = (logg > 3) & (logg <= upper)
        teff[subgiant] = np.interp(rank[subgiant], _SUBGIANT_PERCENT, percentiles)
    return teff


def _main_sequence_logg(teff: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    scatter = np.interp(teff, _SEQUENCE_TEFF, _SEQUENCE_SCATTER) * rng.normal(size=len(teff))
    return np.clip(np.interp(teff, _SEQUENCE_TEFF, _SEQUENCE_LOGG) + scatter, 4.001, 4.85)


def _alpha(fe_h: np.ndarray, halo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[alpha/Fe]: two sequences in the disc; in the halo, stars formed in situ and accreted."""
    count = len(fe_h)
    high = rng.random(count) < np.interp(fe_h, _SEQUENCE_FE_H, _HIGH_SHARE)
    disc = np.where(
        high,
        np.interp(fe_h, _SEQUENCE_FE_H, _ALPHA_HIGH),
        np.interp(fe_h, _SEQUENCE_FE_H, _ALPHA_LOW),
    ) + rng.normal(0, 0.03, count)
    born_here = rng.random(count) < 0.45
    halo_alpha = np.where(born_here, rng.normal(0.31, 0.035, count), rng.normal(0.18, 0.10, count))
    return np.where(halo, np.clip(halo_alpha, -0.15, 0.42), disc)


def _abundances(
    logg: np.ndarray, fe_h: np.ndarray, halo: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Abundances of all elements; returns (stars, elements)."""
    count = len(logg)

    def scattered(mean, sigma) -> np.ndarray:
        return mean + sigma * rng.normal(size=count)

    alpha = _alpha(fe_h, halo, rng)
    giant = np.clip((3.4 - logg) / 0.4, 0, 1)  # 1 after the first dredge-up
    over_iron = {symbol: np.zeros(count) for symbol in ELEMENTS}
    for symbol in ALPHA_ELEMENTS:
        over_iron[symbol] = scattered(0.85 * alpha, 0.03)
    over_iron["Mg"] = scattered(alpha, 0.02)
    # Oxygen follows magnesium closely at high metallicity, loosely in the halo.
    loose = np.interp(fe_h, (-1.5, -0.7, -0.2), (0.08, 0.05, 0.028))
    over_iron["O"] = scattered(over_iron["Mg"] + np.where(halo, 0.06, 0.01), loose)
    # The dredge-up brings up nitrogen made from carbon.
    over_iron["C"] = scattered(0.5 * alpha - giant * (0.12 + 0.3 * halo), 0.06)
    over_iron["N"] = scattered(giant * 0.22, 0.09)
    over_iron["Al"] = scattered(np.where(halo, -0.3 + alpha, 0.6 * alpha), 0.06)
    over_iron["Na"] = scattered(np.where(halo, -0.2, 0.03), 0.08)
    over_iron["K"] = scattered(0.7 * alpha, 0.06)
    over_iron["P"] = scattered(0.5 * alpha, 0.08)
    over_iron["Mn"] = scattered(0.2 * np.clip(fe_h, -1.5, 0.4), 0.03)
    over_iron["Ni"] = scattered(0.02, 0.02)
    over_iron["V"] = scattered(0.02, 0.06)
    over_iron["Cr"] = scattered(0.0, 0.04)
    over_iron["Co"] = scattered(0.03, 0.05)
    over_iron["Cu"] = scattered(0.0, 0.08)
    over_iron["Ce"] = scattered(0.0, 0.15)
    abundance = SOLAR + np.stack([over_iron[symbol] + fe_h for symbol in ELEMENTS], axis=1)
    abundance[:, : INDEX["He"] + 1] = SOLAR[: INDEX["He"] + 1]
    return abundance


def _rotation(teff: np.ndarray, logg: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Projected rotation, km/s: slow except for hot dwarfs and subgiants."""
    typical = np.where(logg > 3.8, np.interp(teff, (5900, 6300, 6900), (3.0, 7.0, 18.0)), 1.5)
    return typical * 10 ** rng.normal(0, 0.2, len(teff))
