"""Channels: the numbers that a network reads of each pixel.

Without a normaliser a pixel has one channel, its distance from the continuum. The normaliser
``xp`` makes two of the flux as observed, in any unit: the distance from the pseudo-continuum, and
the broad shape that the pseudo-continuum takes away. The network applies it, so that training,
prediction and attention maps cannot differ in it, and noise is added before it.

Shapes: B stars, T pixels, F channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spectrafm.continuum import xp
from spectrafm.networks.options import Reads

#: An error of the flux is read as ln(error / ERROR_SCALE), and at least as ln(1 / 20): the flux of
#: APOGEE stars at S/N 100 has errors of about this size.
ERROR_SCALE = 0.01

#: Flux in units of the pseudo-continuum is limited to this range; noise of a faint star exceeds it.
LIMITS = (-3.0, 5.0)


class Smoothing(NamedTuple):
    """Weights of `spectrafm.continuum.xp.smoothing` for a set of pixels."""

    continuum: Tensor  # (T, T)
    scale: Tensor  # (T,)


class Channels(nn.Module):
    """Flux -> channels.

    Parameters
    ----------
    reads : Reads
    flux_scale : float
        Unit of the distance from the continuum.
    """

    def __init__(self, reads: Reads, flux_scale: float = 0.1):
        super().__init__()
        self.normalises = reads.normaliser == "xp"
        self.flux_scale = flux_scale

    @property
    def count(self) -> int:
        """Number of channels, F."""
        return 2 if self.normalises else 1

    def smoothing(self, wavelength: Tensor) -> Smoothing | None:
        """Weights for the wavelengths of some pixels, shape (T,); None without a normaliser."""
        if not self.normalises:
            return None
        parts = xp.smoothing(wavelength.cpu().numpy())
        return Smoothing(*(torch.from_numpy(part).float().to(wavelength.device) for part in parts))

    def scaled(self, wavelength: np.ndarray, flux: np.ndarray) -> np.ndarray:
        """Flux in the unit in which spectra are compared: that of the store of training stars.

        Parameters
        ----------
        wavelength : numpy.ndarray, shape (T,), Angstrom
        flux : numpy.ndarray, shape (n, T)
            NaN where missing.
        """
        if not self.normalises:
            return flux
        weight = xp.smoothing(wavelength)[1]
        good = np.isfinite(flux)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.where(good, flux, 0.0) @ weight / (good @ weight)
            return (flux / scale[:, None]).astype(flux.dtype)

    def forward(
        self,
        flux: Tensor,
        smoothing: Smoothing | None,
        missing: Tensor | None,
        error: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Make the channels.

        Parameters
        ----------
        flux : Tensor, shape (B, T)
            Any value where missing.
        smoothing : Smoothing, optional
            Of these pixels.
        missing : Tensor, shape (B, T), bool, optional
        error : Tensor, shape (B, T), optional
            One-sigma errors of the flux; NaN where unknown.

        Returns
        -------
        channels : Tensor, shape (B, T, F)
            Any value where missing.
        error : Tensor, shape (B, T), or None
            Errors in units of the continuum.
        """
        if smoothing is None:
            return ((1.0 - flux) / self.flux_scale)[..., None], error
        good = torch.ones_like(flux) if missing is None else (~missing).to(flux.dtype)
        shown = flux if missing is None else flux.masked_fill(missing, 0.0)
        scale = (shown @ smoothing.scale) / (good @ smoothing.scale).clamp(min=1e-30)
        scale = scale.abs().clamp(min=1e-30)[:, None]
        # In units of the scale first: a flux in W m-2 nm-1 is as small as float32 can be.
        shown = shown / scale
        level = (shown @ smoothing.continuum.T) / (good @ smoothing.continuum.T).clamp(min=1e-30)
        level = level.clamp(min=xp.FAINTEST)
        depth = (1.0 - (shown / level).clamp(*LIMITS)) / self.flux_scale
        shape = (shown / xp.SHAPE_SCALE).asinh() - xp.SHAPE_CENTRE
        error = None if error is None else error / scale / level
        return torch.stack([depth, shape], dim=-1), error
