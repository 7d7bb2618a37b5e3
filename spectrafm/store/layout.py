"""How spectra lie in a Zarr v3 store: arrays, dimensions, units, chunks.

A shard of a fetching job (``spectra/NNN.zarr``) and the whole (``store.zarr``) have the same
layout. `write_store` writes both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from spectrafm.files import atomic_path
from spectrafm.labels import LABELS, UNITS, error_column
from spectrafm.manifest import hashes_beside, write_manifest
from spectrafm.store.arrays import CODECS, Variable, consolidate, write_array
from spectrafm.surveys.apogee.grid import N_PIXELS, WAVELENGTH

#: Stars a chunk (what is decoded at once) and stars a shard (what is one file).
CHUNK_STARS = 32
SHARD_STARS = 4096

#: Arrays of shape (star, wavelength): long name of each.
SPECTRA = {
    "observed": "observed flux, pseudo-continuum normalised",
    "observed_error": "one-sigma error of the observed flux",
    "synthetic": "flux of ASPCAP's best-fit model, pseudo-continuum normalised",
}


@dataclass(frozen=True)
class StarArray:
    """An array with one value per star: its type, and what the value is."""

    dtype: type
    long_name: str
    units: str | None = None


STAR_ARRAYS = {
    "apogee_id": StarArray(str, "APOGEE identifier of the star"),
    "split": StarArray(str, "side of the split: train, validation or test"),
    "telescope": StarArray(str, "telescope"),
    "field": StarArray(str, "field of the survey"),
    "path": StarArray(str, "path of the aspcapStar file below the root of the archive"),
    "sha1": StarArray(str, "SHA-1 of the aspcapStar file"),
    "verified": StarArray(np.bool_, "whether the SHA-1 is the one the survey publishes"),
    "snr": StarArray(np.float32, "median signal-to-noise ratio per pixel", "1"),
    "starflag": StarArray(np.int64, "STARFLAG bits"),
    "aspcapflag": StarArray(np.int64, "ASPCAPFLAG bits"),
    "vscatter": StarArray(np.float32, "scatter of the visits' radial velocities", "km s-1"),
    "ra": StarArray(np.float64, "right ascension (J2000)", "degree"),
    "dec": StarArray(np.float64, "declination (J2000)", "degree"),
}

#: What xarray shall show as coordinates, besides the dimensions' own.
COORDINATES = "apogee_id split"

#: Dimension of the five labels. It cannot be called ``label``: xarray allows no two-dimensional
#: variable with the name of one of its dimensions.
LABEL_DIMENSION = "label_name"


@dataclass(frozen=True)
class Stars:
    """Some stars on their way into a store.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a star: the columns of `STAR_ARRAYS`, the five labels and their errors.
    spectra : dict
        The arrays of `SPECTRA`, float32, shape ``(stars, 7514)``, NaN where missing.
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
    path: Path, stars: Iterable[Stars], attributes: dict[str, Any], made_with: Iterable[Path] = ()
) -> None:
    """Write a store, whole or not at all.

    Spectra are written one whole shard at a time as they come, so that memory holds about
    ``SHARD_STARS`` of them and no file is written twice.

    Parameters
    ----------
    path : pathlib.Path
    stars : iterable of Stars
        In the order of the store.
    attributes : dict
        Attributes of the group: title, release, source, mock, provenance.
    made_with : iterable of pathlib.Path
        Files and stores that belong to it; the manifest keeps their hashes.
    """
    tables = []
    with atomic_path(path) as temporary:
        group = zarr.create_group(temporary, zarr_format=3)
        for shard in _whole_shards(stars):
            tables.append(shard.table)
            for name in SPECTRA:
                if name not in group:
                    _create_spectra(group, name, len(shard))
                group[name].append(shard.spectra[name])
        for name in SPECTRA:
            if name not in group:
                _create_spectra(group, name, stars_per_shard=1)
        table = pd.concat(tables) if tables else _no_stars()
        for name, variable in _variables(table).items():
            write_array(group, name, variable)
        group.attrs.put({**attributes, "coordinates": COORDINATES})
        consolidate(group)
        write_manifest(
            temporary,
            stars=len(table),
            verified=int(table["verified"].sum()),
            provenance=attributes.get("provenance"),
            made_with=hashes_beside(path, made_with),
        )


def _whole_shards(stars: Iterable[Stars]) -> Iterator[Stars]:
    """The same stars in blocks of ``SHARD_STARS``, the last one smaller."""
    waiting: list[Stars] = []
    for some in stars:
        waiting.append(some)
        while sum(map(len, waiting)) >= SHARD_STARS:
            together = _joined(waiting)
            yield together[:SHARD_STARS]
            waiting = [together[SHARD_STARS:]]
    if sum(map(len, waiting)):
        yield _joined(waiting)


def _joined(blocks: list[Stars]) -> Stars:
    if len(blocks) == 1:
        return blocks[0]
    return Stars(
        pd.concat([block.table for block in blocks]),
        {name: np.concatenate([block.spectra[name] for block in blocks]) for name in SPECTRA},
    )


def _no_stars() -> pd.DataFrame:
    return pd.DataFrame(columns=[*STAR_ARRAYS, *LABELS, *map(error_column, LABELS)])


def _create_spectra(group: zarr.Group, name: str, stars_per_shard: int) -> None:
    """An array of spectra with no star yet; with few stars a shard is no longer than they need."""
    chunks = -(-min(stars_per_shard, SHARD_STARS) // CHUNK_STARS)
    group.create_array(
        name,
        shape=(0, N_PIXELS),
        chunks=(CHUNK_STARS, N_PIXELS),
        shards=(chunks * CHUNK_STARS, N_PIXELS),
        dtype=np.float32,
        fill_value=np.nan,
        compressors=CODECS,
        dimension_names=("star", "wavelength"),
        attributes={"long_name": SPECTRA[name], "units": "1"},
        config={"write_empty_chunks": True},
    )


def _variables(table: pd.DataFrame) -> dict[str, Variable]:
    """Everything that is small: one value or five labels per star, and the coordinates."""
    variables = {
        name: _per_star(array, table[name].to_numpy()) for name, array in STAR_ARRAYS.items()
    }
    units = ", ".join(f"{label}: {unit}" for label, unit in UNITS.items())
    arrays = {
        "label": (list(LABELS), "calibrated stellar label of allStar"),
        "label_error": ([error_column(label) for label in LABELS], "one-sigma error of the label"),
    }
    for name, (columns, long_name) in arrays.items():
        values = table[columns].to_numpy(dtype=np.float32)
        attributes = {"long_name": long_name, "units": units}
        variables[name] = Variable(("star", LABEL_DIMENSION), values, attributes)
    variables[LABEL_DIMENSION] = Variable(
        (LABEL_DIMENSION,),
        np.array(LABELS, dtype=object),
        {"long_name": "allStar column of the label"},
    )
    variables["wavelength"] = Variable(
        ("wavelength",),
        WAVELENGTH,
        {
            "long_name": "wavelength",
            "units": "Angstrom",
            "medium": "vacuum",
            "frame": "rest",
        },
    )
    return variables


def _per_star(array: StarArray, values: np.ndarray) -> Variable:
    attributes = {"long_name": array.long_name}
    if array.units is not None:
        attributes["units"] = array.units
    dtype = object if array.dtype is str else array.dtype
    return Variable(("star",), values.astype(dtype), attributes)
