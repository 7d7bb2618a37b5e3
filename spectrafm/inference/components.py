"""Principal components of training spectra that have gaps, and how well they describe a spectrum.

A spectrum is ``mean + z components + noise``: the components are scaled so that the scores z of
training spectra have unit variance. Missing pixels drop out of the fit and of each score, and a
spectrum on another wavelength grid is described by the interpolated components.

Shapes: n spectra, P pixels of the components' own grid, Q pixels of another grid, K components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

#: Largest number of components; a component needs `STARS_EACH` spectra.
MOST = 16
STARS_EACH = 8

#: Rounds of subspace iteration, in each of which missing pixels are filled again.
ROUNDS = 8

#: Spectra whose scores are computed at once. Always as many, so that a spectrum's score has the
#: same bits in whatever company it is read.
BLOCK = 64

#: Smallest standard deviation of the noise, in normalised flux: that of rounding.
LEAST_NOISE = 1e-5


@dataclass(frozen=True)
class Components:
    """Mean, components and noise of spectra.

    Attributes
    ----------
    wavelength : numpy.ndarray, shape (P,), float64
        Angstrom, increasing.
    mean : numpy.ndarray, shape (P,), float32
    components : numpy.ndarray, shape (K, P), float32
    noise : float
        Standard deviation of a typical training spectrum about its reconstruction.
    """

    wavelength: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    noise: float

    def step(self) -> float:
        """Typical step between pixels in ln(wavelength)."""
        steps = np.diff(np.log(self.wavelength))
        return float(np.median(steps)) if len(steps) else 1e-4

    def at(self, wavelength: np.ndarray) -> Components:
        """Components at other wavelengths, linearly interpolated.

        Parameters
        ----------
        wavelength : numpy.ndarray, shape (Q,), Angstrom
            In any order.

        Returns
        -------
        Components
            Its mean is NaN where the training spectra have no pixel within a step and a half.
        """
        if np.array_equal(wavelength, self.wavelength):
            return self
        near = np.searchsorted(self.wavelength, wavelength).clip(1, len(self.wavelength) - 1)
        gap = np.abs(np.log(wavelength[:, None] / self.wavelength[np.stack([near - 1, near], 1)]))
        covered = gap.min(axis=1) <= 1.5 * self.step()

        def between(values: np.ndarray) -> np.ndarray:
            return np.interp(wavelength, self.wavelength, values).astype(np.float32)

        mean = np.where(covered, between(self.mean), np.float32(np.nan))
        return replace(
            self,
            wavelength=wavelength,
            mean=mean,
            components=np.stack([between(row) for row in self.components]),
        )

    def describe(self, flux: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Scores of spectra and what the components leave of them, a `BLOCK` at a time.

        Parameters
        ----------
        flux : numpy.ndarray, shape (n, P)
            NaN where missing.

        Yields
        ------
        rows : slice
        distance : numpy.ndarray, shape (rows,)
            Root mean square of the scores; 0 for a spectrum without a good pixel.
        residual : numpy.ndarray, shape (rows, P), float32
            NaN where missing.
        """
        count = len(self.components)
        basis = np.nan_to_num(self.components)
        upper = np.triu_indices(count)
        products = (basis[upper[0]] * basis[upper[1]]).T
        for start in range(0, len(flux), BLOCK):
            rows = slice(start, min(start + BLOCK, len(flux)))
            left = np.full((BLOCK, len(self.mean)), np.nan, np.float32)
            left[: rows.stop - start] = flux[rows] - self.mean
            missing = ~np.isfinite(left)
            known = np.where(missing, np.float32(0), left)
            moment = (known @ basis.T).astype(np.float64)
            normal = np.empty((len(left), count, count))
            normal[:, upper[0], upper[1]] = (~missing).astype(np.float32) @ products
            normal[:, upper[1], upper[0]] = normal[:, upper[0], upper[1]]
            # The scores' posterior mean: a spectrum with few pixels keeps scores near 0.
            normal += self.noise**2 * np.eye(count)
            z = np.linalg.solve(normal, moment[..., None])[..., 0]
            residual = np.where(missing, np.float32(np.nan), known - z.astype(np.float32) @ basis)
            distance = np.sqrt(np.square(z).sum(axis=1) / count)
            yield rows, distance[: rows.stop - start], residual[: rows.stop - start]


def fit_components(flux: np.ndarray, wavelength: np.ndarray, seed: int = 0) -> Components:
    """Fit components to training spectra by subspace iteration, filling their gaps on the way.

    Parameters
    ----------
    flux : numpy.ndarray, shape (n, Q)
        NaN where missing. A pixel that every spectrum lacks is left out.
    wavelength : numpy.ndarray, shape (Q,), Angstrom, increasing
    seed : int
        Of the start of the iteration.
    """
    generator = np.random.default_rng(seed)
    good = np.isfinite(flux)
    kept = good.any(axis=0)
    flux, good, wavelength = flux[:, kept], good[:, kept], wavelength[kept]
    count = int(np.clip(len(flux) // STARS_EACH, 1, min(MOST, *flux.shape)))
    total = np.where(good, flux, 0.0).sum(axis=0, dtype=np.float64)
    mean = (total / good.sum(axis=0)).astype(np.float32)
    known = np.where(good, flux - mean, np.float32(0))
    filled, basis = known, generator.normal(size=(flux.shape[1], count)).astype(np.float32)
    for _ in range(ROUNDS):
        basis = np.linalg.qr(filled.T @ (filled @ basis))[0]
        scores = filled @ basis
        filled = np.where(good, known, scores @ basis.T)
    spread = np.sqrt(np.square(scores).mean(axis=0))
    left = np.where(good, known - scores @ basis.T, 0.0)
    each = np.sqrt(np.square(left).sum(axis=1) / np.maximum(good.sum(axis=1), 1))
    return Components(
        wavelength=wavelength.astype(np.float64),
        mean=mean,
        components=(basis * spread).T.astype(np.float32),
        noise=max(float(np.median(each)), LEAST_NOISE),
    )
