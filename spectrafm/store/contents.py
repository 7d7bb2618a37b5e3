"""What a store's arrays must hold, whoever wrote it: sizes that agree, labels, stars, wavelengths.

`spectrafm.store.schema` has checked the metadata before; here the small arrays are read. Spectra
are checked as they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
from pydantic import Field, TypeAdapter

from spectrafm.errors import SpectraFMError
from spectrafm.labels import Label, LabelName, LabelUnit
from spectrafm.reading import printable, reading
from spectrafm.spectra import Split
from spectrafm.store.layout import LABEL_DIMENSION
from spectrafm.store.schema import ArrayFacts

_TEXT = ("fixed_length_utf32", "string")
_SPECTRA = ("star", "wavelength")
_LABELS = ("star", LABEL_DIMENSION)

#: Dimensions and types of the arrays that every store has.
NEEDED = {
    "observed": (_SPECTRA, ("float32",)),
    "apogee_id": (("star",), _TEXT),
    "split": (("star",), _TEXT),
    "label": (_LABELS, ("float32",)),
    "label_error": (_LABELS, ("float32",)),
    LABEL_DIMENSION: ((LABEL_DIMENSION,), _TEXT),
    "wavelength": (("wavelength",), ("float64",)),
}

#: Those of arrays that a store may have besides, and the survey's own columns.
FURTHER = {
    "observed_error": (_SPECTRA, ("float32",)),
    "mask": (_SPECTRA, ("bool",)),
    "synthetic": (_SPECTRA, ("float32",)),
    "unit": ((LABEL_DIMENSION,), _TEXT),
    "symbol": ((LABEL_DIMENSION,), _TEXT),
}

#: Largest number of labels, as in a model.
MOST_LABELS = 1000

_Short = Field(max_length=64)
_LABEL = TypeAdapter(
    tuple[Annotated[LabelName, _Short], Annotated[LabelUnit, _Short], Annotated[str, _Short]]
)


def check_sizes(path: Path, arrays: Mapping[str, ArrayFacts]) -> None:
    """Check names, types and dimensions of a store's arrays, and that their lengths agree.

    Raises
    ------
    SpectraFMError
        Names the store and the array.
    """
    for name in NEEDED:
        if name not in arrays:
            raise SpectraFMError(f"{path}: no array {name!r}")
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in arrays.items():
        dimensions, types = {**NEEDED, **FURTHER}.get(name, (array.dimensions, (array.dtype,)))
        if array.dtype not in types or array.dimensions != dimensions or not dimensions:
            raise SpectraFMError(
                f"{path}: array {printable(name)!r} has type {array.dtype} and dimensions "
                f"{printable(str(array.dimensions))}, not {types[0]} and {dimensions}"
            )
        for dimension, size in zip(dimensions, array.shape, strict=True):
            known, of = sizes.setdefault(dimension, (size, name))
            if known != size:
                raise SpectraFMError(
                    f"{path}: array {printable(name)!r} has {size:,} along "
                    f"{printable(dimension)!r}, but {printable(of)!r} has {known:,}"
                )
    if not sizes["wavelength"][0]:
        raise SpectraFMError(f"{path}: no wavelengths")


def check_contents(
    path: Path,
    attributes: Mapping[str, Any],
    read: Callable[[str], np.ndarray],
    labels: Sequence[Label],
) -> None:
    """Check the small arrays of a store, whose sizes agree.

    Parameters
    ----------
    path : pathlib.Path
    attributes : mapping
        Attributes of the group.
    read : callable
        Reads an array by its name.
    labels : sequence of Label

    Raises
    ------
    SpectraFMError
        Names the store and the star, label or wavelength.
    """
    if not isinstance(attributes.get("mock", False), bool):
        raise SpectraFMError(f"{path}: its attribute 'mock' is neither true nor false")
    _check_wavelengths(path, attributes, read("wavelength"))
    _check_labels(path, attributes, labels)
    stars, split = read("apogee_id"), read("split")
    if (wrong := ~np.isin(split, get_args(Split))).any():
        raise SpectraFMError(
            f"{path}: star {printable(str(stars[wrong][0]))!r} is on no side of the split, but "
            f"{printable(str(split[wrong][0]))!r}"
        )
    names, counts = np.unique(stars, return_counts=True)
    if (counts > 1).any():
        twice = printable(str(names[counts > 1][0]))
        raise SpectraFMError(f"{path}: star {twice!r} is in it {counts.max()} times")
    if names.size and not str(names[0]).strip():
        raise SpectraFMError(f"{path}: a star has no identifier")
    if attributes.get("stars", len(stars)) != len(stars):
        raise SpectraFMError(
            f"{path}: has {len(stars):,} stars, but its attributes name another number"
        )
    errors = read("label_error")
    if (negative := (errors < 0)).any():
        star, label = np.argwhere(negative)[0]
        raise SpectraFMError(
            f"{path}: {labels[label].name} of star {printable(str(stars[star]))} has the error "
            f"{errors[star, label]:g}, which is negative: build the store again"
        )


def _check_wavelengths(path: Path, attributes: Mapping[str, Any], wavelength: np.ndarray) -> None:
    rising = np.isfinite(wavelength).all() and wavelength[0] > 0 and (np.diff(wavelength) > 0).all()
    if not rising:
        raise SpectraFMError(f"{path}: its wavelengths are not positive and strictly increasing")
    recorded = attributes.get("wavelength_range")
    if recorded is not None and recorded != [wavelength[0], wavelength[-1]]:
        raise SpectraFMError(
            f"{path}: its wavelengths are {wavelength[0]:.1f} to {wavelength[-1]:.1f} Angstrom, "
            f"but its attributes say {printable(str(recorded))}"
        )


def _check_labels(path: Path, attributes: Mapping[str, Any], labels: Sequence[Label]) -> None:
    if not 0 < len(labels) <= MOST_LABELS:
        raise SpectraFMError(f"{path}: has {len(labels)} labels")
    for label in labels:
        with reading(path, f"label {printable(label.name)!r}"):
            _LABEL.validate_python(tuple(label))
    units = {label.name: label.unit for label in labels}
    if len(units) < len(labels):
        raise SpectraFMError(f"{path}: a label is named twice")
    recorded = attributes.get("label_units", units)
    if not isinstance(recorded, dict) or list(recorded.items()) != list(units.items()):
        raise SpectraFMError(f"{path}: its attributes name other labels or units than its arrays")
