"""A small store of invented spectra whose lines follow the labels, for tests that train."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.labels import LABELS, PAPER_LABELS, Label, error_column
from spectrafm.store.layout import Column, Stars, write_store
from spectrafm.surveys.apogee.grid import N_PIXELS, WAVELENGTH

#: Windows of 96 and 64 pixels; the second is part of the paper's iron window.
WINDOWS = [[15_750.0, 15_770.7], [16_105.8, 16_119.9]]

#: Wavelengths (Angstrom) of the lines of each label, one in each window.
LINES = {
    "TEFF": (15_753.0, 16_107.0),
    "LOGG": (15_757.0, 16_109.5),
    "O_FE": (15_761.0, 16_112.0),
    "MG_FE": (15_764.0, 16_115.0),
    "FE_H": (15_768.0, 16_118.0),
}


#: Columns of the toy survey.
COLUMNS = (
    Column("verified", np.bool_, "whether the SHA-1 is the published one"),
    Column("snr", np.float32, "signal-to-noise ratio", "1"),
    Column("teff", np.float32, "effective temperature", "K"),
    Column("logg", np.float32, "surface gravity", "dex(cm s-2)"),
    Column("fe_h", np.float32, "[Fe/H]", "dex"),
)


def toy_stars(stars: int = 160, seed: int = 0) -> Stars:
    """Invented stars: labels, spectra with one line a label, some bad pixels and NaN labels."""
    rng = np.random.default_rng(seed)
    label = rng.normal(size=(stars, 5))
    flux = np.ones((stars, N_PIXELS))
    for number, name in enumerate(LABELS):
        depth = 0.15 + 0.05 * label[:, number]
        for centre in LINES[name]:
            flux -= depth[:, None] * np.exp(-0.5 * ((WAVELENGTH - centre) / 0.6) ** 2)
    observed = flux + 0.003 * rng.normal(size=flux.shape)
    observed[rng.random(flux.shape) < 0.01] = np.nan
    label = label * [600, 1.0, 0.1, 0.1, 0.5] + [4700, 2.5, 0.1, 0.1, -0.6]
    label[rng.random(stars) < 0.05, 2:] = np.nan
    label[:, 1] = label[:, 1].clip(0.1, 4.9)
    split = np.array(["train", "train", "train", "validation", "test"])[np.arange(stars) % 5]
    table = pd.DataFrame(
        {
            "apogee_id": [f"2M{number:08d}" for number in range(stars)],
            "split": split,
            "verified": True,
            "snr": 300.0,
            **{name: label[:, LABELS.index(name.upper())] for name in ("teff", "logg", "fe_h")},
        }
    )
    errors = np.broadcast_to([8.0, 0.02, 0.01, 0.01, 0.01], label.shape)
    table[list(LABELS)] = label
    table[[error_column(name) for name in LABELS]] = errors
    spectra = {
        "observed": observed.astype(np.float32),
        "observed_error": np.full(flux.shape, 0.003, np.float32),
        "mask": ~np.isfinite(observed),
        "synthetic": flux.astype(np.float32),
    }
    return Stars(table, spectra)


def write_toy_store(
    path: Path, stars: Stars | None = None, labels: Sequence[Label] = PAPER_LABELS
) -> Path:
    """Write invented stars as a store with the given labels."""
    write_store(
        path,
        [stars or toy_stars()],
        {"title": "toy", "mock": True},
        wavelength=WAVELENGTH,
        labels=labels,
        columns=COLUMNS,
    )
    return path


def write_part(path: Path, stars: Stars, pixels: np.ndarray | slice, title: str) -> Path:
    """Write invented stars with some of their pixels only."""
    spectra = {name: values[:, pixels] for name, values in stars.spectra.items()}
    write_store(
        path,
        [Stars(stars.table, spectra)],
        {"title": title, "mock": True},
        wavelength=WAVELENGTH[pixels],
        labels=PAPER_LABELS,
        columns=COLUMNS,
    )
    return path
