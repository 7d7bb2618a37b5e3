"""The paper's baseline: a fully connected network trained from scratch (paper section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spectrafm.errors import SpectraFMError
from spectrafm.networks.base import GridNetwork
from spectrafm.networks.transformer import Answer

WIDTHS = (2048, 1280, 1024)
DROPOUT = 0.1


class FCNN(GridNetwork):
    """512 -> 2048 -> 1280 -> 1024 -> (mean, ln variance): 4,987,138 parameters.

    ReLU; dropout 10 % after the first two hidden layers, as the authors' code has it (the paper's
    text says all). A missing pixel reads 1.0, and each pixel's mean over the training stars is
    subtracted.

    Parameters
    ----------
    wavelength : Tensor, shape (T,)
        The one grid it can read, Angstrom.
    labels : sequence of str
        The one label it predicts.
    """

    def __init__(self, wavelength: Tensor, labels: Sequence[str]):
        super().__init__()
        self.labels = tuple(labels)
        self.register_buffer("wavelength", wavelength.double())
        self.register_buffer("flux_mean", torch.ones(len(wavelength)))
        self.register_buffer("label_centre", torch.zeros(len(self.labels)))
        self.register_buffer("label_scale", torch.ones(len(self.labels)))
        first, second, third = WIDTHS
        self.dense = nn.Sequential(
            nn.Linear(len(wavelength), first),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(second, third),
            nn.ReLU(),
        )
        self.mean = nn.Linear(third, 1)
        self.log_variance = nn.Linear(third, 1)

    def learn_flux_mean(self, flux: Tensor) -> None:
        """Set each pixel's mean from the training stars, shape (n, T), NaN = missing."""
        self.flux_mean.copy_(flux.nan_to_num(1.0).mean(dim=0))

    def encoding(self, wavelength: Tensor) -> Tensor:
        """Check that the pixels are those of the training; position then says nothing more.

        Returns
        -------
        Tensor, shape (T, 0)

        Raises
        ------
        SpectraFMError
            Where the wavelengths are not the network's own.
        """
        if wavelength.shape != self.wavelength.shape or not torch.allclose(
            wavelength.double(), self.wavelength, rtol=0, atol=1e-3
        ):
            raise SpectraFMError(
                f"fcnn reads only its own {len(self.wavelength)} pixels, "
                f"{self.wavelength[0]:.1f}-{self.wavelength[-1]:.1f} Angstrom"
            )
        return self.flux_mean.new_zeros(len(wavelength), 0)

    def forward(
        self,
        flux: Tensor,
        position: Tensor,
        missing: Tensor | None = None,
        request: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Answer:
        """Predict its one label from whole windows.

        Parameters
        ----------
        flux : Tensor, shape (B, T)
        position : Tensor, shape (T, 0)
            From `encoding`, which has checked the grid.
        missing : Tensor, shape (B, T), bool, optional
        request : Tensor, shape (R,), int, optional
            Only its one label can be asked for.
        known : None
            It cannot be given labels.
        """
        flux = flux if missing is None else flux.masked_fill(missing, 1.0)
        x = self.dense(flux.nan_to_num(1.0) - self.flux_mean)
        answer = Answer(self.mean(x), self.log_variance(x))
        return answer if request is None else Answer(*(part[:, request] for part in answer))
