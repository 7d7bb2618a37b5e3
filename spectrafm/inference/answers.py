"""From spectra of any instrument to a table of labels: normalised, predicted, flagged.

A table has one row a spectrum: ``name``; for each label ``<label>``, ``<label>_uncertainty`` (one
sigma) and, where the model is calibrated, ``<label>_lower68``, ``_upper68``, ``_lower95``,
``_upper95``; ``snr``, ``good_pixels`` (in the model's wavelengths), ``ood_score``; ``flags``, names
of `spectrafm.inference.flags` joined by ``"; "``; ``notes``, what the flags say in detail and what
was done and assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spectrafm.continuum import normalise
from spectrafm.errors import SpectraFMError
from spectrafm.inference import flags
from spectrafm.inference.calibration import LEVELS
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.spectra import FLUX_RANGE, pixels_in
from spectrafm.spectra.spectrum import Spectrum
from spectrafm.store.read import StarSet

#: Levels of the intervals in a table, percent.
SHOWN = (68, 95)

#: Options of the predictions: those of a store's, by default.
OPTIONS = Predict()

Inputs = Mapping[str, Any] | None


class Shown(NamedTuple):
    """A spectrum as the network reads it."""

    wavelength: np.ndarray  # (P,), Angstrom, within the model's windows
    flux: np.ndarray  # (P,), NaN where missing
    error: np.ndarray  # (P,), NaN where unknown
    notes: list[str]
    assumed: bool


def answers(
    trained: TrainedModel, spectra: Sequence[Spectrum], labels: Sequence[str], inputs: Inputs = None
) -> pd.DataFrame:
    """Predict labels of some spectra.

    Parameters
    ----------
    trained : TrainedModel
    spectra : sequence of Spectrum
    labels : sequence of str
        Labels that the network knows.
    inputs : mapping of str to array-like, optional
        Further numbers that the network reads, such as colours: one number for each spectrum, by
        name. They replace those of `Spectrum.inputs`.

    Returns
    -------
    pandas.DataFrame
        One row a spectrum, in their order.
    """
    shown = [_shown(trained, one) for one in spectra]
    groups: dict[bytes, list[int]] = {}
    for row, one in enumerate(shown):
        groups.setdefault(one.wavelength.tobytes(), []).append(row)
    parts = []
    for rows in groups.values():
        given = {
            name: np.asarray([_input(inputs, spectra[row], name, row) for row in rows], np.float32)
            for name in _inputs_of(trained, inputs, spectra)
        }
        part = _of_one_grid(trained, [shown[row] for row in rows], labels, given)
        part.index = rows
        parts.append(part)
    table = pd.concat(parts).sort_index()
    table.insert(0, "name", [one.name for one in spectra])
    return table


def unread(trained: TrainedModel, labels: Sequence[str], name: str, reason: str) -> pd.DataFrame:
    """The row of a spectrum that could not be read: flagged, with the reason as its note."""
    empty = Shown(np.empty(0), np.empty(0), np.empty(0), [], False)
    table = _of_one_grid(trained, [empty], labels, {}).assign(notes=reason)
    table.insert(0, "name", [name])
    return table


def normaliser_of(trained: TrainedModel) -> str:
    """Name of the normaliser that makes the flux which the model reads; ``none``: its network's."""
    if trained.network.reads.normaliser is not None:
        return "none"
    return str(trained.facts.get("normalisation", "aspcap"))


def _inputs_of(trained: TrainedModel, inputs: Inputs, spectra: Sequence[Spectrum]) -> list[str]:
    """Names of the inputs that the network reads.

    Raises
    ------
    SpectraFMError
        When an input is given that the network does not read, or not one for each spectrum.
    """
    known = list(trained.network.reads.inputs)
    for name, values in (inputs or {}).items():
        if name not in known:
            read = f"it reads {', '.join(known)}" if known else "it reads spectra alone"
            raise SpectraFMError(f"inputs: the model does not read {name}; {read}")
        if np.ndim(values) and len(values) != len(spectra):
            raise SpectraFMError(f"inputs: {len(values)} values of {name}: {len(spectra)} spectra")
    return known


