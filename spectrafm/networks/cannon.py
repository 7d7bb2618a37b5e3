"""The Cannon (Ness et al. 2015, ApJ 808, 16): a model of the flux, inverted to find the labels.

Flux of a pixel = a quadratic polynomial of the star's labels + noise, whose variance is that of
the flux error and an intrinsic scatter of the pixel. Shapes: B or n stars, T pixels, L labels,
D = (L + 1)(L + 2) / 2 terms of the polynomial.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label
from spectrafm.networks.base import Answer, ClosedForm, requested, with_gaps
from spectrafm.networks.grid import GridNetwork

#: Rounds of the fit, and steps towards the scatter in each.
ROUNDS, SCATTER_STEPS = 5, 10
#: Lower limit of a pixel's intrinsic variance: (1e-4 of the continuum)^2.
SMALLEST_SCATTER = 1e-8
#: Variance of a pixel that no training star has, which gives the pixel no weight.
UNKNOWN = 1e30
#: Levenberg-Marquardt: number of steps, and the factor by which damping falls or grows.
STEPS, FACTOR = 40, 4.0
#: The search for labels extends beyond the training stars' range by this share of the range.
MARGIN = 0.5


class Cannon(GridNetwork, ClosedForm):
    """The quadratic Cannon; all its labels are fitted together, since each changes the flux.

    Parameters are those of `GridNetwork`.
    """

    architecture = "cannon"
    wants_errors = True

    def __init__(self, wavelength: Tensor, labels: Sequence[Label]):
        super().__init__(wavelength, labels)
        pixels, count = len(wavelength), len(self.labels)
        terms = (count + 1) * (count + 2) // 2
        self.register_buffer("coefficient", torch.zeros(pixels, terms, dtype=torch.float64))
        self.register_buffer("scatter", torch.ones(pixels, dtype=torch.float64))
        self.register_buffer("bounds", torch.zeros(2, count, dtype=torch.float64))

    def fit(self, stars, request: Tensor, noise: float = 0.0) -> None:
        """Fit every pixel by maximum likelihood; a star that lacks a label is left out.

        Without flux errors all noise counts as intrinsic scatter.

        Raises
        ------
        SpectraFMError
            When ``request`` lacks a label of the network, or too few stars have all labels.
        """
        if sorted(request.tolist()) != list(range(len(self.labels))):
            raise SpectraFMError("labels: the Cannon can only fit all of its labels together")
        known = stars.teaches.all(dim=1)
        terms = self.coefficient.shape[1]
        if known.sum() <= terms:
            raise SpectraFMError(
                f"labels: {int(known.sum())} training stars have all of {', '.join(self.labels)}; "
                f"the Cannon needs more than {terms}"
            )
        label = stars.label[known][:, request.argsort()].double()
        flux = with_gaps(stars.flux, ~stars.valid)[known][:, stars.every_window].double()
        noise = torch.full_like(flux, noise).square()
        if stars.flux_error is not None:
            noise = noise + stars.flux_error[known][:, stars.every_window].double().square()
        good = flux.isfinite() & noise.isfinite()
        flux, noise = flux.masked_fill(~good, 0.0), noise.masked_fill(~good, 0.0)
        term = polynomial(label)
        products = (term[:, :, None] * term[:, None, :]).flatten(1)  # (n, D D)
        scatter = flux.new_full((flux.shape[1],), 1e-4)
        for _ in range(ROUNDS):
            weight = good / (noise + scatter)
            normal = (weight.T @ products).unflatten(1, (term.shape[1], -1))
            # A pixel that too few stars have has no unique fit: a small ridge keeps it finite.
            normal = normal + 1e-10 * (1 + normal.diagonal(dim1=1, dim2=2)).diag_embed()
            coefficient = torch.linalg.solve(normal, (weight * flux).T @ term)
            square = (flux - term @ coefficient.T).square()
            for _ in range(SCATTER_STEPS):
                # At the maximum of the likelihood both sums are equal.
                weight = good / (noise + scatter)
                ratio = (weight.square() * square).sum(dim=0) / weight.sum(dim=0).clamp(min=1e-30)
                scatter = (scatter * ratio).clamp(min=SMALLEST_SCATTER)
        self.coefficient.copy_(coefficient)
        self.scatter.copy_(scatter.masked_fill(~good.any(dim=0), UNKNOWN))
        low, high = label.aminmax(dim=0)
        reach = MARGIN * (high - low)
        self.bounds.copy_(torch.stack([low - reach, high + reach]))

    def forward(self, flux, position, missing=None, request=None, known=None, error=None) -> Answer:
        """Find the labels whose model flux fits each star best, by Levenberg-Marquardt.

        The variance is the diagonal of the inverse Hessian of chi^2 / 2, without second
        derivatives. Parameters are those of `Network.forward`.
        """
        flux = with_gaps(flux, missing).double()
        noise = 0.0 if error is None else error.double().square()
        weight = (1 / (noise + self.scatter)).masked_fill(flux.isnan(), 0.0).nan_to_num(0.0)
        start = flux.new_zeros(len(flux), len(self.labels))
        label, hessian = self._descend(start, flux.nan_to_num(0.0), weight)
        # A star without good pixels has a zero Hessian: this makes its variance large but finite.
        faint = torch.full_like(start, 1e-6).diag_embed()
        variance = torch.linalg.inv(hessian + faint).diagonal(dim1=1, dim2=2)
        return requested(Answer(label.float(), variance.log().float()), request)

    def _descend(self, label: Tensor, flux: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Minimise chi^2 and return labels and Hessian; each star has a damping of its own."""
        damping = flux.new_full((len(flux),), 1e-2)
        chi2, gradient, hessian = self._linearise(label, flux, weight)
        for _ in range(STEPS):
            scale = damping[:, None] * hessian.diagonal(dim1=1, dim2=2) + 1e-9
            damped = hessian + scale.diag_embed()
            trial = (label + torch.linalg.solve(damped, gradient)).clamp(*self.bounds)
            new = self._linearise(trial, flux, weight)
            better = new[0] < chi2
            label = torch.where(better[:, None], trial, label)
            chi2 = torch.where(better, new[0], chi2)
            gradient = torch.where(better[:, None], new[1], gradient)
            hessian = torch.where(better[:, None, None], new[2], hessian)
            damping = torch.where(better, damping / FACTOR, damping * FACTOR).clamp(1e-9, 1e9)
        return label, hessian

    def _linearise(self, label: Tensor, flux: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """Compute chi^2 (B,), minus half its gradient (B, L), half its Hessian (B, L, L)."""
        residual = flux - polynomial(label) @ self.coefficient.T
        slope = polynomial_slope(label) @ self.coefficient.T  # (B, L, T)
        weighted = slope * weight[:, None]
        gradient = (weighted @ residual[..., None]).squeeze(-1)
        return (weight * residual.square()).sum(dim=1), gradient, weighted @ slope.mT


def polynomial(label: Tensor) -> Tensor:
    """Terms of the quadratic: 1, the labels, their products in pairs; (B, L) -> (B, D)."""
    first, second = torch.triu_indices(label.shape[1], label.shape[1])
    product = label[:, first] * label[:, second]
    return torch.cat([torch.ones_like(label[:, :1]), label, product], dim=1)


def polynomial_slope(label: Tensor) -> Tensor:
    """Derivative of `polynomial` with respect to each label: (B, L) -> (B, L, D)."""
    first, second = torch.triu_indices(label.shape[1], label.shape[1])
    linear = torch.ones_like(label).diag_embed()
    value = label[:, None]
    product = linear[..., first] * value[..., second] + linear[..., second] * value[..., first]
    return torch.cat([torch.zeros_like(linear[..., :1]), linear, product], dim=2)
