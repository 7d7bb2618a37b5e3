"""Wavelength encodings: the vectors that give a token its wavelength (paper equation 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Range that `PaperEncoding` maps to 0...1 (paper section 2), Angstrom.
PAPER_RANGE = (15_000.0, 17_000.0)

#: Range within which `LogWavelengthEncoding` is unambiguous, Angstrom: optical to JWST NIRSpec.
LOG_RANGE = (3_000.0, 53_000.0)

#: Shortest period of `LogWavelengthEncoding`, as a velocity. 40 km/s is 2.1 Angstrom at 1.6 micron,
#: three APOGEE resolution elements, so that neighbouring lines have different encodings; the
#: paper's shortest period is 12.6 Angstrom.
SHORTEST_VELOCITY = 40.0

SPEED_OF_LIGHT = 299_792.458  # km/s


class WavelengthEncoding(nn.Module):
    """Sines and cosines of a coordinate, at ``dimension / 2`` angular frequencies.

    Even components are sines, odd ones cosines of the same frequency. Phases are computed in
    float64: a phase of 1e5 radians keeps its fraction.
    """

    def __init__(self, angular_frequency: Tensor):
        super().__init__()
        self.register_buffer("angular_frequency", angular_frequency.double(), persistent=False)

    def coordinate(self, wavelength: Tensor) -> Tensor:
        """Map wavelength, Angstrom, to the coordinate of which sines and cosines are taken."""
        raise TypeError(f"{type(self).__name__} does not implement coordinate()")

    def forward(self, wavelength: Tensor) -> Tensor:
        """Encode wavelengths.

        Parameters
        ----------
        wavelength : Tensor, shape (...)
            Vacuum rest-frame wavelength, Angstrom, in float64.

        Returns
        -------
        Tensor, shape (..., dimension), float32
        """
        phase = self.coordinate(wavelength.double())[..., None] * self.angular_frequency
        return torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(-2).float()

    def _apply(self, fn, recurse=True):
        # Moving the model to half precision must not round the frequencies: a phase of 1e5 radians
        # would lose its fraction.
        kept = self.angular_frequency
        module = super()._apply(fn, recurse)
        self.angular_frequency = kept.to(self.angular_frequency.device)
        return module


class PaperEncoding(WavelengthEncoding):
    """Equation 2 as the authors computed it: frequency exponent ``2 floor(k/2) / dimension``.

    (The printed equation has ``k / dimension``.) Periods run from 12.6 Angstrom to 1.2e5 Angstrom.
    """

    def __init__(self, dimension: int):
        exponent = torch.arange(0, dimension, 2, dtype=torch.float64) / dimension
        super().__init__(1000.0 / 10_000.0**exponent)

    def coordinate(self, wavelength: Tensor) -> Tensor:
        shortest, longest = PAPER_RANGE
        return (wavelength - shortest) / (longest - shortest)


class LogWavelengthEncoding(WavelengthEncoding):
    """Periods in ln(wavelength), log-spaced from 40 km/s to twice the range 0.3-5.3 micron.

    In ln(wavelength) a Doppler shift moves every wavelength by the same step, and an instrument of
    constant resolving power has the same resolution everywhere.
    """

    def __init__(self, dimension: int):
        shortest = SHORTEST_VELOCITY / SPEED_OF_LIGHT
        longest = 2 * math.log(LOG_RANGE[1] / LOG_RANGE[0])
        periods = torch.logspace(
            math.log10(shortest), math.log10(longest), dimension // 2, dtype=torch.float64
        )
        super().__init__(2 * math.pi / periods)

    def coordinate(self, wavelength: Tensor) -> Tensor:
        return torch.log(wavelength / LOG_RANGE[0])


ENCODINGS = {"paper": PaperEncoding, "log_wavelength": LogWavelengthEncoding}
