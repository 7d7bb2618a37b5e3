"""One training stage: from stars and starting weights to a model's folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.calibrate import calibrate
from spectrafm.inference.calibration import write_calibration
from spectrafm.inference.domain import fit_domain, write_domain
from spectrafm.inference.fingerprint import write_fingerprint
from spectrafm.inference.model import TrainedModel
from spectrafm.inference.twin import write_twin
from spectrafm.integrity import hashes_beside, write_checksums
from spectrafm.networks import NETWORKS, saved
from spectrafm.networks.base import ClosedForm, Network
from spectrafm.networks.card import model_card
from spectrafm.networks.options import Model
from spectrafm.options import checked_name
from spectrafm.outputs import claimed
from spectrafm.plugs import load
from spectrafm.store.read import StarSet
from spectrafm.training import resume
from spectrafm.training.choice import StageStars, stars_of
from spectrafm.training.loop import Training
from spectrafm.training.options import Stage
from spectrafm.training.processes import Processes, processes
from spectrafm.training.replay import replay_of
from spectrafm.training.schemes import SCHEMES
from spectrafm.training.stars import DeviceStars, column_of, to_device

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """The model that a stage starts from: its folder's name and its ``config.json``."""

    name: str
    facts: dict[str, Any]


def train(
    store: Path,
    *,
    name: str,
    output: Path,
    start: Path | None = None,
    checkpoints: Path | None = None,
    stage: Stage,
    model: Model,
) -> None:
    """Train one stage and write its model.

    Parameters
    ----------
    store : pathlib.Path
        Zarr store of the stars, ``store.zarr``.
    name : str
        Name of the stage.
    output : pathlib.Path
        Folder of the model to write: weights, options, course of the training, checksums.
    start : pathlib.Path, optional
        Folder of the model that the stage starts from; required with ``--start_from``, and only
        then.
    checkpoints : pathlib.Path, optional
        Folder of checkpoints; an interrupted training resumes from its newest one there.
    stage : Stage
    model : Model
        Sizes of a network from scratch; a fine-tune keeps the sizes of its start.

    Raises
    ------
    SpectraFMError
        When options, store and starting model do not fit each other, no star has a label and a
        good pixel, or the loss is not finite.
    InterruptedTraining
        When a signal has stopped the training.

    Examples
    --------
    $ spectrafm train results/demo/store.zarr --name=mine --output=mine --spectra=observed
      --windows='[[16105.8, 16220.0]]' --labels='[FE_H]' --epochs=30 --stars.count=100
      --start_from=pretrain --start=results/demo/models/pretrain
    """
    checked_name(name, "--name")
    if (stage.start_from is None) != (start is None):
        raise SpectraFMError("--start and --start_from go together")
    with processes() as together, _claims(together, output, checkpoints and checkpoints / name):
        if not together.first:
            logging.getLogger("spectrafm").setLevel(logging.WARNING)
        _make_deterministic(stage.deterministic)
        device = _device(together)
        network, begun = _loaded(start, stage)
        found = _network_class(stage)
        errors = found.reads_errors(model, stage.reads) if network is None else network.wants_errors
        chosen = stars_of(store, stage, errors)
        training, validation = chosen.training, chosen.validation
        made_with = hashes_beside(output, [store, *([] if start is None else [start])])
        labels = stage.labels or [label.name for label in training.labels]
        torch.manual_seed(stage.seed)
        if network is None:
            network = found.start(model, training, labels, stage.reads)
        else:
            _learn_new_labels(network, training, labels)
        _require_scheme(network, stage)
        network = network.to(device)
        request = network.request_of(labels).to(device)
        if not isinstance(network, ClosedForm):
            _freeze(network, stage.freeze)
        stars = to_device(training, network, request, stage.windows, device)
        validation_stars = to_device(validation, network, request, stage.windows, device)
        _require_lessons(stars, labels, "training", store)
        _require_lessons(validation_stars, labels, "validation", store)

        if begun is not None and begun.facts.get("mock") and not training.mock:
            logger.warning("%s: starts from %s, which learned from mock stars", name, begun.name)
        logger.info(
            "%s: %d training stars, %d validation stars, %d pixels, labels %s",
            name, len(stars), len(validation_stars), stars.flux.shape[1], ", ".join(labels),
        )  # fmt: skip
        replay = None
        if stage.replay.spectra is not None:
            gap = chosen.gap if stage.replay.spectra == "painted" else None
            replay = replay_of(chosen.synthetic, gap, stage, network, request)
            logger.info(
                "%s: replays %d %s spectra, %g beside each star",
                name, len(replay.stars), stage.replay.spectra, stage.replay.ratio,
            )  # fmt: skip
        under_way = Training(
            name, stage, network, request, stars, validation_stars, together, replay
        )
        under_way.environments = [{"from_step": 0, **resume.environment(under_way)}]
        kept = None
        if isinstance(network, ClosedForm) or chosen.twin is not None:
            under_way.solve()
        else:
            if checkpoints is not None:
                options = {"stage": stage.model_dump(mode="json"), **saved.architecture(network)}
                data = [training.flux, training.label, *network.state_dict().values()]
                data += [] if replay is None else [replay.stars.flux, replay.stars.label]
                kept = resume.resume(under_way, checkpoints, options, data)
            under_way.fit(kept)
        if together.first:
            _write(output, under_way, chosen, begun, made_with)
            if kept is not None:
                kept.remove()
            logger.info(
                "%s: kept epoch %d of %d; model in %s",
                name, under_way.best_epoch, under_way.epoch, output,
            )  # fmt: skip


