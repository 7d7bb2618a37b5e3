"""Fabricating an allStar catalogue with all columns of DR17: 234 columns, 5,410 bytes per row.

Names, types and order are those of the SDSS data model (sdss/datamodel, allStar, DR17).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from making.sas_tree import COLUMNS as NEEDED

ROWS = 733_901

#: Columns in order, as name:type with numpy's types; f4 if none is given. ``{ELEMENTS}`` stands for
#: four columns of each element.
_SCHEMA = """
FILE:S64 APOGEE_ID:S30 TARGET_ID:S58 APSTAR_ID:S71 ASPCAP_ID:S77 TELESCOPE:S6 LOCATION_ID:i4
FIELD:S20 ALT_ID:S30 RA:f8 DEC:f8 GLON:f8 GLAT:f8 J J_ERR H H_ERR K K_ERR SRC_H:S16 WASH_M
WASH_M_ERR WASH_T2 WASH_T2_ERR DDO51 DDO51_ERR IRAC_3_6 IRAC_3_6_ERR IRAC_4_5 IRAC_4_5_ERR IRAC_5_8
IRAC_5_8_ERR IRAC_8_0 IRAC_8_0_ERR WISE_4_5 WISE_4_5_ERR TARG_4_5 TARG_4_5_ERR
WASH_DDO51_GIANT_FLAG:i4 WASH_DDO51_STAR_FLAG:i4 TARG_PMRA TARG_PMDEC TARG_PM_SRC:S16 AK_TARG
AK_TARG_METHOD:S32 AK_WISE SFD_EBV APOGEE_TARGET1:i4 APOGEE_TARGET2:i4 APOGEE2_TARGET1:i4
APOGEE2_TARGET2:i4 APOGEE2_TARGET3:i4 APOGEE2_TARGET4:i4 TARGFLAGS:S132 SURVEY:S32 PROGRAMNAME:S32
NVISITS:i4 SNR SNREV STARFLAG:i8 STARFLAGS:S132 ANDFLAG:i8 ANDFLAGS:S132 VHELIO_AVG VSCATTER VERR
RV_TEFF RV_LOGG RV_FEH RV_ALPHA RV_CARB RV_CHI2 RV_CCFWHM RV_AUTOFWHM RV_FLAG:i4 N_COMPONENTS:i4
MEANFIB SIGFIB MIN_H MAX_H MIN_JK MAX_JK GAIAEDR3_SOURCE_ID:i8 GAIAEDR3_PARALLAX
GAIAEDR3_PARALLAX_ERROR GAIAEDR3_PMRA GAIAEDR3_PMRA_ERROR GAIAEDR3_PMDEC GAIAEDR3_PMDEC_ERROR
GAIAEDR3_PHOT_G_MEAN_MAG GAIAEDR3_PHOT_BP_MEAN_MAG GAIAEDR3_PHOT_RP_MEAN_MAG
GAIAEDR3_DR2_RADIAL_VELOCITY GAIAEDR3_DR2_RADIAL_VELOCITY_ERROR GAIAEDR3_R_MED_GEO
GAIAEDR3_R_LO_GEO GAIAEDR3_R_HI_GEO GAIAEDR3_R_MED_PHOTOGEO GAIAEDR3_R_LO_PHOTOGEO
GAIAEDR3_R_HI_PHOTOGEO ASPCAP_GRID:S8 FPARAM_GRID:189f4 CHI2_GRID:21f4 FPARAM:9f4 FPARAM_COV:81f4
ASPCAP_CHI2 PARAM:9f4 PARAM_COV:81f4 PARAMFLAG:9i8 ASPCAPFLAG:i8 ASPCAPFLAGS:S256 FRAC_BADPIX
FRAC_LOWSNR FRAC_SIGSKY FELEM:27f4 FELEM_ERR:27f8 X_H:27f4 X_H_ERR:27f4 X_M:27f4 X_M_ERR:27f4
ELEM_CHI2:27f4 ELEMFRAC:27f4 ELEMFLAG:27i8 EXTRATARG:i4 MEMBERFLAG:i8 MEMBER:S10 X_H_SPEC:27f4
X_M_SPEC:27f4 TEFF TEFF_ERR LOGG LOGG_ERR M_H M_H_ERR ALPHA_M ALPHA_M_ERR VMICRO VMACRO VSINI
TEFF_SPEC LOGG_SPEC {ELEMENTS} VISIT_PK:100i4
"""
_ELEMENTS = (
    "C_FE CI_FE N_FE O_FE NA_FE MG_FE AL_FE SI_FE P_FE S_FE K_FE CA_FE TI_FE TIII_FE V_FE CR_FE "
    "MN_FE FE_H CO_FE NI_FE CU_FE CE_FE YB_FE"
)


def _row() -> np.dtype:
    elements = " ".join(f"{x} {x}_SPEC {x}_ERR {x}_FLAG:i4" for x in _ELEMENTS.split())
    columns = [column.partition(":") for column in _SCHEMA.format(ELEMENTS=elements).split()]
    return np.dtype([(name, f"{kind or 'f4'}") for name, _, kind in columns]).newbyteorder(">")


ROW = _row()


def random_rows(count: int, seed: int) -> np.ndarray:
    """Rows with plausible values in the columns that are read and random bytes in all others."""
    generator = np.random.default_rng(seed)
    rows = np.frombuffer(generator.bytes(count * ROW.itemsize), ROW).copy()
    for name, _, value in NEEDED:
        rows[name] = value
    stars = generator.integers(0, 10**8, count)
    rows["APOGEE_ID"] = np.strings.add("2M", np.strings.zfill(stars.astype(str), 16))
    rows["FIELD"] = generator.choice(["000+02", "K04_083+13", "293-37-C", "M67"], count)
    rows["TELESCOPE"] = generator.choice(["apo25m", "lco25m", "apo1m"], count)
    rows["SNR"] = generator.lognormal(4.8, 0.8, count)
    rows["VSCATTER"] = generator.exponential(0.5, count)
    rows["TEFF"] = generator.normal(4700, 500, count)
    rows["STARFLAG"] = np.where(generator.random(count) < 0.3, 1 << generator.integers(26), 0)
    rows["ASPCAPFLAG"] = np.where(generator.random(count) < 0.2, (1 << 23) | (1 << 41), 1)
    return rows


def write_allstar(path: Path, count: int, seed: int = 1) -> np.ndarray:
    """Write ``count`` rows: up to 20,000 distinct ones, which then repeat.

    Returns
    -------
    numpy.ndarray
        Structured array of the distinct rows.
    """
    rows = random_rows(min(count, 20_000), seed)
    header = fits.BinTableHDU(rows[:0].copy()).header
    header["NAXIS2"] = count
    with open(path, "wb") as handle:
        handle.write(fits.PrimaryHDU().header.tostring().encode())
        handle.write(header.tostring().encode())
        for start in range(0, count, len(rows)):
            rows[: count - start].tofile(handle)
        handle.write(bytes(-count * ROW.itemsize % 2880))
    return rows
