"""Attention maps: writing and reading ``attention/<stage>.zarr``.

An `xarray.Dataset` with ``attention`` (population, request, wavelength) relative to uniform
attention, NaN where no star has a good pixel; ``gradient``, the size of the label's gradient with
respect to the flux, relative to its mean over pixels; ``own`` (request, wavelength), whether a
pixel is of those whose flux changes most with the label; ``count`` and ``spectrum`` (population,
wavelength), the number of stars with a good pixel and the mean normalised flux; ``n_stars``
(population); ``symbol`` (request), the label in matplotlib's mathtext.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from zarr.codecs import BloscCodec, Crc32cCodec

from spectrafm import integrity
from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path
from spectrafm.labels import DWARF_ABOVE, GIANT_BELOW, SYMBOLS, Label
from spectrafm.outputs import ListedFolder
from spectrafm.reading import reading
from spectrafm.store.schema import check_schema

#: The kind of folder that attention maps are.
MAPS = ListedFolder("attention maps", ("zarr.json", "attention/zarr.json"))

#: Bytes shuffled and compressed, each chunk with a checksum that is verified as it is read.
CODECS = (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec())


#: Dimensions and type of each array.
_ARRAYS = {
    "attention": (("population", "request", "wavelength"), "float32"),
    "gradient": (("population", "request", "wavelength"), "float32"),
    "own": (("request", "wavelength"), "uint8"),
    "count": (("population", "wavelength"), "int32"),
    "spectrum": (("population", "wavelength"), "float32"),
    "n_stars": (("population",), "int32"),
    "population": (("population",), "string"),
    "request": (("request",), "string"),
    "symbol": (("request",), "string"),
    "wavelength": (("wavelength",), "float64"),
}

#: Arrays that maps of older versions lack.
_OLD_LACK = ("symbol", "gradient", "own")


def dataset_of(
    attention: np.ndarray,
    gradient: np.ndarray,
    own: np.ndarray,
    count: np.ndarray,
    spectrum: np.ndarray,
    n_stars: Mapping[str, int],
    labels: Sequence[Label],
    wavelength: np.ndarray,
    attributes: dict[str, Any],
) -> xarray.Dataset:
    """Make the dataset of attention maps.

    Parameters
    ----------
    attention, gradient : numpy.ndarray, shape (populations, labels, P)
    own : numpy.ndarray of bool, shape (labels, P)
    count, spectrum : numpy.ndarray, shape (populations, P)
    n_stars : dict
        Number of stars by name of the population.
    labels : sequence of Label
    wavelength : numpy.ndarray, shape (P,), Angstrom
    attributes : dict
        Attributes of the dataset.
    """
    by_pixel = ("population", "wavelength")
    by_label = ("population", "request", "wavelength")
    return xarray.Dataset(
        {
            "attention": (
                by_label,
                attention.astype(np.float32),
                {"units": "1", "long_name": "attention relative to uniform attention"},
            ),
            "gradient": (
                by_label,
                gradient.astype(np.float32),
                {"units": "1", "long_name": "|d label / d flux| relative to its mean over pixels"},
            ),
            "own": (
                ("request", "wavelength"),
                # Versions of xarray write truth values in different ways, and integers in one.
                own.astype(np.uint8),
                {"long_name": "1 where the flux of the pixel changes much with the label, else 0"},
            ),
            "count": (
                by_pixel,
                count.astype(np.int32),
                {"units": "1", "long_name": "stars with a good pixel"},
            ),
            "spectrum": (
                by_pixel,
                spectrum.astype(np.float32),
                {"units": "1", "long_name": "mean normalised flux"},
            ),
            "n_stars": (
                ("population",),
                np.array(list(n_stars.values()), dtype=np.int32),
                {"units": "1", "long_name": "number of stars"},
            ),
        },
        {
            "population": (
                ("population",),
                _text(n_stars),
                {"long_name": f"giants: log g < {GIANT_BELOW}; dwarfs: log g > {DWARF_ABOVE}"},
            ),
            "request": (
                ("request",),
                _text(label.name for label in labels),
                {"long_name": "label that is requested"},
            ),
            "symbol": (("request",), _text(label.symbol for label in labels)),
            "wavelength": (
                ("wavelength",),
                wavelength,
                {"units": "Angstrom", "medium": "vacuum", "frame": "rest"},
            ),
        },
        attributes,
    )


def _text(values) -> np.ndarray:
    return np.array(list(values), dtype=object)


def write_maps(path: Path, maps: xarray.Dataset) -> None:
    """Write attention maps as a Zarr v3 group with its ``SHA256SUMS``, atomically."""
    encoding = {
        str(name): {"chunks": variable.shape, "compressors": CODECS}
        for name, variable in maps.variables.items()
    }
    with atomic_path(path, MAPS) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        # A chunk of zeros alone is written too: a missing one is damage.
        maps.to_zarr(
            temporary,
            encoding=encoding,
            zarr_format=3,
            consolidated=True,
            write_empty_chunks=True,
        )
        integrity.write_checksums(temporary)


def read_maps(path: Path) -> xarray.Dataset:
    """Read attention maps into memory.

    Raises
    ------
    SpectraFMError
        When the folder or a part of it is missing or damaged, or the folder holds something else,
        such as a store.
    """
    path = Path(path)
    if not path.exists():
        raise SpectraFMError(f"{path}: no such attention maps")
    arrays = check_schema(path, integrity.check_presence(path))
    for name, (dimensions, dtype) in _ARRAYS.items():
        if name not in arrays and name not in _OLD_LACK:
            raise SpectraFMError(f"{path}: not attention maps of map-attention: it has no {name!r}")
        if name in arrays and (arrays[name].dimensions, arrays[name].dtype) != (dimensions, dtype):
            raise SpectraFMError(f"{path}: array {name!r} is not of {dtype} along {dimensions}")
    with reading(path, "attention maps"):
        with xarray.open_zarr(path, chunks=None, consolidated=True, zarr_format=3) as opened:
            maps = opened.load()
        if not isinstance(maps.attrs.get("mock"), bool):
            raise SpectraFMError(f"{path}: its attribute 'mock' is neither true nor false")
    if "symbol" not in maps:
        symbols = [SYMBOLS.get(str(name), str(name)) for name in maps["request"].values]
        maps = maps.assign_coords(symbol=("request", _text(symbols)))
    return maps
