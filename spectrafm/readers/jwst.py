"""JWST x1d and c1d: extracted spectra, in vacuum.

Each HDU named EXTRACT1D is a table with a row for each wavelength: WAVELENGTH in micrometre, FLUX
and FLUX_ERROR in Jy, and the data quality DQ, whose bit 0 means that a pixel must not be used.
Source: https://jwst-pipeline.readthedocs.io (x1d).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units as u

from spectrafm.archive.fits import has_hdu, opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.readers.making import from_file
from spectrafm.readers.peek import Peek
from spectrafm.spectra.spectra import Spectra

#: Bit of the data quality: the pixel must not be used.
DO_NOT_USE = 1


def recognises(file: Peek) -> bool:
    """The telescope's name and an extracted spectrum."""
    telescope = str(file.header(0).get("TELESCOP", "")).strip().upper()
    return telescope == "JWST" and "EXTRACT1D" in file.names()


def read(path: Path) -> Spectra:
    """Read every extracted spectrum of the file."""
    found = []
    with opened_fits(path, str(path)) as hdus:
        primary = hdus[0].header
        target = str(primary.get("TARGNAME") or primary.get("TARGPROP") or path.name)
        for number in range(1, 256):
            if not has_hdu(hdus, number):
                break
            if hdus[number].name != "EXTRACT1D":
                continue
            table, header = hdus[number].data, hdus[number].header
            names = set(table.names)
            # A table has a row a pixel; of slitless spectra, a row of arrays a source.
            sources = range(len(table)) if np.ndim(table["WAVELENGTH"]) > 1 else [slice(None)]
            error = next((name for name in ("FLUX_ERROR", "ERROR") if name in names), None)
            # NIRSpec and MIRI/MRS wavelengths are corrected to the barycentre, and say by how much.
            moved = header.get("VELOSYS", primary.get("VELOSYS")) is not None
            bad = (table["DQ"].astype(np.int64) & DO_NOT_USE) != 0 if "DQ" in names else None
            for source in sources:
                found.append(
                    from_file(
                        path,
                        f"JWST x1d ({primary.get('INSTRUME', 'instrument unknown')})",
                        _quantity(table, "WAVELENGTH", u.um)[source],
                        _quantity(table, "FLUX", u.Jy)[source],
                        None if error is None else _quantity(table, error, u.Jy)[source],
                        None if bad is None else bad[source],
                        name=f"{target} {len(found) + 1}" if found else target,
                        medium="vacuum",
                        frame="barycentric" if moved else None,
                    )
                )
    if not found:
        raise SpectraFMError(f"{path}: no EXTRACT1D table")
    return Spectra.of(found)


def _quantity(table, name: str, unit: u.UnitBase) -> u.Quantity:
    stated = table.columns[name].unit
    return np.array(table[name], np.float64) * u.Unit(stated or unit)
