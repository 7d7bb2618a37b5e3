"""Which stars a stage learns from, and how they lie on the device."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from spectrafm.errors import SpectraFMError
from spectrafm.labels import IRON_POOR, LABELS
from spectrafm.store.read import StarSet
from spectrafm.training.options import Stars

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def subset(stars: StarSet, chosen: np.ndarray) -> StarSet:
    """The stars where ``chosen`` (bool or indices) says so."""
    return replace(
        stars,
        **{
            name: getattr(stars, name)[chosen]
            for name in ("apogee_id", "split", "flux", "label", "label_error")
        },
    )


def meets(stars: StarSet, where: str | None) -> np.ndarray:
    """Which stars fulfil a condition such as ``"FE_H > -1"``; a missing label fulfils none.

    Without a condition: those with any label, since the others have nothing to teach.
    """
    if where is None:
        return np.isfinite(stars.label).any(axis=1)
    column = next(name for name in LABELS if where.startswith(name))
    comparison = where.removeprefix(column).strip()
    symbol = comparison[:2] if comparison[1] == "=" else comparison[0]
    bound = float(comparison.removeprefix(symbol))
    return _COMPARE[symbol](stars.label[:, LABELS.index(column)], bound)


def choose(stars: StarSet, options: Stars) -> StarSet:
    """Apply a stage's condition, then draw its number of stars with its seed.

    Raises
    ------
    SpectraFMError
        When fewer stars fulfil the condition than are asked for.
    """
    matching = np.flatnonzero(meets(stars, options.where))
    if options.count is not None:
        if len(matching) < options.count:
            raise SpectraFMError(
                f"stars.count: {options.count} asked for, but only {len(matching)} training stars "
                f"fulfil {options.where or 'no condition'}"
            )
        # By identifier, so that the draw does not depend on the order of rows in the store.
        matching = matching[np.argsort(stars.apogee_id[matching], kind="stable")]
        generator = np.random.default_rng(options.seed)
        matching = np.sort(generator.choice(matching, options.count, replace=False))
    if not len(matching):
        raise SpectraFMError(f"no training star fulfils {options.where!r}")
    return subset(stars, matching)


def balanced(stars: StarSet) -> StarSet:
    """As many iron-poor as iron-rich stars: what the authors chose their checkpoint on."""
    poor = np.flatnonzero(meets(stars, f"FE_H < {IRON_POOR}"))
    rich = np.flatnonzero(meets(stars, f"FE_H >= {IRON_POOR}"))[: len(poor)]
    return subset(stars, np.sort(np.concatenate([poor, rich])))


def label_scaling(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale of each label: median and 1.4826 x median absolute deviation.

    Parameters
    ----------
    label : ndarray, shape (n, L)
        NaN = missing.

    Returns
    -------
    centre, scale : ndarray, shape (L,)
    """
    centre = np.nanmedian(label, axis=0)
    return centre, 1.4826 * np.nanmedian(np.abs(label - centre), axis=0)


@dataclass(frozen=True)
class DeviceStars:
    """A set of stars on the device, ready to draw pixels from.

    Attributes
    ----------
    flux : Tensor, shape (n, P)
        1 where missing.
    valid : Tensor, shape (n, P), bool
    label, label_error : Tensor, shape (n, R)
        Of the stage's labels, in standardised units; NaN = missing.
    position : Tensor, shape (P, D)
        Encoding of each pixel's wavelength.
    windows : tuple of Tensor
        Pixel indices of each window.
    apogee_id : ndarray of str, shape (n,)
    """

    flux: Tensor
    valid: Tensor
    label: Tensor
    label_error: Tensor
    position: Tensor
    windows: tuple[Tensor, ...]
    apogee_id: np.ndarray

    def __len__(self) -> int:
        return len(self.flux)

    @cached_property
    def askable(self) -> Tensor:
        """Labels that teach something, shape (n, R), bool: finite, and not infinitely uncertain."""
        return self.label.isfinite() & ~self.label_error.isinf()

    @cached_property
    def every_window(self) -> Tensor:
        """Pixel indices of all windows together."""
        return torch.cat(self.windows)

    @cached_property
    def fewest_valid(self) -> tuple[int, ...]:
        """Valid pixels of the star that has fewest, in each window and in all of them."""
        return tuple(
            int(self.valid[:, window].sum(dim=1).min())
            for window in (*self.windows, self.every_window)
        )


def to_device(
    stars: StarSet,
    network: torch.nn.Module,
    request: Tensor,
    windows: Sequence[tuple[float, float]],
    device: torch.device,
) -> DeviceStars:
    """Move stars to the device, with labels in the network's units."""
    wavelength = torch.from_numpy(np.ascontiguousarray(stars.wavelength)).to(device)
    flux = torch.from_numpy(np.ascontiguousarray(stars.flux)).to(device)
    valid = flux.isfinite()
    column = [LABELS.index(network.labels[i]) for i in request.tolist()]
    scale = network.label_scale[request].to(device)
    label = torch.from_numpy(stars.label[:, column]).to(device)
    label_error = torch.from_numpy(stars.label_error[:, column]).to(device)
    inside = [
        ((wavelength >= low) & (wavelength <= high)).nonzero().squeeze(1) for low, high in windows
    ]
    for (low, high), pixels in zip(windows, inside, strict=True):
        if not len(pixels):
            raise SpectraFMError(f"windows: no pixel lies in {low}-{high} Angstrom")
    return DeviceStars(
        flux=flux.masked_fill(~valid, 1.0),
        valid=valid,
        label=(label - network.label_centre[request].to(device)) / scale,
        label_error=label_error / scale,
        position=network.encoding(wavelength),
        windows=tuple(inside),
        apogee_id=stars.apogee_id,
    )