def _input(inputs: Inputs, spectrum: Spectrum, name: str, row: int) -> float:
    if inputs and name in inputs:
        return float(np.broadcast_to(inputs[name], row + 1)[row] if not np.ndim(inputs[name])
                     else inputs[name][row])  # fmt: skip
    return float(spectrum.inputs.get(name, np.nan))


def _shown(
    trained: TrainedModel,
    spectrum: Spectrum,
    windows: Sequence[tuple[float, float]] | None = None,
) -> Shown:
    """A spectrum normalised and cut to some windows, by default those that the model reads."""
    notes = list(spectrum.assumed)
    name = normaliser_of(trained)
    if spectrum.normalisation not in (name, "none") and name != "none":
        spectrum = normalise(spectrum, name)
        notes = [*spectrum.assumed, f"continuum-normalised with {name}"]
    readable, before = spectrum.good, spectrum.normalisation
    if trained.network.reads.normaliser is not None and before not in (None, "none"):
        # What the first normalisation took away, the broad shape, cannot be had back.
        readable = np.zeros_like(readable)
        notes.append(f"flux was normalised with {before!r} before: the model reads it as observed")
    flux = np.where(readable, spectrum.flux, np.float32(np.nan))
    error = np.full_like(flux, np.nan)
    if spectrum.flux_error is not None:
        error = np.where(readable, spectrum.flux_error, np.float32(np.nan))
    if name != "none":
        low, high = trained.facts["stage"].get("flux_range") or FLUX_RANGE
        with np.errstate(invalid="ignore"):
            bad = ~((flux >= low) & (flux <= high))
        flux[bad] = error[bad] = np.nan
    wavelength = spectrum.wavelength
    inside = np.unique(np.concatenate(pixels_in(wavelength, windows or trained.windows)))
    own = trained.grid
    if own is not None:
        near = np.searchsorted(wavelength, own).clip(1, max(len(wavelength) - 1, 1))
        near = np.minimum(near, len(wavelength) - 1)
        before = np.maximum(near - 1, 0)
        nearest = np.where(own - wavelength[before] < wavelength[near] - own, before, near)
        if (np.abs(wavelength[nearest] - own) < 1e-3).all():
            flux, error = flux[nearest], error[nearest]
        else:
            flux, error = (
                np.interp(own, wavelength, values, np.nan, np.nan).astype(np.float32)
                for values in (flux, error)
            )
            notes.append("interpolated to the pixels that the model reads")
        return Shown(own, flux, error, notes, bool(spectrum.assumed))
    return Shown(wavelength[inside], flux[inside], error[inside], notes, bool(spectrum.assumed))


