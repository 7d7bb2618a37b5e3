"""Choice of the stars that a stage learns from, and their tensors on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectrafm.errors import SpectraFMError
from spectrafm.labels import IRON_POOR, fulfils, place_of
from spectrafm.networks.base import Network
from spectrafm.spectra import pixels_in
from spectrafm.store.read import StarSet
from spectrafm.training.options import Stars


def subset(stars: StarSet, chosen: np.ndarray) -> StarSet:
    """Select stars by ``chosen``, a boolean mask of shape (n,) or indices."""
    return replace(
        stars,
        **{
            name: getattr(stars, name)[chosen]
            for name in ("apogee_id", "split", "flux", "label", "label_error")
        },
        flux_error=None if stars.flux_error is None else stars.flux_error[chosen],
        columns={name: values[chosen] for name, values in stars.columns.items()},
    )


def meets(stars: StarSet, where: str | None) -> np.ndarray:
    """Mask of the stars that fulfil a condition such as ``"FE_H > -1"``, shape (n,).

    A star without the value does not fulfil the condition. Without a condition the mask is True for
    every star with at least one label, since a network cannot learn from the others.

    Raises
    ------
    SpectraFMError
        When the stars have no such label or column.
    """
    if where is None:
        return np.isfinite(stars.label).any(axis=1)
    labels = {label.name: stars.label[:, i] for i, label in enumerate(stars.labels)}
    return fulfils(where, {**stars.columns, **labels})


def with_labelled(stars: StarSet, labelled: Mapping[str, str]) -> StarSet:
    """Take labels away from the stars that a stage may not learn them from.

    Parameters
    ----------
    stars : StarSet
    labelled : mapping of str to str
        Label -> condition on the stars that have it, as `Stars.labelled`. Conditions refer to what
        the stars have before anything is taken away.

    Raises
    ------
    SpectraFMError
        When the stars have no such label or column.
    """
    label = stars.label.copy()
    for name, where in labelled.items():
        label[~meets(stars, where), column_of(stars, name)] = np.nan
    return replace(stars, label=label)


def column_of(stars: StarSet, label: str) -> int:
    """Position of a label among those of the stars.

    Raises
    ------
    SpectraFMError
        When the store does not hold the label.
    """
    return place_of(label, stars.labels)


def choose(stars: StarSet, options: Stars) -> StarSet:
    """Apply a stage's condition, then draw its number of stars with its seed.

    Raises
    ------
    SpectraFMError
        When fewer stars fulfil the condition than ``count``, or none does.
    """
    matching = np.flatnonzero(meets(stars, options.where))
    if options.count is not None:
        if len(matching) < options.count:
            raise SpectraFMError(
                f"stars.count: {options.count} wanted, but {_described(len(matching), options)}"
            )
        # Sorted by identifier, so that the draw does not depend on the order of rows in the store.
        matching = matching[np.argsort(stars.apogee_id[matching], kind="stable")]
        generator = np.random.default_rng(options.seed)
        matching = np.sort(generator.choice(matching, options.count, replace=False))
    if not len(matching):
        raise SpectraFMError(_described(0, options))
    return subset(stars, matching)


def _described(count: int, options: Stars) -> str:
    """Describe in words how many training stars a condition leaves."""
    found = f"only {count} training stars" if count else "no training star"
    wanted = "have a label" if count else "has a label"
    if options.where is not None:
        wanted = f"{'have' if count else 'has'} {options.where}"
    return f"{found} {wanted}"


def balanced(stars: StarSet) -> StarSet:
    """Select as many iron-poor as iron-rich stars, as the authors did to choose a checkpoint."""
    poor = np.flatnonzero(meets(stars, f"FE_H < {IRON_POOR}"))
    rich = np.flatnonzero(meets(stars, f"FE_H >= {IRON_POOR}"))[: len(poor)]
    return subset(stars, np.sort(np.concatenate([poor, rich])))


@dataclass(frozen=True)
class DeviceStars:
    """A set of stars on the device, ready to draw pixels from.

    Attributes
    ----------
    flux : Tensor, shape (n, P)
        Normalised flux; NaN or infinite where missing.
    flux_error : Tensor, shape (n, P), or None
        One-sigma errors of the flux, for networks that read them.
    valid : Tensor, shape (n, P), bool
        True where the flux is finite.
    inputs : Tensor, shape (n, I), or None
        Standardised inputs, for networks that read some; NaN = missing.
    label, label_error : Tensor, shape (n, R)
        Labels of the stage and their errors, in standardised units; NaN = missing.
    encode : callable
        From indices of pixels, shape (T,), to the encoding of their wavelengths.
    windows : tuple of Tensor
        Pixel indices of each window.
    apogee_id : numpy.ndarray of str, shape (n,)
    window_positions : dict
        Encodings of those of `windows_and_all` that were shown whole so far, by number.
    """

    flux: Tensor
    flux_error: Tensor | None
    valid: Tensor
    label: Tensor
    label_error: Tensor
    encode: Callable[[Tensor], Any]
    windows: tuple[Tensor, ...]
    apogee_id: np.ndarray
    inputs: Tensor | None = None
    window_positions: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flux)

    @cached_property
    def teaches(self) -> Tensor:
        """Mask of the labels to learn from, shape (n, R): finite, without an infinite error."""
        return self.label.isfinite() & ~self.label_error.isinf()

    @cached_property
    def position(self) -> Tensor:
        """Encoding of every pixel of the grid, shape (P, D), for networks that read any pixels."""
        return self.encode(torch.arange(self.flux.shape[1], device=self.flux.device))

    def position_of(self, number: int) -> Any:
        """Encoding of all pixels of one of `windows_and_all`, which the network reads whole."""
        if number not in self.window_positions:
            self.window_positions[number] = self.encode(self.windows_and_all[number])
        return self.window_positions[number]

    @cached_property
    def every_window(self) -> Tensor:
        """Pixel indices of all windows together, each once, in the order of the grid."""
        return torch.cat(self.windows).unique()

    @property
    def windows_and_all(self) -> tuple[Tensor, ...]:
        """Pixel indices of each window, then of all windows together."""
        return (*self.windows, self.every_window)

    @cached_property
    def fewest_valid(self) -> tuple[int, ...]:
        """Number of valid pixels of the star that has fewest, for each window and for all."""
        return tuple(int(self.valid[:, window].sum(dim=1).min()) for window in self.windows_and_all)


def to_device(
    stars: StarSet,
    network: Network,
    request: Tensor,
    windows: Sequence[tuple[float, float]],
    device: torch.device,
) -> DeviceStars:
    """Move stars to the device and convert their labels to the network's standardised units.

    Parameters
    ----------
    stars : StarSet
    network : Network
    request : Tensor, shape (R,), int
        The network's labels that the stage trains.
    windows : sequence of (float, float), Angstrom
    device : torch.device

    Raises
    ------
    SpectraFMError
        When a window holds no pixel, the store does not hold a label, its unit in the store
        differs from that in the network, or an error of it is negative.
    """
    wanted = [network.label_table[i] for i in request.tolist()]
    column = [column_of(stars, label.name) for label in wanted]
    for number, label in zip(column, wanted, strict=True):
        found = stars.labels[number].unit
        if found != label.unit:
            raise SpectraFMError(
                f"label {label.name}: the store has it in {found}, the network in {label.unit}"
            )
        _refuse_negative(stars, number)
    inside = pixels_in(stars.wavelength, windows)
    for (low, high), pixels in zip(windows, inside, strict=True):
        if not len(pixels):
            raise SpectraFMError(f"windows: no pixel lies in {low}-{high} Angstrom")
    wavelength = torch.from_numpy(np.ascontiguousarray(stars.wavelength)).to(device)
    flux = torch.from_numpy(np.ascontiguousarray(stars.flux)).to(device)
    error = None
    if network.wants_errors and stars.flux_error is not None:
        error = torch.from_numpy(np.ascontiguousarray(stars.flux_error)).to(device)
    label, label_error = network.to_standard(
        torch.from_numpy(stars.label[:, column]).to(device),
        torch.from_numpy(stars.label_error[:, column]).to(device),
        request.to(device),
    )
    return DeviceStars(
        flux=flux,
        flux_error=error,
        valid=flux.isfinite(),
        label=label,
        label_error=label_error,
        encode=lambda pixels: network.encoding(wavelength[pixels]),
        windows=tuple(torch.from_numpy(pixels).to(device) for pixels in inside),
        apogee_id=stars.apogee_id,
        inputs=network.inputs_of(stars.columns, len(stars)),
    )


def _refuse_negative(stars: StarSet, column: int) -> None:
    """Refuse a label with a negative error, which would be weighted as if it were positive."""
    negative = np.flatnonzero(stars.label_error[:, column] < 0)
    if len(negative):
        star, label = negative[0], stars.labels[column].name
        raise SpectraFMError(
            f"{label}_ERR of star {stars.apogee_id[star]} is {stars.label_error[star, column]:g} "
            f"({len(negative)} such stars): an error cannot be negative"
        )
