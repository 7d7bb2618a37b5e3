"""The convolutional network of Leung & Bovy (2019, MNRAS 483, 3255; arXiv:1808.04428).

Sizes as in the authors' astroNN, where ``ApogeeBCNN`` and ``ApogeeCNN`` agree: two convolutions of
2 and 4 filters, each 8 pixels long and padded to keep the length; max-pooling by 4; dense layers
of 196 and 96; ReLU. Weights are initialised from a normal distribution of deviation 0.05. The
abundances of Leung & Bovy come from ``ApogeeBCNNCensored``, which has 192 in place of 196 and adds
a small network per element that reads that element's pixels only; `CNN` reads all pixels for every
label.

Two things differ from astroNN. `CNN` has no dropout and predicts ln variance directly, where
astroNN drops 30 %, also in prediction, to sample an uncertainty. `CNN` divides flux by its spread,
where astroNN only subtracts each pixel's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from spectrafm.labels import Label
from spectrafm.networks.base import Answer, requested, with_gaps
from spectrafm.networks.grid import GridNetwork, Standardise

FILTERS = (2, 4)
FILTER_LENGTH = 8
#: Zeros before and after the pixels, with which a convolution keeps their number.
PADDING = ((FILTER_LENGTH - 1) // 2, FILTER_LENGTH // 2)
POOL = 4
WIDTHS = (196, 96)
START_DEVIATION = 0.05


class CNN(GridNetwork):
    """Pixels -> 2 convolutions -> 196 -> 96 -> (mean, ln variance) of each label.

    Flux minus each pixel's mean is divided by one spread of all pixels, both learned from the
    spectra of the first training; a missing pixel then reads 0. With one spread neighbouring pixels
    stay comparable, as a convolution requires.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The only grid that the network can read, Angstrom.
    labels : sequence of Label
    """

    architecture = "cnn"

    def __init__(self, wavelength: Tensor, labels: Sequence[Label]):
        super().__init__(wavelength, labels)
        self.pixels = Standardise(len(wavelength))
        first, second = FILTERS
        self.convolution = nn.Sequential(
            nn.ZeroPad1d(PADDING),
            nn.Conv1d(1, first, FILTER_LENGTH),
            nn.ReLU(),
            nn.ZeroPad1d(PADDING),
            nn.Conv1d(first, second, FILTER_LENGTH),
            nn.ReLU(),
            nn.MaxPool1d(POOL),
            nn.Flatten(),
        )
        widths = (second * (len(wavelength) // POOL), *WIDTHS)
        layers: list[nn.Module] = []
        for before, after in zip(widths, WIDTHS, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.dense = nn.Sequential(*layers)
        self.mean = nn.Linear(WIDTHS[-1], len(self.labels))
        self.log_variance = nn.Linear(WIDTHS[-1], len(self.labels))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.normal_(module.weight, std=START_DEVIATION)
                nn.init.zeros_(module.bias)

    def standardise(self, flux: Tensor) -> None:
        self.pixels.learn(flux)

    def forward(self, flux, position, missing=None, request=None, known=None, error=None) -> Answer:
        x = self.pixels(with_gaps(flux, missing))
        x = self.dense(self.convolution(x[:, None]))
        return requested(Answer(self.mean(x), self.log_variance(x)), request)
