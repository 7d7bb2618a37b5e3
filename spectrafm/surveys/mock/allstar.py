"""The allStar catalogue of the mock survey: DR17's column names, types and fill values.

The mock has about half of DR17's 234 columns: those for identity, observation, parameters and
abundances. Values that the mock survey does not simulate (such as other elements) are NaN or zero.
"""

from __future__ import annotations

import numpy as np

from spectrafm.surveys.apogee.bitmasks import mask_of
from spectrafm.surveys.mock.aspcap import ELEMENTS, Fit, Labels
from spectrafm.surveys.mock.observing import Rows
from spectrafm.surveys.mock.population import Stars

#: Order of the element arrays (X_H, X_M, ELEMFLAG) in DR17.
ELEMENT_ORDER = (
    "C", "CI", "N", "O", "Na", "Mg", "Al", "Si", "P", "S", "K", "Ca", "Ti", "TiII", "V", "Cr",
    "Mn", "Fe", "Co", "Ni", "Cu", "Ge", "Rb", "Ce", "Nd", "Yb", "C13",
)  # fmt: skip

#: Elements whose FELEM is relative to the metals; FELEM of the others is relative to hydrogen.
OVER_METALS = ("C", "CI", "N", "O", "Mg", "Si", "S", "Ca", "Ti", "TiII")

#: Order of PARAM and FPARAM in DR17.
PARAMETER_ORDER = (
    "TEFF", "LOGG", "LOGVMICRO", "M_H", "C_M", "N_M", "ALPHA_M", "LGVSINI", "O",
)  # fmt: skip

#: Elements with named X_FE columns in DR17, besides FE_H.
NAMED_ELEMENTS = (
    "C", "CI", "N", "O", "NA", "MG", "AL", "SI", "P", "S", "K", "CA", "TI", "TIII", "V", "CR",
    "MN", "CO", "NI", "CU", "CE", "YB",
)  # fmt: skip

_SPECIAL_FLOATS = ("SNR", "SNREV", "VHELIO_AVG", "VSCATTER", "VERR", "FRAC_BADPIX", "FRAC_LOWSNR")
_SPECIAL_FLOATS += ("FRAC_SIGSKY", "MIN_H", "MAX_H", "ASPCAP_CHI2", "VMICRO", "VMACRO", "VSINI")

# X_FE flag (GRIDEDGE_BAD) of an abundance that is missing because of a grid edge.
_ELEMENT_GRIDEDGE_BAD = 1


def _columns() -> list[tuple]:
    """Name, type and shape of every column; types are big-endian, as in FITS."""
    columns = [
        ("FILE", "S64"), ("APOGEE_ID", "S30"), ("TARGET_ID", "S58"), ("APSTAR_ID", "S71"),
        ("ASPCAP_ID", "S77"), ("TELESCOPE", "S6"), ("LOCATION_ID", ">i4"), ("FIELD", "S20"),
        ("RA", ">f8"), ("DEC", ">f8"), ("GLON", ">f8"), ("GLAT", ">f8"),
    ]  # fmt: skip
    for band in "JHK":
        columns += [(band, ">f4"), (f"{band}_ERR", ">f4")]
    columns += [("NVISITS", ">i4"), ("STARFLAG", ">i8"), ("ANDFLAG", ">i8")]
    columns += [("ASPCAPFLAG", ">i8"), ("EXTRATARG", ">i4"), ("MEANFIB", ">f4")]
    columns += [(name, ">f4") for name in _SPECIAL_FLOATS]
    for name in ("TEFF", "LOGG"):
        columns += [(name, ">f4"), (f"{name}_ERR", ">f4"), (f"{name}_SPEC", ">f4")]
    for name in ("M_H", "ALPHA_M"):
        columns += [(name, ">f4"), (f"{name}_ERR", ">f4")]
    for name in ("FPARAM", "PARAM"):
        columns += [(name, ">f4", (9,)), (f"{name}_COV", ">f4", (81,))]
    columns += [("PARAMFLAG", ">i8", (9,))]
    for name in ("X_H", "X_M"):
        columns += [(f"{name}{suffix}", ">f4", (27,)) for suffix in ("", "_ERR", "_SPEC")]
    columns += [("FELEM", ">f4", (27,)), ("ELEMFLAG", ">i8", (27,))]
    for name in ("FE_H", *(f"{element}_FE" for element in NAMED_ELEMENTS)):
        columns += [(f"{name}{suffix}", ">f4") for suffix in ("", "_SPEC", "_ERR")]
        columns += [(f"{name}_FLAG", ">i4")]
    columns += [("VISIT_PK", ">i4", (100,))]
    return columns


