"""Catalogue columns, besides labels, that ``selected.parquet`` and the store keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectrafm.labels import Label
from spectrafm.store.layout import LABEL_DIMENSION, Column
from spectrafm.surveys.apogee.allstar import FPARAM, flag_column, fparam_column
from spectrafm.surveys.apogee.bitmasks import ASPCAPFLAG, LABEL_FLAG, STARFLAG

#: Column of ``selected.parquet`` -> column of the catalogue.
FROM_ALLSTAR = {
    "telescope": "TELESCOPE",
    "field": "FIELD",
    "snr": "SNR",
    "starflag": "STARFLAG",
    "aspcapflag": "ASPCAPFLAG",
    "vscatter": "VSCATTER",
    "ra": "RA",
    "dec": "DEC",
    "teff": "TEFF",
    "logg": "LOGG",
    "fe_h": "FE_H",
    "vhelio_avg": "VHELIO_AVG",
    "nvisits": "NVISITS",
    "j": "J",
    "h": "H",
    "k": "K",
    "gaia_source_id": "GAIAEDR3_SOURCE_ID",
    "gaia_parallax": "GAIAEDR3_PARALLAX",
}

_PER_STAR = (
    Column("telescope", str, "telescope"),
    Column("field", str, "field of the survey"),
    Column("path", str, "path of the aspcapStar file below the root of the archive"),
    Column("sha1", str, "SHA-1 of the aspcapStar file"),
    Column("verified", np.bool_, "whether the SHA-1 is the one that the survey publishes"),
    Column("snr", np.float32, "median signal-to-noise ratio per pixel", "1"),
    Column("starflag", np.int64, "STARFLAG bits", flags=STARFLAG),
    Column("aspcapflag", np.int64, "ASPCAPFLAG bits", flags=ASPCAPFLAG),
    Column("vscatter", np.float32, "scatter of the visits' radial velocities", "km s-1"),
    Column("ra", np.float64, "right ascension (J2000)", "degree"),
    Column("dec", np.float64, "declination (J2000)", "degree"),
    Column("teff", np.float32, "calibrated effective temperature of allStar", "K"),
    Column("logg", np.float32, "calibrated surface gravity of allStar", "dex(cm s-2)"),
    Column("fe_h", np.float32, "calibrated [Fe/H] of allStar", "dex"),
    Column("vhelio_avg", np.float32, "mean barycentric radial velocity", "km s-1"),
    Column("nvisits", np.int32, "visits that the spectrum combines; 0: unknown", "1"),
    Column("j", np.float32, "2MASS J magnitude", "mag"),
    Column("h", np.float32, "2MASS H magnitude", "mag"),
    Column("k", np.float32, "2MASS Ks magnitude", "mag"),
    Column("gaia_source_id", np.int64, "Gaia EDR3 source identifier; 0: unknown"),
    Column("gaia_parallax", np.float32, "Gaia EDR3 parallax", "mas"),
)

_FPARAM = Column(
    "fparam",
    np.float32,
    "uncalibrated parameters of the best fit (FPARAM): K, dex(cm s-2) and dex",
    dimension="parameter",
    entries=FPARAM,
    columns=tuple(map(fparam_column, FPARAM)),
)


def store_columns(labels: Sequence[Label]) -> tuple[Column, ...]:
    """APOGEE's columns of a store, given the labels of the run."""
    names = tuple(label.name for label in labels)
    label_flag = Column(
        "label_flag",
        np.int64,
        "flags of the label (PARAMFLAG bits); 0 also where the catalogue has none",
        flags=LABEL_FLAG,
        dimension=LABEL_DIMENSION,
        entries=names,
        columns=tuple(map(flag_column, names)),
    )
    return (*_PER_STAR, label_flag, _FPARAM)
