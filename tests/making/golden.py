"""Make the golden model and input of a release: what later versions must go on answering.

    python tests/making/golden.py

writes ``tests/golden/<version>/``, once a release; what stands there is never made anew. It holds
``store.zarr``, 24 invented stars on 160 pixels; ``spectrafm`` and ``ridge``, two models that
learned from 160 other stars of that kind; and ``expected.csv``, what ``predict`` answered.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))

import spectrafm
from making import toy_store
from spectrafm.files import read_parquet
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.networks.options import Model
from spectrafm.spectra import pixels_in
from spectrafm.store.layout import Stars
from spectrafm.surveys.apogee.grid import WAVELENGTH
from spectrafm.training.options import Stage
from spectrafm.training.train import train

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = ("spectrafm", "ridge")
MODEL = Model(
    dimension=16,
    encoder=[{"heads": 2, "feedforward": 32}, {"heads": 2, "feedforward": 32}],
    decoder=[{"heads": 2, "feedforward": 32}],
    head=[16],
    encoding="log_wavelength",
)


def write_stars(path: Path, stars: Stars) -> Path:
    """Write stars with the pixels of the toy windows only."""
    inside = np.concatenate(pixels_in(WAVELENGTH, toy_store.WINDOWS))
    return toy_store.write_part(path, stars, inside, "golden input")


def answered(release: Path, name: str, folder: Path) -> pd.DataFrame:
    """What a golden model answers of the golden input, one row a star, as read from the file."""
    output = folder / f"{name}.parquet"
    options = Predict(split="all")
    predict(release / name, release / "store.zarr", name="golden", output=output, options=options)
    return read_parquet(output)


def columns_of(table: pd.DataFrame) -> list[str]:
    """Columns of a prediction that ``expected.csv`` holds."""
    answers = [name for name in table if name.endswith(("_predicted", "_uncertainty"))]
    return ["apogee_id", "good_pixels", *answers]


def main() -> None:
    """Write the folder of the present version."""
    release = FOLDER / spectrafm.__version__
    release.mkdir(parents=True)
    golden = toy_store.toy_stars(24, seed=1)
    golden.spectra["observed"][7] = np.nan
    write_stars(release / "store.zarr", golden)
    expected = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = write_stars(folder / "store.zarr", toy_store.toy_stars(160))
        for name in NAMES:
            stage = Stage(
                architecture=name,
                spectra="observed",
                windows=toy_store.WINDOWS,
                sampling={"tokens": 96} if name == "spectrafm" else {"scheme": "all"},
                epochs=20 if name == "spectrafm" else 1,
                batch=16,
                schedule={"learning_rate": 3e-3},
            )
            train(store, name=name, output=release / name, stage=stage, model=MODEL)
            table = answered(release, name, folder)
            expected[name] = table[columns_of(table)]
    together = pd.concat(expected, names=["model"]).reset_index("model")
    together.to_csv(release / "expected.csv", index=False)


if __name__ == "__main__":
    main()
