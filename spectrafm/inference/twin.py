"""Synthetic twins: the synthetic spectrum that most probably lies behind an observed one.

    synthetic = mean + z components,    z normal with standard deviation `PRIOR`
    observed  = expected + z response + noise,    with a variance for each pixel

The twin is the Gaussian posterior mean of the synthetic spectrum, one linear system a star. A
network that has learned from synthetic spectra alone reads it as one of them. Mean, response and
variance come from the synthetic gap of a stage's few stars and are stored in its model's folder,
which is untrusted. A twin holds for the pixels that it was fitted on and for no others.

Shapes: n stars, P pixels, Q components.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from spectrafm.errors import SpectraFMError
from spectrafm.networks.saved import read_weights, write_weights
from spectrafm.store.read import StarSet

#: Name of the file in a model's folder.
TWIN = "twin.safetensors"

#: Standard deviation of z, where 1 is that of the synthetic training spectra: wide, since the stars
#: to predict may lie outside the range of the training stars.
PRIOR = 3.0


@dataclass(frozen=True)
class Twin:
    """What is known of synthetic spectra and of their observation, float64.

    Attributes
    ----------
    wavelength : numpy.ndarray, shape (P,)
        Vacuum, rest frame, Angstrom.
    mean, expected : numpy.ndarray, shape (P,)
        Normalised flux of the mean synthetic spectrum, and of its observation.
    components, response : numpy.ndarray, shape (Q, P)
        Change of the synthetic and of the observed flux with each z.
    variance : numpy.ndarray, shape (P,)
        Of an observed flux about what its synthetic spectrum makes expect, noise included.
    """

    wavelength: np.ndarray
    mean: np.ndarray
    expected: np.ndarray
    components: np.ndarray
    response: np.ndarray
    variance: np.ndarray

    def of(self, stars: StarSet) -> StarSet:
        """Replace observed spectra by their twins.

        Parameters
        ----------
        stars : StarSet
            Observed spectra; NaN where missing.

        Returns
        -------
        StarSet
            With the posterior mean of the synthetic flux and its one-sigma error at every pixel;
            all missing for a star without a good pixel.

        Raises
        ------
        SpectraFMError
            When the stars are not on the twin's pixels.
        """
        if not np.array_equal(stars.wavelength, self.wavelength):
            raise SpectraFMError(
                f"a synthetic twin reads the {len(self.wavelength)} pixels of its model's windows, "
                f"{self.wavelength[0]:.1f}-{self.wavelength[-1]:.1f} Angstrom, and no others: "
                "predict in these, or with --twin=false"
            )
        known = np.isfinite(stars.flux)
        weight = np.where(known, 1.0 / self.variance, 0.0)
        count, pixels = self.response.shape
        products = self.response[:, None] * self.response[None, :]
        precision = weight @ products.reshape(count * count, pixels).T
        precision = precision.reshape(-1, count, count) + np.eye(count) / PRIOR**2
        difference = np.where(known, stars.flux - self.expected, 0.0)
        moment = (weight * difference) @ self.response.T
        z = np.linalg.solve(precision, moment[..., None])[..., 0]
        flux = self.mean + z @ self.components
        scatter = np.linalg.inv(precision) @ self.components
        error = np.sqrt(np.einsum("qp,nqp->np", self.components, scatter))
        blank = ~known.any(axis=1, keepdims=True)
        kind = stars.flux.dtype
        return replace(
            stars,
            flux=np.where(blank, np.nan, flux).astype(kind),
            flux_error=np.where(blank, np.nan, error).astype(kind),
        )


def write_twin(folder: Path, twin: Twin) -> None:
    """Write ``twin.safetensors`` into a model's folder, of which it becomes a part."""
    arrays = {field.name: getattr(twin, field.name) for field in fields(twin)}
    write_weights(
        Path(folder) / TWIN,
        {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()},
    )


def read_twin(folder: Path) -> Twin | None:
    """Read the twin of a model; None for a model that reads spectra as they are.

    The model's checksums are checked elsewhere, when its weights are loaded.

    Raises
    ------
    SpectraFMError
        When the file does not hold what `write_twin` writes.
    """
    path = Path(folder) / TWIN
    if not path.exists():
        return None
    tensors = read_weights(path)
    names = [field.name for field in fields(Twin)]
    if sorted(tensors) != sorted(names):
        raise SpectraFMError(f"{path}: not a twin: its arrays are not {', '.join(names)}")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    pixels, count = len(arrays["wavelength"].ravel()), len(arrays["components"])
    for name, values in arrays.items():
        shape = (count, pixels) if name in ("components", "response") else (pixels,)
        if values.shape != shape or values.dtype != np.float64 or not np.isfinite(values).all():
            raise SpectraFMError(f"{path}: not a twin: {name} is not finite float64 of {shape}")
    if not (count and pixels and (arrays["variance"] > 0).all()):
        raise SpectraFMError(f"{path}: not a twin: a variance is not positive")
    return Twin(**arrays)
