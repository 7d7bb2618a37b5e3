"""Gaia XP sampled mean spectra and RVS mean spectra, as DataLink gives them: CSV, ECSV, VOTable.

XP: 343 values from 336 to 1020 nm, W/m2/nm. RVS: 2401 values from 846 to 870 nm, normalised and at
rest. Both in vacuum. A file has a row for each wavelength (INDIVIDUAL and COMBINED), or a row of
arrays for each star without wavelengths (RAW, and GaiaXPy's output). Source: Gaia DR3
documentation, section 20.12.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from spectrafm.errors import SpectraFMError
from spectrafm.readers.peek import Peek, peek
from spectrafm.readers.tables import columns_of, first_spectrum, read_table, spectra_of
from spectrafm.spectra.spectra import Spectra


class Product(NamedTuple):
    """What is known of a data product beyond its columns."""

    name: str
    wavelength: np.ndarray  # (pixels,) nm
    flux_unit: u.UnitBase
    frame: str
    resolution: float | None
    normalisation: str | None


XP = Product(
    "Gaia XP sampled",
    np.linspace(336.0, 1020.0, 343),
    u.W / u.m**2 / u.nm,
    "barycentric",
    None,
    None,
)
RVS = Product("Gaia RVS", np.linspace(846.0, 870.0, 2401), u.one, "rest", 11500.0, "gaia-rvs")


def recognises(file: Peek) -> bool:
    """The wavelengths, or the number of values a row, are those of XP or of RVS."""
    return (
        file.kind in ("text", "votable")
        and _product(_table(file.path, file.kind, rows=2500)) is not None
    )


def _table(path: Path, kind: str, rows: int | None = None) -> Table:
    table = read_table(path, kind, rows)
    # In DataLink's files of one star, the star stands in the file's name.
    star = re.search(r"Gaia[ _]DR\d[ _](\d+)", path.name)
    if star:
        table.meta.setdefault("source_id", star[1])
    return table


def _product(table: Table) -> Product | None:
    """The product whose grid the first spectrum of a table has."""
    found = columns_of(table)
    if "flux" not in found or not len(table):
        return None
    try:
        first = first_spectrum(table)
    except SpectraFMError:
        return None
    for product in (XP, RVS):
        grid = product.wavelength
        if first.pixels != len(grid):
            continue
        if "wavelength" not in found:
            # RAW files have no wavelengths: a row of so many values has the grid of the product.
            return product if first.is_row else None
        if first.wavelength is not None and np.allclose(first.wavelength, grid, atol=1e-3):
            return product
    return None


def read(path: Path) -> Spectra:
    """Read every spectrum of the file."""
    table = _table(path, peek(path).kind)
    product = _product(table)
    if product is None:
        raise SpectraFMError(
            f"{path}: neither {len(XP.wavelength)} values of Gaia XP nor {len(RVS.wavelength)} of "
            "Gaia RVS for each star"
        )
    if "wavelength" not in columns_of(table):
        table.meta |= {"wavelength": product.wavelength, "wavelength_unit": "nm"}
    spectra = spectra_of(
        table,
        path,
        wavelength_unit=u.nm,
        flux_unit=product.flux_unit,
        medium="vacuum",
        frame=product.frame,
        resolution=product.resolution,
        normalisation=product.normalisation,
    )
    return Spectra.of(
        one.replace(provenance={**one.provenance, "format": product.name}) for one in spectra
    )
