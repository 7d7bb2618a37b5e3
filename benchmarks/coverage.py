"""Coverage of a model's intervals on a large survey of other stars, as calibrated and recalibrated.

python benchmarks/coverage.py results/demo/models/finetune_observed results/demo_test/store.zarr

The store is that of configs/test_survey.yaml: more than 10,000 test stars of the same sky. The
first table is of the model as it is, calibrated on the few validation stars of its own survey; the
second of the same model calibrated on the store's own validation stars, ten times as many. What the
first misses and the second does not is due to the number of stars of the fit, not to the method.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from spectrafm.evaluation.table_calibration import table_calibration
from spectrafm.inference.calibrate import calibrate
from spectrafm.inference.calibration import write_calibration
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.predict import predict
from spectrafm.integrity import write_checksums


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


def main() -> None:
    """Predict the store's test stars with both, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/coverage"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "as_it_is": given.model,
            "recalibrated": recalibrated(given.model, given.store, Path(folder)),
        }
        for name, model in models.items():
            output = given.output / f"{given.model.name}--{name}.parquet"
            predict(model, [given.store], output=output, name=name, options=Predict())
            table = given.output / f"{name}.csv"
            table_calibration([output], output=table)
            print(table.with_suffix(".md").read_text(), flush=True)


if __name__ == "__main__":
    main()
