"""Layout of a Zarr v3 store of spectra: arrays, dimensions, units, chunks.

A shard of one fetching job (``spectra/NNN.zarr``) and the joined store (``store.zarr``) have the
same layout; `write_store` writes both. The survey defines the wavelength grid, the labels and the
further columns of each star.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import zarr

from spectrafm.files import atomic_path
from spectrafm.integrity import hashes_beside, write_checksums
from spectrafm.labels import Label, error_column
from spectrafm.outputs import ListedFolder
from spectrafm.store.arrays import CODECS, Variable, consolidate, write_array

#: The kind of folder that a store, and a shard of it, is.
STORE = ListedFolder("a store", ("zarr.json", "observed/zarr.json"))

#: Stars per Zarr chunk (decoded at once) and per Zarr shard (one file).
CHUNK_STARS = 32
SHARD_STARS = 4096


class Spectrum(NamedTuple):
    """Type, fill value and attributes of an array of shape (stars, pixels)."""

    dtype: type
    fill: Any
    attributes: dict[str, Any]


#: Arrays of a store with one spectrum per star, as the survey delivers it; the flux range is
#: applied when stars are loaded.
SPECTRA = {
    "observed": Spectrum(
        np.float32, np.nan, {"long_name": "observed flux, continuum normalised", "units": "1"}
    ),
    "observed_error": Spectrum(
        np.float32, np.nan, {"long_name": "one-sigma error of the observed flux", "units": "1"}
    ),
    "mask": Spectrum(
        np.bool_,
        True,
        {
            "long_name": "whether the pixel of the observed spectrum is bad",
            "comment": "bad: flux or error is not finite, or the error is not positive or huge",
        },
    ),
    "synthetic": Spectrum(
        np.float32, np.nan, {"long_name": "flux of the best-fit model", "units": "1"}
    ),
}

#: Name of the dimension of labels. It cannot be ``label``, since xarray forbids a two-dimensional
#: variable with the name of one of its dimensions.
LABEL_DIMENSION = "label_name"

#: Attribute of a shard, with its number; the joined store has none.
SHARD = "shard"

#: Variables that xarray must show as coordinates, besides those of the dimensions.
COORDINATES = "apogee_id split unit symbol"


@dataclass(frozen=True)
class Column:
    """One array of the store with a survey's data on each star, besides spectra and labels.

    Attributes
    ----------
    name : str
        Name of the array.
    dtype : type
        Type of the values; ``str`` for text.
    long_name : str
        Description of the array.
    units : str, optional
        Unit in a form that `astropy.units.Unit` parses.
    flags : mapping of str to int, optional
        Name and bit of each flag, if the values are bit masks; written as the attributes
        ``flag_masks`` and ``flag_meanings`` of the CF conventions.
    dimension : str
        Name of a second dimension; empty for one value per star.
    entries : sequence of str
        Coordinates along the second dimension.
    columns : sequence of str
        Columns of `Stars.table` that hold the values, one for each entry; default: the column
        with the name of the array.
    """

    name: str
    dtype: type
    long_name: str
    units: str | None = None
    flags: Mapping[str, int] | None = None
    dimension: str = ""
    entries: Sequence[str] = ()
    columns: Sequence[str] = ()

    def variable(self, table: pd.DataFrame) -> Variable:
        """Build the array and its attributes from a table of stars."""
        attributes: dict[str, Any] = {"long_name": self.long_name}
        if self.units is not None:
            attributes["units"] = self.units
        if self.flags:
            attributes["flag_masks"] = [1 << bit for bit in self.flags.values()]
            attributes["flag_meanings"] = " ".join(self.flags)
        if not self.dimension:
            values = table[self.columns[0] if self.columns else self.name].to_numpy()
            return Variable(("star",), _typed(values, self.dtype), attributes)
        values = table[list(self.columns)].to_numpy()
        return Variable(("star", self.dimension), _typed(values, self.dtype), attributes)


#: Columns that every store has, whatever the survey.
_IDENTITY = (
    Column("apogee_id", str, "identifier of the star"),
    Column("split", str, "side of the split: train, validation or test"),
)


def _typed(values: np.ndarray, dtype: type) -> np.ndarray:
    """Convert values to the type in the store; text gets the width of its longest entry."""
    if dtype is not str:
        return values.astype(dtype)
    return values.astype(str) if values.size else np.empty(values.shape, "U1")


@dataclass(frozen=True)
class Stars:
    """A block of stars to be written into a store.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per star: apogee_id, split, the survey's columns, the labels and their errors
        (``NAME``, ``NAME_ERR``).
    spectra : dict of str to numpy.ndarray
        The arrays of `SPECTRA` by name, shape (stars, pixels); ``synthetic`` may be absent.
    """

    table: pd.DataFrame
    spectra: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice) -> Stars:
        return Stars(
            self.table.iloc[rows], {name: flux[rows] for name, flux in self.spectra.items()}
        )


def write_store(
    path: Path,
    stars: Iterable[Stars],
    attributes: dict[str, Any],
    *,
    wavelength: np.ndarray,
    labels: Sequence[Label],
    columns: Sequence[Column] = (),
    synthetic: bool = True,
    made_with: Iterable[Path] = (),
) -> None:
    """Write a store atomically.

    Spectra are written one whole Zarr shard at a time as they arrive, so that memory holds about
    ``SHARD_STARS`` of them and no file is written twice.

    Parameters
    ----------
    path : pathlib.Path
        Zarr group to write.
    stars : iterable of Stars
        Blocks of stars, in the order of the store.
    attributes : dict
        Attributes of the group: title, survey, release, source, mock, created, provenance ...
    wavelength : numpy.ndarray
        Shape (pixels,): Angstrom, vacuum, rest frame.
    labels : sequence of Label
    columns : sequence of Column
        The survey's further columns of each star.
    synthetic : bool
        Whether each star has a synthetic spectrum too.
    made_with : iterable of pathlib.Path
        Input files and stores; the attribute ``made_with`` records their hashes.
    """
    tables = []
    names = [name for name in SPECTRA if synthetic or name != "synthetic"]
    with atomic_path(path, STORE) as temporary:
        group = zarr.create_group(temporary, zarr_format=3)
        for shard in _whole_shards(stars, names):
            tables.append(shard.table)
            for name in names:
                if name not in group:
                    _create_spectra(group, name, len(wavelength), len(shard))
                group[name].append(shard.spectra[name])
        for name in names:
            if name not in group:
                _create_spectra(group, name, len(wavelength), stars_per_shard=1)
        every = (*_IDENTITY, *columns)
        table = pd.concat(tables) if tables else _no_stars(every, labels)
        for name, variable in _variables(table, every, labels, wavelength).items():
            write_array(group, name, variable)
        described = {
            "Conventions": "CF-1.11",
            **attributes,
            "coordinates": COORDINATES,
            "label_units": {label.name: label.unit for label in labels},
            "wavelength_range": [float(wavelength[0]), float(wavelength[-1])],
            "stars": len(table),
            "made_with": hashes_beside(path, made_with),
        }
        if "verified" in table:
            described["verified"] = int(table["verified"].sum())
        group.attrs.put(described)
        consolidate(group)
        write_checksums(temporary)


def _whole_shards(stars: Iterable[Stars], names: Sequence[str]) -> Iterator[Stars]:
    """Regroup stars into blocks of ``SHARD_STARS``; the last block may be smaller."""
    waiting: list[Stars] = []
    for some in stars:
        waiting.append(some)
        while sum(map(len, waiting)) >= SHARD_STARS:
            together = _joined(waiting, names)
            yield together[:SHARD_STARS]
            waiting = [together[SHARD_STARS:]]
    if sum(map(len, waiting)):
        yield _joined(waiting, names)


def _joined(blocks: list[Stars], names: Sequence[str]) -> Stars:
    if len(blocks) == 1:
        return blocks[0]
    return Stars(
        pd.concat([block.table for block in blocks]),
        {name: np.concatenate([block.spectra[name] for block in blocks]) for name in names},
    )


def _no_stars(columns: Sequence[Column], labels: Sequence[Label]) -> pd.DataFrame:
    names = [label.name for label in labels]
    own = [name for column in columns for name in column.columns or (column.name,)]
    return pd.DataFrame(columns=[*own, *names, *map(error_column, names)])


def _create_spectra(group: zarr.Group, name: str, pixels: int, stars_per_shard: int) -> None:
    """Create an empty array of spectra; its Zarr shards hold at most ``stars_per_shard`` stars.

    The limit is rounded up to whole chunks, so that a store of few stars has a small shard.
    """
    chunks = -(-min(stars_per_shard, SHARD_STARS) // CHUNK_STARS)
    group.create_array(
        name,
        shape=(0, pixels),
        chunks=(CHUNK_STARS, pixels),
        shards=(chunks * CHUNK_STARS, pixels),
        dtype=SPECTRA[name].dtype,
        fill_value=SPECTRA[name].fill,
        compressors=CODECS,
        dimension_names=("star", "wavelength"),
        attributes=SPECTRA[name].attributes,
        config={"write_empty_chunks": True},
    )


def _variables(
    table: pd.DataFrame,
    columns: Sequence[Column],
    labels: Sequence[Label],
    wavelength: np.ndarray,
) -> dict[str, Variable]:
    """The small arrays of a store: columns of each star, labels, coordinates."""
    variables = {column.name: column.variable(table) for column in columns}
    for column in columns:
        if column.dimension and column.dimension != LABEL_DIMENSION:
            variables[column.dimension] = _text((column.dimension,), column.entries, "entry")
    names = [label.name for label in labels]
    for name, of_table, long_name in (
        ("label", names, "calibrated stellar label; its unit is the coordinate `unit`"),
        ("label_error", [*map(error_column, names)], "one-sigma error of the label"),
    ):
        values = table[of_table].to_numpy(dtype=np.float32)
        variables[name] = Variable(("star", LABEL_DIMENSION), values, {"long_name": long_name})
    dimension = (LABEL_DIMENSION,)
    variables[LABEL_DIMENSION] = _text(dimension, names, "catalogue column of the label")
    variables["unit"] = _text(dimension, [label.unit for label in labels], "unit of the label")
    variables["symbol"] = _text(
        dimension, [label.symbol for label in labels], "the label in figures (matplotlib mathtext)"
    )
    variables["wavelength"] = Variable(
        ("wavelength",),
        np.asarray(wavelength, dtype=np.float64),
        {"long_name": "wavelength", "units": "Angstrom", "medium": "vacuum", "frame": "rest"},
    )
    return variables


def _text(dimensions: tuple[str, ...], values: Sequence[str], long_name: str) -> Variable:
    return Variable(dimensions, np.array(list(values), dtype=str), {"long_name": long_name})
