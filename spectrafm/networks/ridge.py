"""Ridge regression: each label a weighted sum of pixels, in closed form (Hoerl & Kennard 1970).

The fit chooses the penalty with the smallest leave-one-out error, which follows from a single
linear fit (Allen 1974, PRESS). Synthetic spectra have no noise, and a penalty chosen on them alone
would give weights that magnify the noise of observed spectra. Where ``sampling.noise`` is not 0,
the error that this noise will cause, its variance times ``||weight||^2``, is therefore added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectrafm.labels import Label
from spectrafm.networks.base import Answer, ClosedForm, requested
from spectrafm.networks.grid import GridNetwork
from spectrafm.networks.options import PLAIN, Reads

#: Penalties tried, in units of the largest eigenvalue of the spectra's scatter matrix.
PENALTIES = torch.logspace(-8, 2, 61, dtype=torch.float64)
#: Components of less variance, in the same units, are rounding errors.
NEGLIGIBLE = 1e-12


class Components(NamedTuple):
    """Principal components of mean-subtracted spectra, which equal ``scores @ directions``."""

    scores: Tensor  # (n, K)
    strength: Tensor  # (K,), sum of the squared scores
    directions: Tensor  # (K, T), orthonormal


class Ridge(GridNetwork, ClosedForm):
    """``label = weight . (flux - mean) + bias``, with the L2 penalty ``||weight - start||^2``.

    ``start`` is 0 in a training from scratch and the weights of the starting model in a fine-tune;
    the bias is not penalised. A missing pixel reads its mean in the first training. The variance is
    the mean squared leave-one-out residual, the same for every star.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The only grid that the network can read, Angstrom.
    labels : sequence of Label
    reads : Reads
    """

    reads_more = True
    architecture = "ridge"

    def __init__(self, wavelength: Tensor, labels: Sequence[Label], reads: Reads = PLAIN):
        super().__init__(wavelength, labels, reads)
        pixels, count = self.width, len(self.labels)
        self.register_buffer("flux_mean", torch.ones(pixels))
        self.register_buffer("weight", torch.zeros(count, pixels, dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("log_variance", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("penalty", torch.zeros(count, dtype=torch.float64))

    def standardise(self, flux: Tensor) -> None:
        self.flux_mean.copy_(flux.nanmean(dim=0).nan_to_num(1.0))

    def fit(self, stars, request: Tensor, noise: float = 0.0) -> None:
        # A star without a label is left out of that label's fit.
        x = self._centred(self.numbers_of(stars))
        for column, k in enumerate(request.tolist()):
            known = stars.teaches[:, column]
            self._fit_one(k, x[known], stars.label[known, column].double(), noise)

    def _fit_one(self, k: int, x: Tensor, y: Tensor, noise: float) -> None:
        """Fit the residual of one label from the present weights, and choose the penalty."""
        residual = y - x @ self.weight[k]
        x_mean, residual_mean = x.mean(dim=0), residual.mean()
        parts = components(x - x_mean)
        # Spectra that do not differ have no components, and leave the weights as they are.
        strongest = parts.strength.max() if len(parts.strength) else x.new_ones(())
        penalty = PENALTIES.to(x.device) * strongest
        shrunk = 1 / (parts.strength[:, None] + penalty)  # (K, penalties)
        # Coefficients of the fit to all stars, and the leverage of each star on its own prediction.
        coefficient = (parts.scores.T @ (residual - residual_mean))[:, None] * shrunk
        leverage = 1 / len(y) + parts.scores.square() @ shrunk
        left = (residual - residual_mean)[:, None] - parts.scores @ coefficient
        weight = self.weight[k] + coefficient.T @ parts.directions  # (penalties, T)
        error = (left / (1 - leverage)).square().mean(dim=0) + noise**2 * weight.square().sum(dim=1)
        best = error.argmin()
        self.weight[k] = weight[best]
        self.bias[k] = (y - x @ self.weight[k]).mean()
        self.log_variance[k] = error[best].log()
        self.penalty[k] = penalty[best]

    def numbers_of(self, stars: Any) -> Tensor:
        """`numbers` of training stars, from the pixels of all windows."""
        pixels, error = stars.every_window, stars.flux_error
        return self.numbers(
            stars.flux[:, pixels],
            stars.position_of(len(stars.windows)),
            ~stars.valid[:, pixels],
            None if error is None else error[:, pixels],
            stars.inputs,
        )

    def _centred(self, flux: Tensor) -> Tensor:
        return (flux.double() - self.flux_mean).nan_to_num(0.0)

    def forward(
        self, flux, position, missing=None, request=None, known=None, error=None, inputs=None
    ) -> Answer:
        numbers = self.numbers(flux, position, missing, error, inputs)
        mean = self._centred(numbers) @ self.weight.T + self.bias
        answer = Answer(mean.float(), self.log_variance.float().expand(len(mean), -1))
        return requested(answer, request)


def components(x: Tensor) -> Components:
    """Compute principal components of centred spectra from the smaller of ``x x^T``, ``x^T x``.

    Parameters
    ----------
    x : Tensor, shape (n, T), float64
    """
    few_stars = len(x) < x.shape[1]
    strength, vector = torch.linalg.eigh(x @ x.T if few_stars else x.T @ x)
    kept = strength > NEGLIGIBLE * strength.max()
    strength, vector = strength[kept], vector[:, kept]
    if few_stars:
        return Components(vector * strength.sqrt(), strength, (vector / strength.sqrt()).T @ x)
    return Components(x @ vector, strength, vector.T)
