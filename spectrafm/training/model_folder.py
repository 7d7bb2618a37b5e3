"""The folder of a trained model: its calibration, domain, record and card, written as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from spectrafm import files
from spectrafm.inference.calibrate import calibrate
from spectrafm.inference.calibration import write_calibration
from spectrafm.inference.domain import write_domain
from spectrafm.inference.domain_fit import Seen, fit_domain, some_of
from spectrafm.inference.fingerprint import write_fingerprint
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.predictor import infer
from spectrafm.inference.twin import write_twin
from spectrafm.integrity import write_checksums
from spectrafm.networks import saved
from spectrafm.networks.base import Network
from spectrafm.networks.card import model_card
from spectrafm.store.read import StarSet
from spectrafm.training.choice import StageStars
from spectrafm.training.loop import Training
from spectrafm.training.options import Stage
from spectrafm.training.stars import subset
from spectrafm.training.teaching import NOT_CALIBRATED


class Start(NamedTuple):
    """The model that a stage starts from: its folder's name and its ``config.json``."""

    name: str
    facts: dict[str, Any]


def write_model(
    output: Path,
    under_way: Training,
    stars: StageStars,
    begun: Start | None,
    made_with: dict[str, str],
    mock: bool,
) -> None:
    """Calibrate a model and write its folder atomically.

    Parameters
    ----------
    output : pathlib.Path
    under_way : Training
        With the chosen weights.
    stars : StageStars
    begun : Start, optional
        The model that the stage started from.
    made_with : dict of str to str
        SHA-256 of the store and of other models, by path.
    mock : bool
        Whether the network, or one that it learned from, has learned from mock stars.
    """
    training, stage = stars.training, under_way.stage
    with files.atomic_path(output, saved.MODEL) as folder:
        folder.mkdir()
        facts = _facts(under_way, stars, begun)
        # A network that has learned from mock stars stays mock-trained, also after real stars.
        facts |= {"made_with": made_with, "mock": mock}
        calibration, groups = calibrate(
            under_way.network,
            stars.calibration,
            facts["stage"]["labels"],
            stage.windows,
            facts["tokens"],
            kind="painted" if stage.selection == "painted" else stage.spectra,
            where=None if stage.selection == "painted" else stage.stars.where,
        )
        if stage.pseudo_labels.teacher is not None:
            calibration = calibration.model_copy(update={"labels": {}, "note": NOT_CALIBRATED})
            # They would say how well it repeats its teacher.
            groups = []
        names = [label.name for label in training.labels]
        domain = fit_domain(
            training.wavelength,
            _seen(under_way.network, stage, stars.lessons, stars.twin is None),
            _seen(under_way.network, stage, (stars.unseen,), stars.twin is None),
            {name: training.label[:, names.index(name)] for name in facts["stage"]["labels"]},
            stage.windows,
            stage.spectra,
            stars.calibration.signal_to_noise if stage.spectra == "observed" else None,
            training.resolution,
        )
        saved.save_pretrained(folder, under_way.network, facts)
        write_calibration(folder, calibration)
        write_domain(folder, domain)
        if stars.twin is not None:
            write_twin(folder, stars.twin)
        made = TrainedModel(
            folder, under_way.network, {**saved.architecture(under_way.network), **facts},
            calibration, domain, stars.twin,
        )  # fmt: skip
        write_fingerprint(made, stars.unseen)
        metrics = pd.DataFrame(under_way.metrics)
        files.write_text(folder / "metrics.csv", metrics.to_csv(index=False))
        if stage.stars.count is not None:
            files.write_parquet(folder / "training_stars.parquet", _table_of(stars.drawn))
        scores = _scores_at(under_way.metrics, under_way.best_epoch)
        coverage = {name: label.coverage for name, label in calibration.labels.items()}
        card = model_card(made.facts, str(calibration), str(domain), scores, coverage, groups)
        files.write_text(folder / "README.md", card)
        write_checksums(folder)


def _seen(network: Network, stage: Stage, parts: Sequence[StarSet], features: bool) -> Seen:
    """Some of the stars as the network reads them, with its features, if wanted.

    Of the inputs beside the spectrum each star lacks each with a probability of one half: a user's
    spectrum may have any of them.
    """
    rows = some_of(sum(map(len, parts)))
    dropped = np.random.default_rng(stage.seed)
    begin, flux, feature = 0, [], []
    for stars in parts:
        here = rows[(rows >= begin) & (rows < begin + len(stars))] - begin
        begin, some = begin + len(stars), subset(stars, here)
        flux.append(network.scaled(some.wavelength, some.flux))
        if not features:
            continue
        answer = infer(
            network,
            some.flux,
            some.wavelength,
            network.labels[:1],
            network.contexts(some.wavelength, stage.windows, stage.sampling.tokens),
            error=some.flux_error,
            columns={
                name: np.where(dropped.random(len(some)) < 0.5, np.nan, some.columns[name])
                for name in network.reads.inputs
                if name in some.columns
            },
        )
        if answer.feature is not None:
            feature.append(answer.feature)
    return Seen(np.concatenate(flux), np.concatenate(feature) if feature else None)


def _table_of(stars: StarSet) -> pd.DataFrame:
    """Table of the names and labels of a stage's training stars, for Figure 4."""
    labels = {label.name: stars.label[:, i] for i, label in enumerate(stars.labels)}
    return pd.DataFrame({"apogee_id": stars.apogee_id.astype(object), **labels})


def _facts(run: Training, stars: StageStars, begun: Start | None) -> dict[str, Any]:
    """Options and record of a training, for the model's ``config.json``."""
    stage, training = run.stage, stars.training
    options = stage.model_dump(mode="json")
    options["labels"] = [run.network.labels[i] for i in run.request.tolist()]
    facts = {
        "stage_name": run.name,
        "stage": options,
        "started_from": None if begun is None else begun.name,
        "tokens": stage.sampling.tokens,
        "epoch": run.best_epoch,
        "epochs_trained": run.epoch,
        "training_star_count": len(stars.drawn),
        "set_aside_count": len(stars.drawn) - len(training),
        "validation_star_count": len(stars.validation),
        "validation_loss": _loss_at(run.metrics, run.best_epoch),
        "averaged_validation_loss": run.averaged_loss,
        "extrapolation": None if run.extrapolation is None else run.extrapolation._asdict(),
        "normalisation": training.normalisation,
        "acknowledgement": training.acknowledgement,
        "label_ranges": _ranges(training),
        "skipped_steps": run.skipped,
        "environments": run.environments,
        **files.provenance(),
    }
    if stage.stars.count is not None:
        facts["training_stars"] = stars.drawn.apogee_id.tolist()
    return facts


def _ranges(stars: StarSet) -> dict[str, list[float]]:
    """Smallest and largest value of each label among the training stars."""
    some = {
        label.name: stars.label[np.isfinite(stars.label[:, i]), i]
        for i, label in enumerate(stars.labels)
    }
    return {name: [float(v.min()), float(v.max())] for name, v in some.items() if len(v)}


def _scores_at(metrics: list[dict[str, float]], epoch: int) -> dict[str, float]:
    """RMSE of each label on the validation stars of an epoch; empty where it was not validated."""
    start = "validation_rmse_"
    row = next((row for row in metrics if row["epoch"] == epoch), {})
    return {name.removeprefix(start): row[name] for name in row if name.startswith(start)}


def _loss_at(metrics: list[dict[str, float]], epoch: int) -> float | None:
    """Validation loss of an epoch; None where the epoch was not validated."""
    return next((row["validation_loss"] for row in metrics if row["epoch"] == epoch), None)
