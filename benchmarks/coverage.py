"""Coverage of a model's intervals on a large survey of other stars, as calibrated and recalibrated.

python benchmarks/coverage.py results/demo/models/finetune_observed results/demo_test/store.zarr

The store is that of configs/test_survey.yaml: more than 10,000 test stars of the same sky. The
first table is of the model as it is, calibrated on the few validation stars of its own survey; the
second of the same model calibrated on the store's own validation stars, ten times as many. In the
third the intervals of each tenth of the test stars are fitted on the validation stars and the other
nine tenths, which are fewer than the 18,000 validation stars of DR17. What one misses and the next
does not is due to the number of stars of the fit, not to the method.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm.evaluation.table_calibration import table_calibration
from spectrafm.files import read_parquet, write_parquet_parts
from spectrafm.inference.calibrate import calibrate
from spectrafm.inference.calibration import DOES_NOT_HOLD, LEVELS, Calibration, write_calibration
from spectrafm.inference.conformal import cross_fitted_widths
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.inference.predictions import interval_columns
from spectrafm.integrity import write_checksums

#: Parts of the test stars, each judged by intervals that were fitted on the others.
FOLDS = 10

#: Stars of a group below which its share is too uncertain to tell 3 points.
FEWEST = 300


def recalibrated(model: Path, store: Path, folder: Path) -> Path:
    """A copy of a model, calibrated on the validation stars of a store."""
    copy = folder / model.name
    shutil.copytree(model, copy)
    trained = TrainedModel.load(model)
    stars = trained.open_stars(
        store, "observed", "validation", trained.windows, None, ("snr",)
    ).load(slice(None))
    found, _ = calibrate(
        trained.network, stars, trained.labels, trained.windows, trained.facts["tokens"],
        kind="observed", where=None,
    )  # fmt: skip
    write_calibration(copy, found)
    write_checksums(copy)
    return copy


def cross_fitted(predictions: Path, output: Path) -> None:
    """Write the test stars of a prediction with intervals that were fitted on other stars."""
    table = read_parquet(predictions)
    facts, table.attrs = table.attrs, {}
    labels, fitted_on = list(facts["labels"]), Calibration(**facts["calibration"]).fitted_on
    predicted, sigma, actual = (
        table[[f"{label}_{part}" for label in labels]].to_numpy(np.float64)
        for part in ("predicted", "uncertainty", "actual")
    )
    snr = table["snr"].to_numpy(np.float64)
    test = (table["split"] == "test").to_numpy()
    fold = np.where(test, np.random.default_rng(0).permutation(len(table)) % FOLDS, -1)
    widths = cross_fitted_widths(labels, predicted, sigma, actual, snr, fitted_on, fold)
    for label, value, width in zip(labels, predicted.T, widths, strict=True):
        table = table.assign(**interval_columns(label, value, width))
    write_parquet_parts(output, [table[test]], facts)


def summary(table: Path) -> str:
    """How far the shares of a table are from the stated ones, in points."""
    rows = pd.read_csv(table)
    shares = 100 * rows[[f"calibrated_{level}" for level in LEVELS]]
    off = (shares - np.array(LEVELS)).abs().max(axis=1)
    alone, many = rows["group"] == "all", rows["n"] > FEWEST
    groups = off[many & ~alone & rows["group"].ne(DOES_NOT_HOLD)]
    return (
        f"all stars: at most {off[alone].max():.1f} points off; {len(groups)} groups of more than "
        f"{FEWEST} stars: {100 * (groups <= 3).mean():.0f} % within 3 points at every level, the "
        f"worst {groups.max():.1f} off"
    )


def main() -> None:
    """Predict the store's stars with the model and its copy, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/coverage"))
    given = parser.parse_args()

    def predictions(name: str) -> Path:
        return given.output / f"{given.model.name}--{name}.parquet"

    with tempfile.TemporaryDirectory() as folder:
        copy = recalibrated(given.model, given.store, Path(folder))
        for name, model, split in (
            ("as_it_is", given.model, "test"),
            ("recalibrated", copy, "test"),
            ("all_splits", copy, "all"),
        ):
            options = Predict(spectra="observed", split=split)
            predict(model, [given.store], output=predictions(name), name=name, options=options)
    cross_fitted(predictions("all_splits"), predictions("cross_fitted"))
    for name in ("as_it_is", "recalibrated", "cross_fitted"):
        table = given.output / f"{name}.csv"
        table_calibration([predictions(name)], output=table)
        print(table.with_suffix(".md").read_text(), summary(table), "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