COLUMNS = np.dtype(_columns())


def make_allstar(
    stars: Stars, rows: Rows, best: Fit, labels: Labels, release: str, aspcap: str
) -> np.ndarray:
    """Build the catalogue.

    Parameters
    ----------
    stars : Stars
        The star of each row (not of each star).
    rows : Rows
    best : Fit
        Fitted parameters of each row.
    labels : Labels
    release, aspcap : str
        Names of the release and of the ASPCAP reduction.

    Returns
    -------
    numpy.ndarray
        Structured array, shape (rows,).
    """
    table = np.zeros(len(rows), COLUMNS)
    for name in COLUMNS.names:
        if table[name].dtype.kind == "f":
            table[name] = np.nan
    _fill_identity(table, rows, aspcap, release)
    _fill_observation(table, stars, rows)
    _fill_parameters(table, best, labels)
    _fill_abundances(table, best, labels)
    _blank_bad(table)
    return table


def _fill_identity(table: np.ndarray, rows: Rows, aspcap: str, release: str) -> None:
    table["APOGEE_ID"] = rows.apogee_id
    table["TELESCOPE"] = rows.telescope
    table["FIELD"] = rows.field
    table["LOCATION_ID"] = rows.location
    for row, apogee_id, telescope, field in zip(
        table, rows.apogee_id, rows.telescope, rows.field, strict=True
    ):
        prefix = "as" if telescope == "lco25m" else "ap"
        row["FILE"] = f"{prefix}Star-{release}-{apogee_id}.fits"
        row["TARGET_ID"] = f"{telescope}.{field}.{apogee_id}"
        row["APSTAR_ID"] = f"apogee.{telescope}.stars.{field}.{apogee_id}"
        row["ASPCAP_ID"] = f"apogee.{telescope}.{aspcap}.{field}.{apogee_id}"
    for name in ("RA", "DEC", "GLON", "GLAT"):
        table[name] = getattr(rows, name.lower())
    # Bit 4 marks a row that is not the best of its star.
    table["EXTRATARG"] = np.where(rows.duplicate, 1 << 4, 0)
    table["VISIT_PK"] = -(2**31)  # DR17's fill value 2^31 overflows the column's type


def _fill_observation(table: np.ndarray, stars: Stars, rows: Rows) -> None:
    table["SNR"] = rows.snr
    table["SNREV"] = 0.97 * rows.snr
    table["NVISITS"] = rows.visits
    table["MEANFIB"] = rows.fibre
    table["VHELIO_AVG"] = stars.velocity
    table["VSCATTER"] = rows.velocity_scatter
    table["VERR"] = 10 / rows.snr
    table["STARFLAG"] = table["ANDFLAG"] = rows.starflag
    table["ASPCAPFLAG"] = rows.aspcapflag
    for name, value in (("FRAC_BADPIX", 0.002), ("FRAC_LOWSNR", 0.0), ("FRAC_SIGSKY", 0.0)):
        table[name] = value
    # The magnitude follows from photon noise and exposure time, the colours are without dust.
    table["H"] = 12.2 - 2.5 * np.log10((rows.snr / 100) ** 2 * 3 / rows.visits)
    colour = np.interp(stars.teff, (3300, 4000, 5000, 6000, 7000), (1.05, 0.90, 0.58, 0.36, 0.2))
    table["K"] = table["H"] - 0.15 * colour
    table["J"] = table["K"] + colour
    for band in "JHK":
        table[f"{band}_ERR"] = 0.023


