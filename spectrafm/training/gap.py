"""The synthetic gap, learned from a few stars with both kinds of spectra.

    observed - synthetic = offset + scores(1 - synthetic) slope + residual

The scores are the leading uncentred principal components of the line depth of all synthetic
training spectra, as many as predict the gap of each star best from those of the others: six of a
hundred stars, two or three of ten. Slope and offset are ridge estimates, so that the gap vanishes
with the lines.
Painting adds the gap, and the residual of one of the few stars, to other synthetic spectra. A twin
goes the other way, from an observed spectrum to the synthetic one behind it.

Shapes: n stars with both kinds of spectra, N synthetic spectra, P pixels, Q components.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.inference.twin import Twin
from spectrafm.spectra import FluxRange
from spectrafm.store.read import StarSet

#: Largest number of principal components, and the ridge penalties of slope and offset for scores of
#: unit mean square. Chosen from the flux of iron-rich stars alone: fitted to the most iron-rich of
#: a hundred stars, they predict the gap of the others best.
COMPONENTS = 6
SLOPE_PENALTY = 3.0
OFFSET_PENALTY = 10.0

#: Where the number of components makes less difference than this factor, the larger one is used:
#: the gap of iron-poor stars is extrapolated, and has the more components.
TIE = 1.01

#: Smallest variance of a twin's pixel: less noise than any spectrum has.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Gap:
    """A fitted gap.

    Attributes
    ----------
    directions : numpy.ndarray, shape (P, Q)
        From line depths to scores.
    slope : numpy.ndarray, shape (Q, P)
    offset : numpy.ndarray, shape (P,)
    residual, residual_error : numpy.ndarray, shape (n, P)
        What the gap leaves of the stars that it was fitted to, noise included, and the one-sigma
        errors of their flux; NaN where missing.
    """

    directions: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    residual: np.ndarray
    residual_error: np.ndarray

    def of(self, synthetic: np.ndarray) -> np.ndarray:
        """Gap of synthetic spectra, shape (N, P); a missing pixel counts as continuum."""
        depth = np.nan_to_num(1.0 - synthetic)
        return (self.offset + depth @ self.directions @ self.slope).astype(synthetic.dtype)

    def seen_in(self, observed: StarSet, synthetic: StarSet) -> Gap:
        """The same gap with what it leaves of other stars than those that it was fitted to.

        Parameters
        ----------
        observed : StarSet
            Observed spectra of these stars, with errors.
        synthetic : StarSet
            Synthetic spectra, those of ``observed`` among them.
        """
        pairs = _pairs(observed, synthetic)
        residual = observed.flux - pairs - self.of(pairs)
        error = np.where(np.isfinite(residual), observed.flux_error, np.nan)
        return replace(self, residual=residual.astype(observed.flux.dtype), residual_error=error)


def fit_gap(observed: StarSet, synthetic: StarSet) -> Gap:
    """Fit the gap to the stars of a stage.

    Parameters
    ----------
    observed : StarSet
        Observed spectra of the stage's stars, with errors.
    synthetic : StarSet
        Synthetic spectra of training stars, those of ``observed`` among them. Of the others only
        the line depths are used.

    Raises
    ------
    SpectraFMError
        When one of the stars has no synthetic spectrum.
    """
    depth = np.nan_to_num(1.0 - synthetic.flux)
    components = min(COMPONENTS, *depth.shape)
    directions = np.linalg.svd(depth, full_matrices=False)[2][:components].T
    directions = directions / np.sqrt(np.square(depth @ directions).mean(axis=0))

    pairs = _pairs(observed, synthetic)
    difference = (observed.flux - pairs).astype(np.float64)
    scores = np.nan_to_num(1.0 - pairs) @ directions
    best = _best([_regress(difference, scores[:, :count]) for count in range(1, components + 1)])
    return Gap(
        directions=directions[:, : len(best.solution) - 1],
        slope=best.solution[1:],
        offset=best.solution[0],
        residual=best.residual.astype(observed.flux.dtype),
        residual_error=np.where(np.isfinite(difference), observed.flux_error, np.nan),
    )


class _Fit(NamedTuple):
    """A ridge regression of the gap on some scores.

    Attributes
    ----------
    solution : numpy.ndarray, shape (1 + Q, P)
        Offset and slope.
    residual : numpy.ndarray, shape (n, P)
    error : float
        RMS of what is left of each star when the fit is made without it.
    """

    solution: np.ndarray
    residual: np.ndarray
    error: float


def _best(fits: list[_Fit]) -> _Fit:
    """Of fits with ever more components the last whose error is the least, but for `TIE`."""
    least = min(fit.error for fit in fits)
    return [fit for fit in fits if fit.error <= TIE * least][-1]


def _regress(difference: np.ndarray, scores: np.ndarray) -> _Fit:
    """Regress observed - synthetic, shape (n, P), on scores, (n, Q), over the stars of a pixel."""
    known = np.isfinite(difference)
    regressors = np.column_stack([np.ones(len(scores)), scores]).astype(np.float64)
    normal = np.einsum("np,ni,nj->pij", known.astype(np.float64), regressors, regressors)
    normal += np.diag([OFFSET_PENALTY] + [SLOPE_PENALTY] * scores.shape[1])
    moment = np.einsum("np,ni->pi", np.where(known, difference, 0.0), regressors)
    solution = np.linalg.solve(normal, moment[..., None])[..., 0].T
    residual = difference - regressors @ solution
    # Without a star its residual is larger by 1 / (1 - leverage), in a closed form.
    leverage = np.einsum("ni,pij,nj->np", regressors, np.linalg.inv(normal), regressors)
    alone = residual[known] / (1 - leverage[known])
    return _Fit(
        solution, residual, float(np.sqrt(np.mean(np.square(alone)))) if known.any() else 0.0
    )


def _pairs(observed: StarSet, synthetic: StarSet) -> np.ndarray:
    """Synthetic flux of each observed star, shape (n, P).

    Raises
    ------
    SpectraFMError
        When one of the stars has no synthetic spectrum.
    """
    row = {name: i for i, name in enumerate(synthetic.apogee_id.tolist())}
    lacking = [name for name in observed.apogee_id.tolist() if name not in row]
    if lacking:
        raise SpectraFMError(
            f"replay: painted spectra need a synthetic spectrum of each star of the stage; "
            f"{len(lacking)} have none, such as {lacking[0]}"
        )
    return synthetic.flux[[row[name] for name in observed.apogee_id.tolist()]]


def painted(stars: StarSet, gap: Gap, flux_range: FluxRange, seed: int) -> StarSet:
    """Paint synthetic spectra: add the gap, and the residual of a random star of its fit.

    Parameters
    ----------
    stars : StarSet
        Stars with synthetic spectra.
    gap : Gap
    flux_range : (float, float)
        Lowest and highest flux: a pixel outside is missing.
    seed : int
        Of the choice of residuals.
    """
    donor = np.random.default_rng(seed).integers(len(gap.residual), size=len(stars))
    flux = stars.flux + gap.of(stars.flux) + gap.residual[donor]
    low, high = flux_range
    bad = ~((flux >= low) & (flux <= high))
    return replace(
        stars,
        flux=np.where(bad, np.nan, flux),
        flux_error=np.where(bad, np.nan, gap.residual_error[donor]).astype(flux.dtype),
    )


def twin_of(gap: Gap, synthetic: StarSet, components: int) -> Twin:
    """Make the twin of a gap: the gap is linear in the synthetic spectrum, and so is its inverse.

    Parameters
    ----------
    gap : Gap
    synthetic : StarSet
        Synthetic spectra of training stars, from which the principal components are taken.
    components : int
        Number of components, fewer where there are fewer spectra or pixels.
    """
    flux = np.nan_to_num(synthetic.flux.astype(np.float64), nan=1.0)
    mean = flux.mean(axis=0)
    _, scale, directions = np.linalg.svd(flux - mean, full_matrices=False)
    count = min(components, len(scale))
    spread = directions[:count] * (scale[:count, None] / np.sqrt(len(flux)))
    through = gap.directions.astype(np.float64) @ gap.slope
    # A pixel that no star of the fit has tells nothing: its variance is that of the continuum.
    variance = np.ones_like(mean)
    known = np.isfinite(gap.residual).any(axis=0)
    variance[known] = np.nanmean(np.square(gap.residual[:, known], dtype=np.float64), axis=0)
    return Twin(
        wavelength=synthetic.wavelength,
        mean=mean,
        expected=mean + gap.offset + (1.0 - mean) @ through,
        components=spread,
        response=spread - spread @ through,
        variance=np.maximum(variance, LEAST_VARIANCE),
    )