@contextlib.contextmanager
def _claims(together: Processes, output: Path, checkpoints: Path | None) -> Iterator[None]:
    """Be the only training that writes a model, and the checkpoints of its stage."""
    with contextlib.ExitStack() as stack:
        if together.first:
            stack.enter_context(claimed(output, saved.MODEL))
            if checkpoints is not None:
                stack.enter_context(claimed(checkpoints, files.no_folder))
        yield


def _loaded(start: Path | None, stage: Stage) -> tuple[Network | None, Start | None]:
    """Load the starting network and its ``config.json``; (None, None) from scratch.

    Raises
    ------
    SpectraFMError
        When the network's architecture is not the stage's.
    """
    if start is None:
        return None, None
    network, facts = saved.from_pretrained(start)
    if facts["stage_name"] != stage.start_from:
        raise SpectraFMError(
            f"{start}: holds the model of stage {facts['stage_name']!r}, not of "
            f"{stage.start_from!r} (--start_from)"
        )
    if network.reads != stage.reads:
        raise SpectraFMError(
            f"{start}: its network reads {network.reads.model_dump()}, but the stage "
            f"{stage.reads.model_dump()}: a fine-tune reads what its start reads"
        )
    if network.architecture != stage.architecture:
        raise SpectraFMError(
            f"{start}: a {network.architecture} network, but the stage trains a "
            f"{stage.architecture}"
        )
    return network, Start(start.name, facts)


def _network_class(stage: Stage) -> type[Network]:
    return load(NETWORKS[stage.architecture].where)


def _require_scheme(network: Network, stage: Stage) -> None:
    """Require a sampling scheme whose pixels the network can read.

    Raises
    ------
    SpectraFMError
        When a network whose tokens hold several pixels would see single pixels.
    """
    if network.reads_whole and not load(SCHEMES[stage.sampling.scheme]).whole:
        whole = ", ".join(name for name, where in SCHEMES.items() if load(where).whole)
        raise SpectraFMError(
            f"sampling.scheme: {stage.sampling.scheme}: this network reads whole windows: "
            f"choose one of {whole}"
        )


def _learn_new_labels(network: Network, stars: StarSet, labels: list[str]) -> None:
    """Add to a starting network the labels of the stage that it does not know."""
    column = [column_of(stars, name) for name in labels if name not in network.labels]
    if column:
        network.add_labels([stars.labels[i] for i in column], stars.label[:, column])


def _require_lessons(stars: DeviceStars, labels: list[str], which: str, store: Path) -> None:
    """Require stars with a good pixel and a label.

    Raises
    ------
    SpectraFMError
        When no star has a good pixel, no training star has one of the labels, or no validation
        star has any of them.
    """
    if not stars.valid.any():
        raise SpectraFMError(f"{store}: no {which} star has a good pixel in the windows")
    lacking = [
        name for name, some in zip(labels, stars.teaches.any(dim=0).tolist(), strict=True)
        if not some
    ]  # fmt: skip
    if lacking and (which == "training" or len(lacking) == len(labels)):
        raise SpectraFMError(f"{store}: no {which} star has {', '.join(lacking)}")


