"""A survey of invented stars on a grid of its own, without synthetic spectra."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from spectrafm.labels import Label
from spectrafm.options import Name, Section
from spectrafm.store.layout import Column, Stars, write_store

WAVELENGTH = np.geomspace(4000.0, 9000.0, 300)
RANGE = (4000.0, 9000.0)


class Toy(Section):
    """The toy survey."""

    name: Name = Field("toy", description="which survey")
    rows: int = Field(50, ge=1, description="how many stars")


def make_toy(*, output: Path, toy: Toy) -> None:
    """Write invented stars as a store.

    Parameters
    ----------
    output : pathlib.Path
        Zarr store to write.

    Examples
    --------
    $ spectrafm make-toy --output=toy.zarr --rows=50
    """
    rng = np.random.default_rng(0)
    age = rng.uniform(1, 13, toy.rows)
    flux = 1 - 0.03 * age[:, None] * np.exp(-((WAVELENGTH - 6563) ** 2) / 50)
    table = pd.DataFrame(
        {
            "apogee_id": [f"toy{n}" for n in range(toy.rows)],
            "split": "train",
            "colour": age / 20,
            "AGE": age,
            "AGE_ERR": 0.5,
        }
    )
    table.loc[::4, "split"] = "validation"
    spectra = {
        "observed": flux.astype("f4"),
        "observed_error": np.full(flux.shape, 0.01, "f4"),
        "mask": np.zeros(flux.shape, bool),
    }
    write_store(
        output,
        [Stars(table, spectra)],
        {"title": "toy", "mock": True},
        wavelength=WAVELENGTH,
        labels=[Label("AGE", "Gyr", "age")],
        columns=[Column("colour", float, "colour", "mag")],
        synthetic=False,
    )