def _of_one_grid(
    trained: TrainedModel,
    shown: Sequence[Shown],
    labels: Sequence[str],
    inputs: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    """Rows of spectra with the same wavelengths."""
    count, wavelength = len(shown), shown[0].wavelength
    flux = np.stack([one.flux for one in shown]).astype(np.float32)
    stars = _as_stars(shown, inputs)
    snr = stars.signal_to_noise.astype(np.float32)
    value, sigma = np.full((2, count, len(labels)), np.nan)
    feature = None
    found: list[list[str]] = [[] for _ in shown]
    score = np.full(count, np.nan)
    if len(wavelength):
        chunks = trained.contexts(wavelength, trained.windows)
        value, sigma, feature = trained.answer(stars, labels, chunks, OPTIONS)
    predicted = {label: value[:, i] for i, label in enumerate(labels)}
    if trained.domain is not None and len(wavelength):
        scaled = trained.network.scaled(wavelength, flux)
        judgement = trained.domain.judge(wavelength, scaled, predicted, snr, feature)
        score, found = judgement.score, judgement.flags
    columns = _of_labels(trained, labels, predicted, sigma, snr)
    good = np.isfinite(flux).sum(axis=1).astype(np.int32)
    columns |= {"snr": snr, "good_pixels": good, "ood_score": score.astype(np.float32)}
    answered = np.isfinite(value).all(axis=1) & np.isfinite(sigma).all(axis=1)
    names, notes = [], []
    for row, one in enumerate(shown):
        own = list(found[row])
        if one.assumed:
            own.append(flags.ASSUMED_UNITS)
        if trained.mock:
            own.append(flags.MOCK_TRAINED)
        why = list(one.notes)
        if not answered[row]:
            own.append(flags.NO_ANSWER)
            why += _why_not(trained, good[row])
        names.append(flags.BETWEEN.join(flags.names_in(flags.BETWEEN.join(own))))
        notes.append(flags.BETWEEN.join([*(text for text in own if ":" in text), *why]))
    return pd.DataFrame({**columns, "flags": names, "notes": notes})


def as_stars(
    trained: TrainedModel,
    spectrum: Spectrum,
    windows: Sequence[tuple[float, float]] | None = None,
) -> StarSet:
    """One spectrum as the model reads it: normalised, and cut to its windows or to other ones."""
    inputs = {
        name: np.float32([spectrum.inputs.get(name, np.nan)])
        for name in _inputs_of(trained, None, [spectrum])
    }
    return _as_stars([_shown(trained, spectrum, windows)], inputs)


def _as_stars(shown: Sequence[Shown], inputs: Mapping[str, np.ndarray]) -> StarSet:
    """Spectra with the same wavelengths as stars without labels."""
    count = len(shown)
    return StarSet(
        apogee_id=np.array([str(row) for row in range(count)]),
        split=np.full(count, "test"),
        wavelength=shown[0].wavelength,
        flux=np.stack([one.flux for one in shown]).astype(np.float32),
        flux_error=np.stack([one.error for one in shown]).astype(np.float32),
        label=np.empty((count, 0), np.float32),
        label_error=np.empty((count, 0), np.float32),
        labels=(),
        mock=False,
        columns=dict(inputs),
    )


def _why_not(trained: TrainedModel, good: int) -> list[str]:
    windows = ", ".join(f"{low:.1f}-{high:.1f}" for low, high in trained.windows)
    if not good:
        return [f"no good pixel within {windows} Angstrom, which the model reads"]
    return ["no finite answer"]


def _of_labels(
    trained: TrainedModel,
    labels: Sequence[str],
    predicted: Mapping[str, np.ndarray],
    sigma: np.ndarray,
    snr: np.ndarray,
) -> dict[str, np.ndarray]:
    """Columns of the labels: value, uncertainty, and intervals where the model is calibrated."""
    columns: dict[str, np.ndarray] = {}
    calibration = trained.calibration
    for place, label in enumerate(labels):
        columns[label] = predicted[label].astype(np.float32)
        columns[f"{label}_uncertainty"] = sigma[:, place].astype(np.float32)
        half = np.full((len(LEVELS), len(sigma)), np.nan)
        if calibration is not None and label in calibration.labels:
            half = calibration.half_widths(label, sigma[:, place], {**predicted, "snr": snr})
        for level in SHOWN:
            width = half[LEVELS.index(level)]
            for end, sign in (("lower", -1), ("upper", 1)):
                columns[f"{label}_{end}{level}"] = (predicted[label] + sign * width).astype("f4")
    return columns


def units_of(trained: TrainedModel, labels: Sequence[str]) -> dict[str, str]:
    """Units of a table's columns, as astropy parses them; a difference of log g is in dex."""
    known = {label.name: label.unit for label in trained.network.label_table}
    units = {}
    for label in labels:
        unit = known[label]
        units[label] = unit
        units[f"{label}_uncertainty"] = "dex" if unit.startswith("dex(") else unit
        for level in SHOWN:
            units |= {f"{label}_{end}{level}": unit for end in ("lower", "upper")}
    return units


def about(trained: TrainedModel, labels: Sequence[str]) -> dict[str, Any]:
    """What a table's metadata say of the model."""
    from spectrafm import __version__
    from spectrafm.files import sha256_of_file
    from spectrafm.networks.saved import WEIGHTS

    return {
        "model": trained.facts["stage_name"],
        "model_sha256": sha256_of_file(trained.folder / WEIGHTS),
        "spectrafm": __version__,
        "windows": [list(window) for window in trained.windows],
        "labels": list(labels),
        "normaliser": normaliser_of(trained),
        "mock": trained.mock,
        "flags": dict(flags.FLAGS),
    }


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table of several."""
    return pd.concat(list(parts), ignore_index=True)
