"""A model's fingerprint: one stored spectrum and the answer that the model gave when it was made.

Whoever loads the model elsewhere can tell that it still gives this answer. The file,
``fingerprint.safetensors``, comes with the model and is untrusted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from spectrafm.errors import SpectraFMError
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.networks.saved import read_weights, write_weights
from spectrafm.store.read import StarSet

#: Name of the file in a model's folder.
FINGERPRINT = "fingerprint.safetensors"

#: Largest difference from the stored answer, in its uncertainties: other processors and versions of
#: torch round otherwise.
TOLERANCE = 0.01

#: Largest size of the file, bytes, and number of pixels.
LARGEST, MOST_PIXELS = 8 << 20, 1_000_000

_ARRAYS = ("wavelength", "flux", "flux_error", "value", "uncertainty")
_INPUT = "input."


def write_fingerprint(trained: TrainedModel, stars: StarSet) -> None:
    """Write a model's answer for one star into its folder.

    Parameters
    ----------
    trained : TrainedModel
    stars : StarSet
        Stars as the model reads them; the first with a good pixel and an answer is taken. Where
        there is none, nothing is written.
    """
    for row in np.flatnonzero(np.isfinite(stars.flux).any(axis=1))[:10]:
        one = _rows(stars, slice(row, row + 1))
        value, sigma = _answer(trained, one)
        if not (np.isfinite(value).all() and np.isfinite(sigma).all()):
            continue
        error = np.full_like(one.flux, np.nan) if one.flux_error is None else one.flux_error
        arrays = {
            "wavelength": one.wavelength.astype(np.float64),
            "flux": one.flux[0].astype(np.float32),
            "flux_error": error[0].astype(np.float32),
            "value": value.astype(np.float64),
            "uncertainty": sigma.astype(np.float64),
        }
        arrays |= {
            _INPUT + name: values.astype(np.float64)
            for name, values in one.columns.items()
            if np.asarray(values).dtype.kind in "iuf"
        }
        write_weights(
            trained.folder / FINGERPRINT,
            {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()},
        )
        return


def check_fingerprint(trained: TrainedModel) -> float | None:
    """Evaluate a model on its stored spectrum again.

    Returns
    -------
    float or None
        Largest difference from the stored answer, in its uncertainties; None for a model without a
        fingerprint, as of older versions.

    Raises
    ------
    SpectraFMError
        When the file is damaged, or the model gives another answer.
    """
    path = trained.folder / FINGERPRINT
    if not path.exists():
        return None
    if path.stat().st_size > LARGEST:
        raise SpectraFMError(f"{path}: more bytes than a fingerprint has")
    found = {name: tensor.numpy() for name, tensor in read_weights(path).items()}
    labels = trained.labels
    sizes = {name: found[name].shape for name in _ARRAYS if name in found}
    pixels = sizes.get("wavelength", (0,))
    fits = len(sizes) == len(_ARRAYS) and len(pixels) == 1 and 0 < pixels[0] <= MOST_PIXELS
    fits = fits and sizes["flux"] == sizes["flux_error"] == pixels
    if not fits or not sizes["value"] == sizes["uncertainty"] == (len(labels),):
        raise SpectraFMError(f"{path}: not a fingerprint of this model")
    inputs = {
        name.removeprefix(_INPUT): values
        for name, values in found.items()
        if name.startswith(_INPUT) and values.shape == (1,)
    }
    nothing = np.empty((1, 0), np.float32)
    star = StarSet(
        apogee_id=np.array(["fingerprint"]),
        split=np.array(["validation"]),
        wavelength=found["wavelength"],
        flux=found["flux"][None],
        flux_error=found["flux_error"][None],
        label=nothing,
        label_error=nothing,
        labels=(),
        mock=False,
        columns=inputs,
    )
    value, _ = _answer(trained, star)
    with np.errstate(all="ignore"):
        away = np.abs(value - found["value"]) / found["uncertainty"]
    if not (away <= TOLERANCE).all():
        worst = int(np.argmax(np.nan_to_num(away, nan=np.inf)))
        raise SpectraFMError(
            f"{path}: the model gives {labels[worst]} {value[worst]:.6g} for the stored spectrum, "
            f"but gave {found['value'][worst]:.6g} ± {found['uncertainty'][worst]:.2g} when made"
        )
    return float(away.max())


def _answer(trained: TrainedModel, star: StarSet) -> tuple[np.ndarray, np.ndarray]:
    """Values and uncertainties of one star's labels, shape (R,) each."""
    kind = trained.facts["stage"]["spectra"]
    chunks = trained.contexts(star.wavelength, trained.windows)
    options = Predict(spectra=kind)
    value, sigma, _ = trained.answer(star, trained.labels, chunks, options)
    return value[0], sigma[0]


def _rows(stars: StarSet, rows: slice) -> StarSet:
    names = ("apogee_id", "split", "flux", "label", "label_error")
    return replace(
        stars,
        **{name: getattr(stars, name)[rows] for name in names},
        flux_error=None if stars.flux_error is None else stars.flux_error[rows],
        columns={name: values[rows] for name, values in stars.columns.items()},
    )
