"""The command ``predict``: predicted labels of stars beside those of the catalogue."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm import files
from spectrafm.inference.calibration import Calibration
from spectrafm.inference.chunks import BLOCK
from spectrafm.inference.flags import MOCK_TRAINED
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.predictions import (
    COLUMNS,
    TRAINED,
    prediction_table,
    write_predictions,
)
from spectrafm.inference.predictor import infer
from spectrafm.inference.twin import Twin
from spectrafm.integrity import hashes_beside
from spectrafm.networks import saved
from spectrafm.options import checked_name
from spectrafm.outputs import claims
from spectrafm.progress import Meter
from spectrafm.store.read import StarReader

logger = logging.getLogger(__name__)


@claims(output=files.no_folder)
def predict(model: Path, store: Path, *, name: str, output: Path, options: Predict) -> None:
    """Predict the labels of stars and write them beside the catalogue's.

    Where the model has a calibration, each label also has calibrated intervals. Rows for which the
    calibration does not hold are flagged, and so are stars outside the domain that the model
    learned from: predicted labels, or a spectrum, unlike those of its training stars.

    Stars are read, predicted and written in blocks, so that memory does not grow with their number.

    By default the model reads the wavelengths and predicts the labels that it was trained on. Other
    wavelengths or labels are logged as a warning and flagged in every row.

    Parameters
    ----------
    model : pathlib.Path
        Folder of a trained model, models/<stage>.
    store : pathlib.Path
        Stars to predict, store.zarr.
    name : str
        Name of the evaluation, which tables and figures refer to.
    output : pathlib.Path
        Parquet file to write, predictions/<stage>--<evaluation>.parquet.
    options : Predict
        Which spectra, wavelengths and labels.

    Raises
    ------
    SpectraFMError
        When the network knows none of the labels or cannot read these pixels.

    Examples
    --------
    $ spectrafm predict results/demo/models/pretrain results/demo/store.zarr --name all \
--output results/demo/predictions/pretrain--all.parquet
    """
    checked_name(name, "--name")
    files.require_suffix(output, ".parquet")
    trained = TrainedModel.load(model)
    network, facts = trained.network, trained.facts
    windows = options.windows or trained.windows
    labels = trained.choose_labels(options.labels)
    split = None if options.split == "all" else options.split
    stars = trained.open_stars(
        store, options.spectra, split, windows, options.flux_range, tuple(COLUMNS), options.where
    )
    calibration, void = trained.calibration_of(labels, windows, options)
    doubts = trained.doubts(stars.wavelength, windows, labels) + void
    if trained.mock and not stars.mock:
        doubts.append(MOCK_TRAINED)
    chunks = trained.contexts(stars.wavelength, windows)
    twin = trained.twin_for(options)
    tables = _tables(trained, stars, labels, chunks, options, doubts, calibration, twin)
    known = {label.name: label for label in network.label_table}
    stage = facts["stage"]
    write_predictions(
        output,
        tables,
        [known[label] for label in labels],
        {
            "stage": facts["stage_name"],
            "evaluation": name,
            "spectra": options.spectra,
            "windows": [list(window) for window in windows],
            "split": options.split,
            "where": options.where,
            "combine": options.combine,
            "chunks": len(chunks),
            "trained": {
                **{key: stage[key] for key in TRAINED if key in stage},
                "twin": {"components": None if twin is None else len(twin.components)},
                "mock": trained.mock,
            },
            "training_stars": facts["training_star_count"],
            "calibration": None if calibration is None else calibration.model_dump(mode="json"),
            "mock": stars.mock or trained.mock,
            "made_with": hashes_beside(output.parent, [model, store]),
            **files.provenance(model=files.sha256_of_file(Path(model) / saved.WEIGHTS)),
        },
    )
    logger.info("%s: %d stars, %d labels", output, len(stars), len(labels))


def _tables(
    trained: TrainedModel,
    stars: StarReader,
    labels: Sequence[str],
    chunks: Sequence[np.ndarray],
    options: Predict,
    doubts: Sequence[str],
    calibration: Calibration | None,
    twin: Twin | None,
) -> Iterator[pd.DataFrame]:
    """Read and predict a `BLOCK` of stars at a time."""
    began, flagged = time.monotonic(), 0
    blocks = max(1, math.ceil(len(stars) / BLOCK))
    with Meter("predicting", blocks * len(chunks), "chunk") as meter:
        for some in stars.blocks(BLOCK):
            shown = some if twin is None else twin.of(some)
            error = shown.flux_error if trained.network.wants_errors else None
            answer = infer(
                trained.network, shown.flux, some.wavelength, labels, chunks, options.combine,
                error, meter, some.columns,
            )  # fmt: skip
            judgement = None
            if trained.domain is not None:
                predicted = dict(zip(labels, answer.value.T, strict=True))
                # A synthetic spectrum has no noise.
                snr = some.columns.get("snr") if options.spectra == "observed" else None
                flux = trained.network.scaled(shown.wavelength, shown.flux)
                judgement = trained.domain.judge(shown.wavelength, flux, predicted, snr)
            table = prediction_table(some, labels, answer, doubts, calibration, judgement)
            flagged += int((table["flags"] != "").sum())
            yield table
    seconds = time.monotonic() - began
    logger.info(
        "predicted %d stars x %d chunks x %d labels in %.1f s, %.1f stars/s; %d rows flagged",
        len(stars), len(chunks), len(labels), seconds, len(stars) / seconds, flagged,
    )  # fmt: skip