def _write(
    output: Path,
    under_way: Training,
    stars: StageStars,
    begun: Start | None,
    made_with: dict[str, str],
) -> None:
    """Calibrate the model and write its folder atomically."""
    training, stage = stars.training, under_way.stage
    with files.atomic_path(output, saved.MODEL) as folder:
        folder.mkdir()
        facts = _facts(under_way, training, stars.validation, begun) | {"made_with": made_with}
        calibration = calibrate(
            under_way.network,
            stars.calibration,
            facts["stage"]["labels"],
            stage.windows,
            facts["tokens"],
            kind="painted" if stage.selection == "painted" else stage.spectra,
            where=None if stage.selection == "painted" else stage.stars.where,
        )
        names = [label.name for label in training.labels]
        domain = fit_domain(
            training.wavelength,
            under_way.network.scaled(training.wavelength, stars.lessons),
            under_way.network.scaled(training.wavelength, stars.unseen),
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
        write_fingerprint(made, replace(stars.calibration, flux=stars.unseen))
        metrics = pd.DataFrame(under_way.metrics)
        files.write_text(folder / "metrics.csv", metrics.to_csv(index=False))
        if stage.stars.count is not None:
            files.write_parquet(folder / "training_stars.parquet", _table_of(training))
        scores = _scores_at(under_way.metrics, under_way.best_epoch)
        coverage = {name: label.coverage for name, label in calibration.labels.items()}
        card = model_card(made.facts, str(calibration), str(domain), scores, coverage)
        files.write_text(folder / "README.md", card)
        write_checksums(folder)


def _table_of(stars: StarSet) -> pd.DataFrame:
    """Table of the names and labels of a stage's training stars, for Figure 4."""
    labels = {label.name: stars.label[:, i] for i, label in enumerate(stars.labels)}
    return pd.DataFrame({"apogee_id": stars.apogee_id.astype(object), **labels})


def _device(together: Processes) -> torch.device:
    device = together.device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    logger.info("training on %s, %d process(es)", name, together.count)
    if device.type == "cpu" and os.environ.get("CUDA_VISIBLE_DEVICES"):
        logger.warning(
            "CUDA_VISIBLE_DEVICES=%s, but this torch (%s) can use no GPU: training on the CPU",
            os.environ["CUDA_VISIBLE_DEVICES"],
            torch.__version__,
        )
    return device


def _make_deterministic(deterministic: bool) -> None:
    """Restrict torch to algorithms that give the same bits each time, or lift the restriction."""
    if deterministic:
        # cuBLAS reads this variable at its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def _freeze(network: Network, parts: list[str]) -> None:
    """Freeze the weights of the named parts.

    Raises
    ------
    SpectraFMError
        When the network has no such part, or no weight is left to train.
    """
    for part in parts:
        try:
            network.get_submodule(part).requires_grad_(False)
        except AttributeError:
            raise SpectraFMError(f"freeze: the network has no part {part!r}") from None
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SpectraFMError("freeze: nothing is left to train")


def _facts(
    run: Training, training: StarSet, validation: StarSet, begun: Start | None
) -> dict[str, Any]:
    """Options and record of a training, for the model's ``config.json``."""
    stage = run.stage
    # A network that has learned from mock stars stays mock-trained, also after real stars.
    mock = training.mock or (begun is not None and bool(begun.facts.get("mock")))
    options = stage.model_dump(mode="json")
    options["labels"] = [run.network.labels[i] for i in run.request.tolist()]
    facts = {
        "stage_name": run.name,
        "stage": options,
        "started_from": None if begun is None else begun.name,
        "tokens": stage.sampling.tokens,
        "epoch": run.best_epoch,
        "epochs_trained": run.epoch,
        "training_star_count": len(training.apogee_id),
        "validation_star_count": len(validation.apogee_id),
        "validation_loss": _loss_at(run.metrics, run.best_epoch),
        "averaged_validation_loss": run.averaged_loss,
        "mock": mock,
        "normalisation": training.normalisation,
        "label_ranges": _ranges(training),
        "skipped_steps": run.skipped,
        "environments": run.environments,
        **files.provenance(),
    }
    if stage.stars.count is not None:
        facts["training_stars"] = training.apogee_id.tolist()
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
