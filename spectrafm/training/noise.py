"""Noise and errors of models that a training adds to the flux: white, or smooth along the pixels.

Synthetic spectra have lines of wrong strength, and observed ones a continuum that is not exactly 1.
A network that has met both trusts no single line.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Smoothness of changes of the lines' depth and of the continuum: one sigma of a Gaussian, pixels.
#: A line of APOGEE is some two pixels wide, and a continuum is fitted to tens of pixels.
LINE_PIXELS, CONTINUUM_PIXELS = 2.0, 20.0


def drawn_noise(
    shape: tuple[int, int], largest: float, generator: torch.Generator, pixels: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Draw a one-sigma for each star, between 0 and ``largest``, and Gaussian noise of it.

    Parameters
    ----------
    shape : (int, int)
        B stars, T pixels.
    largest : float
    generator : torch.Generator
    pixels : float
        As of `correlated`.

    Returns
    -------
    sigma : Tensor, shape (B, 1)
    noise : Tensor, shape (B, T)
    """
    device = generator.device
    sigma = largest * torch.rand(shape[0], 1, generator=generator, device=device)
    return sigma, correlated(sigma * torch.randn(shape, generator=generator, device=device), pixels)


def correlated(noise: Tensor, pixels: float) -> Tensor:
    """Smooth white noise along the pixels, keeping its variance.

    Parameters
    ----------
    noise : Tensor, shape (B, T)
    pixels : float
        One sigma of the Gaussian; 0: the noise stays white.
    """
    if not pixels:
        return noise
    reach = max(1, round(4 * pixels))
    offset = torch.arange(-reach, reach + 1, device=noise.device)
    kernel = (-0.5 * (offset / pixels) ** 2).exp()
    kernel = kernel / kernel.square().sum().sqrt()
    padded = functional.pad(noise[:, None], (reach, reach), mode="circular")
    return functional.conv1d(padded, kernel.to(noise)[None, None])[:, 0]
