"""Stand-in for ASPCAP: parameters of the best-fit model, and calibrated labels with errors.

As in DR17 the best fit is global: one [M/H], [alpha/M], [C/M] and [N/M] for the whole spectrum.
Oxygen and magnesium enter the best-fit model only through [alpha/M], while the labels O_FE and
MG_FE come from their own lines and scatter about the true abundances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectrafm.surveys.mock.atmosphere import Parameters
from spectrafm.surveys.mock.chemistry import ALPHA_ELEMENTS, INDEX, SOLAR
from spectrafm.surveys.mock.columns import Columns
from spectrafm.surveys.mock.population import TEFF_RANGE, Stars, microturbulence

#: Elements with an X_FE column in the mock's catalogue, besides iron.
ELEMENTS = (
    "C",
    "N",
    "O",
    "Na",
    "Mg",
    "Al",
    "Si",
    "S",
    "K",
    "Ca",
    "Ti",
    "V",
    "Cr",
    "Mn",
    "Co",
    "Ni",
)

# Weight of each alpha element in the global [alpha/M].
_ALPHA_WEIGHTS = {"O": 0.4, "Mg": 0.3, "Si": 0.2, "Ca": 0.1}

# One-sigma errors of the fit at S/N 150.
_FIT_ERROR = {
    "teff": 9.0,
    "logg": 0.03,
    "m_h": 0.008,
    "alpha": 0.010,
    "carbon": 0.03,
    "nitrogen": 0.04,
}

# Scatter that calibration and the element fits add to the labels.
_LABEL_SCATTER = {"TEFF": 6.0, "LOGG": 0.015, "FE": 0.006, "O": 0.012, "Mg": 0.011}
_OTHER_ELEMENT_SCATTER = 0.03

# Quoted errors: 5th, 50th and 95th percentile of DR17, giants and dwarfs.
_QUOTED = {
    "TEFF": ((4.0, 7.2, 10.7), (7.0, 24.0, 45.0)),
    "LOGG": ((0.019, 0.023, 0.030), (0.019, 0.023, 0.030)),
    "FE": ((0.005, 0.0075, 0.0104), (0.005, 0.0075, 0.0104)),
    "O": ((0.008, 0.0135, 0.027), (0.009, 0.046, 0.147)),
    "Mg": ((0.009, 0.0115, 0.016), (0.009, 0.0115, 0.016)),
}
_QUOTED_OTHER = ((0.01, 0.02, 0.05), (0.012, 0.03, 0.08))

# Share of dwarfs without abundances against Teff (K), and the Teff above which no star has any.
_MISSING_TEFF = (3500, 3600, 3650, 3700)
_MISSING_SHARE = (1.0, 0.5, 0.1, 0.0)
_HOT = 6650.0


@dataclass(frozen=True)
class Fit(Columns):
    """Global best-fit parameters."""

    teff: np.ndarray
    logg: np.ndarray
    m_h: np.ndarray
    alpha: np.ndarray  # [alpha/M]
    carbon: np.ndarray  # [C/M]
    nitrogen: np.ndarray  # [N/M]
    vmicro: np.ndarray
    broadening: np.ndarray

    def parameters(self) -> Parameters:
        """Parameters from which the best-fit model spectra are computed."""
        abundance = SOLAR + np.zeros((len(self.teff), 1))
        abundance[:, INDEX["C"] :] += self.m_h[:, None]
        for symbol in ALPHA_ELEMENTS:
            abundance[:, INDEX[symbol]] += self.alpha
        abundance[:, INDEX["C"]] += self.carbon
        abundance[:, INDEX["N"]] += self.nitrogen
        return Parameters(self.teff, self.logg, abundance, self.vmicro, self.broadening)


def true_global(stars: Stars) -> Fit:
    """The global parameters that describe each star best, without errors of the fit."""
    alpha = sum(weight * stars.over_iron(x) for x, weight in _ALPHA_WEIGHTS.items())
    broadening = np.hypot(stars.vmacro, rotation_width(stars.vsini))
    return Fit(
        stars.teff,
        stars.logg,
        stars.fe_h,
        alpha,
        stars.over_iron("C"),
        stars.over_iron("N"),
        stars.vmicro,
        broadening,
    )


def rotation_width(vsini: np.ndarray) -> np.ndarray:
    """Full width (km/s) of the Gaussian with the variance of a rotation profile.

    A disc with limb darkening 0.6 has a velocity variance of about 0.22 (v sin i)^2.
    """
    return 2.355 * np.sqrt(0.22) * vsini


def fit(stars: Stars, snr: np.ndarray, gap: float, rng: np.random.Generator) -> Fit:
    """Fit global parameters to each star: the truth plus an error that falls with S/N.

    Parameters
    ----------
    stars : Stars
    snr : numpy.ndarray
        Shape (stars,).
    gap : float
        Factor on the errors of the fit; at 0 the fit returns the true parameters.
    rng : numpy.random.Generator
    """
    truth = true_global(stars)
    scale = gap * np.clip(150 / snr, 0.25, 2.0)

    def fitted(name: str) -> np.ndarray:
        error = scale * _FIT_ERROR[name] * np.clip(rng.normal(size=len(stars)), -3, 3)
        return getattr(truth, name) + error

    return Fit(
        np.clip(fitted("teff"), *TEFF_RANGE),
        logg := fitted("logg"),
        fitted("m_h"),
        fitted("alpha"),
        fitted("carbon"),
        fitted("nitrogen"),
        truth.vmicro + min(gap, 1.0) * (microturbulence(logg) - truth.vmicro),
        truth.broadening,
    )


@dataclass(frozen=True)
class Labels:
    """Calibrated labels and their quoted errors, by name: TEFF, LOGG, FE and each element."""

    value: dict[str, np.ndarray]  # element: [X/Fe]; FE: [Fe/H]
    error: dict[str, np.ndarray]
    missing: np.ndarray  # bool: no abundances


def measure(stars: Stars, best: Fit, rng: np.random.Generator) -> Labels:
    """Labels of the catalogue: the fit calibrated, and each element from its own lines.

    Parameters
    ----------
    stars : Stars
    best : Fit
    rng : numpy.random.Generator
    """
    count = len(stars)
    centre = {"TEFF": best.teff, "LOGG": best.logg, "FE": best.m_h}
    centre |= {symbol: stars.over_iron(symbol) for symbol in ELEMENTS}
    value, error = {}, {}
    dwarf = stars.logg > 3.8
    for name, middle in centre.items():
        scatter = _LABEL_SCATTER.get(name, _OTHER_ELEMENT_SCATTER)
        value[name] = middle + scatter * rng.normal(size=count)
        error[name] = _quoted_error(_QUOTED.get(name, _QUOTED_OTHER), dwarf, rng)
    share = np.interp(stars.teff, _MISSING_TEFF, _MISSING_SHARE, right=0.0)
    missing = dwarf & (rng.random(count) < share) | (stars.teff > _HOT)
    return Labels(value, error, missing)


def _quoted_error(percentiles, dwarf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw log-normal errors with the given 5th, 50th and 95th percentiles."""
    low, middle, high = np.where(dwarf, *(np.array(p)[:, None] for p in percentiles[::-1]))
    deviate = rng.normal(size=len(dwarf)) / 1.645
    return middle * np.where(deviate > 0, high / middle, middle / low) ** deviate
