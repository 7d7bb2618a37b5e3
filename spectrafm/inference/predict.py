"""The command ``predict``: labels of spectra in files, or of the stars of a store."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.calibration import Calibration
from spectrafm.inference.chunks import BLOCK
from spectrafm.inference.flags import MOCK_TRAINED
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.options import Predict
from spectrafm.inference.predict_files import predict_files
from spectrafm.inference.predictions import (
    COPIED,
    TRAINED,
    prediction_table,
    write_predictions,
)
from spectrafm.inference.sources import model_folder
from spectrafm.integrity import hashes_beside
from spectrafm.networks import saved
from spectrafm.options import checked_name
from spectrafm.outputs import claims
from spectrafm.progress import Meter
from spectrafm.store.read import StarReader

logger = logging.getLogger(__name__)


@claims(output=files.no_folder)
def predict(
    model: Path,
    paths: Sequence[Path],
    *,
    output: Path | None = None,
    name: str | None = None,
    options: Predict,
) -> str | None:
    """Predict labels of spectra in files of any known format, or of the stars of a store.

    Files may be of any format that `spectrafm.readers` knows, thousands of them. Spectra that are
    not continuum-normalised are normalised as the model wants it. Of a store, the predicted labels
    stand beside those of the catalogue.

    Where the model has a calibration, each label also has calibrated intervals. Rows for which the
    calibration does not hold are flagged, and so are stars outside the domain that the model
    learned from: predicted labels, or a spectrum, unlike those of its training stars.

    Spectra are read, predicted and written in blocks, so that memory does not grow with their
    number.

    By default the model reads the wavelengths and predicts the labels that it was trained on. Other
    wavelengths or labels are logged as a warning and flagged in every row.

    Parameters
    ----------
    model : pathlib.Path
        Folder of a trained model, models/<stage>; the name of a shipped model; or a repository of
        the Hugging Face Hub at a commit, owner/name@commit.
    paths : sequence of pathlib.Path
        Files with spectra, or one store, store.zarr.
    output : pathlib.Path, optional
        Table to write: .parquet, .fits, .ecsv or .csv; of a store .parquet, as in
        predictions/<stage>--<evaluation>.parquet. Without it, files' labels are printed.
    name : str, optional
        Name of the evaluation of a store, which tables and figures refer to; by default what the
        name of the output has after its two hyphens.
    options : Predict
        Which spectra of a store, wavelengths and labels.

    Returns
    -------
    str or None
        The table as text, where there is no output.

    Raises
    ------
    SpectraFMError
        When the network knows none of the labels or cannot read the pixels of a store, or no file
        could be read.

    Examples
    --------
    $ spectrafm predict results/demo/models/pretrain aspcapStar-*.fits -o labels.fits
    $ spectrafm predict results/demo/models/pretrain results/demo/store.zarr --name all \
--output results/demo/predictions/pretrain--all.parquet
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if name is not None:
        checked_name(name, "--name")
    trained = TrainedModel.load(model_folder(model))
    stores = [path for path in several if Path(path).is_dir()]
    if not stores and not (len(several) == 1 and Path(several[0]).suffix == ".zarr"):
        return predict_files(trained, [Path(path) for path in several], output, options)
    if len(several) > 1:
        raise SpectraFMError(f"{(stores or several)[0]}: is a folder; give one store, or files")
    if output is None:
        raise SpectraFMError(f"{several[0]}: a store's predictions need --output")
    files.require_suffix(output, ".parquet")
    name = output.stem.rpartition("--")[2] if name is None else name
    predict_store(trained, Path(several[0]), checked_name(name, "--name"), output, options)
    return None


def predict_store(
    trained: TrainedModel, store: Path, name: str, output: Path, options: Predict
) -> None:
    """Predict the stars of a store and write them beside the catalogue's labels; see `predict`."""
    network, facts = trained.network, trained.facts
    windows = options.windows or trained.windows
    labels = trained.choose_labels(options.labels)
    split = None if options.split == "all" else options.split
    stars = trained.open_stars(
        store, options.spectra, split, windows, options.flux_range, COPIED, options.where,
        errors=options.spectra == "observed",
    )  # fmt: skip
    calibration, void = trained.calibration_of(labels, windows, options)
    doubts = trained.doubts(stars.wavelength, windows, labels) + void
    if trained.mock and not stars.mock:
        doubts.append(MOCK_TRAINED)
    chunks = trained.contexts(stars.wavelength, windows)
    tables = _tables(trained, stars, labels, chunks, options, doubts, calibration)
    twin = trained.twin_for(options)
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
            "survey": stars.survey,
            "release": stars.release,
            "made_with": hashes_beside(output.parent, [trained.folder, store]),
            **files.provenance(model=files.sha256_of_file(trained.folder / saved.WEIGHTS)),
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
) -> Iterator[pd.DataFrame]:
    """Read and predict a `BLOCK` of stars at a time."""
    began, flagged = time.monotonic(), 0
    blocks = max(1, math.ceil(len(stars) / BLOCK))
    with Meter("predicting", blocks * len(chunks), "chunk") as meter:
        for some in stars.blocks(BLOCK):
            answer = trained.answer(some, labels, chunks, options, meter)
            judgement = None
            if trained.domain is not None:
                predicted = dict(zip(labels, answer.value.T, strict=True))
                flux = trained.network.scaled(some.wavelength, some.flux)
                judgement = trained.domain.judge(
                    some.wavelength, flux, predicted, some.signal_to_noise, answer.feature
                )
            table = prediction_table(some, labels, answer, doubts, calibration, judgement)
            flagged += int((table["flags"] != "").sum())
            yield table
    seconds = time.monotonic() - began
    logger.info(
        "predicted %d stars x %d chunks x %d labels in %.1f s, %.1f stars/s; %d rows flagged",
        len(stars), len(chunks), len(labels), seconds, len(stars) / seconds, flagged,
    )  # fmt: skip