def _fill_parameters(table: np.ndarray, best: Fit, labels: Labels) -> None:
    for name in ("TEFF", "LOGG"):
        table[name] = labels.value[name]
        table[f"{name}_ERR"] = labels.error[name]
    table["TEFF_SPEC"] = best.teff
    table["LOGG_SPEC"] = best.logg
    table["M_H"], table["M_H_ERR"] = best.m_h, labels.error["FE"]
    table["ALPHA_M"], table["ALPHA_M_ERR"] = best.alpha, labels.error["Mg"]
    table["VMICRO"] = best.vmicro
    table["VMACRO"] = np.where(best.logg < 3.8, best.broadening, 0)
    table["VSINI"] = np.where(best.logg < 3.8, np.nan, best.broadening)
    vector = np.stack(
        [
            best.teff,
            best.logg,
            np.log10(best.vmicro),
            best.m_h,
            best.carbon,
            best.nitrogen,
            best.alpha,
            np.log10(best.broadening),
            np.zeros_like(best.teff),
        ],
        axis=1,
    )
    table["FPARAM"] = vector
    table["PARAM"] = vector
    table["PARAM"][:, :2] = np.stack([labels.value["TEFF"], labels.value["LOGG"]], axis=1)
    diagonal = np.zeros_like(vector)
    for position, name in ((0, "TEFF"), (1, "LOGG"), (3, "FE"), (6, "Mg")):
        diagonal[:, position] = labels.error[name] ** 2
    covariance = (diagonal[:, :, None] * np.eye(9)).reshape(-1, 81)
    table["FPARAM_COV"] = table["PARAM_COV"] = covariance


def _fill_abundances(table: np.ndarray, best: Fit, labels: Labels) -> None:
    present = ~labels.missing
    fe_h = np.where(present, labels.value["FE"], np.nan)
    table["FE_H"], table["FE_H_ERR"] = fe_h, np.where(present, labels.error["FE"], np.nan)
    table["FE_H_SPEC"] = best.m_h
    for symbol in ("Fe", *ELEMENTS):
        column = ELEMENT_ORDER.index(symbol)
        name = symbol.upper()
        over_iron = 0.0 if symbol == "Fe" else labels.value[symbol]
        error = labels.error["FE" if symbol == "Fe" else symbol]
        table["X_H_SPEC"][:, column] = labels.value["FE"] + over_iron
        table["X_M_SPEC"][:, column] = over_iron
        felem = "X_M_SPEC" if symbol in OVER_METALS else "X_H_SPEC"
        table["FELEM"][:, column] = table[felem][:, column]
        table["X_H"][:, column] = fe_h + over_iron
        table["X_M"][:, column] = fe_h - best.m_h + over_iron
        for array in ("X_H_ERR", "X_M_ERR"):
            table[array][:, column] = np.where(present, error, np.nan)
        table["ELEMFLAG"][:, column] = np.where(present, 0, _ELEMENT_GRIDEDGE_BAD)
        if symbol != "Fe":
            table[f"{name}_FE"] = np.where(present, over_iron, np.nan)
            table[f"{name}_FE_SPEC"] = over_iron
            table[f"{name}_FE_ERR"] = np.where(present, error, np.nan)
            table[f"{name}_FE_FLAG"] = np.where(present, 0, _ELEMENT_GRIDEDGE_BAD)
    table["FE_H_FLAG"] = np.where(present, 0, _ELEMENT_GRIDEDGE_BAD)


def _blank_bad(table: np.ndarray) -> None:
    """Blank the named labels of rows with a bad flag, as in DR17, and all results without a fit."""
    bad = (table["ASPCAPFLAG"] & mask_of("ASPCAPFLAG", ["STAR_BAD"])) != 0
    named = ["TEFF", "LOGG", "M_H", "ALPHA_M", "FE_H", *(f"{e}_FE" for e in NAMED_ELEMENTS)]
    for name in named:
        table[name][bad] = np.nan
        table[f"{name}_ERR"][bad] = np.nan
    no_result = (table["ASPCAPFLAG"] & mask_of("ASPCAPFLAG", ["NO_ASPCAP_RESULT"])) != 0
    fitted = [name for name in COLUMNS.names if name.endswith("_SPEC")]
    fitted += [
        "FELEM",
        "FPARAM",
        "FPARAM_COV",
        "PARAM",
        "PARAM_COV",
        "X_H",
        "X_M",
        "X_H_ERR",
        "X_M_ERR",
    ]
    for name in fitted:
        table[name][no_result] = np.nan
