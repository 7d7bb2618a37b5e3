"""One training stage: from stars and starting weights to a model's folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.labels import LABELS
from spectrafm.networks import saved
from spectrafm.networks.card import model_card
from spectrafm.networks.fcnn import FCNN
from spectrafm.networks.options import Model
from spectrafm.networks.transformer import SpectraFM
from spectrafm.store.read import StarSet, load_stars
from spectrafm.training import resume
from spectrafm.training.loop import Run
from spectrafm.training.options import Stage
from spectrafm.training.processes import Processes, processes
from spectrafm.training.stars import balanced, choose, label_scaling, meets, subset, to_device

logger = logging.getLogger(__name__)


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
    store : Path
        ``store.zarr``.
    output : Path
        ``models/<stage>``: model.safetensors, config.json, README.md, metrics.csv, SHA256SUMS.
    name : str
        The stage's name.
    stage : spectrafm.training.options.Stage
    model : spectrafm.networks.options.Model
        Sizes of a new network; a network that is started from keeps its own.
    start : Path, optional
        Folder of the model whose weights are the start.
    checkpoints : Path, optional
        Folder of checkpoints; a training found there under way is gone on with.

    Raises
    ------
    SpectraFMError
        When options, store and starting model do not fit each other, or the loss is not finite.
    InterruptedTraining
        When a signal has stopped it.
    """
    if (stage.start_from is None) != (start is None):
        raise SpectraFMError("--start and --start_from go together")
    with processes() as together:
        if not together.first:
            logging.getLogger("spectrafm").setLevel(logging.WARNING)
        _make_deterministic(stage.deterministic)
        device = _device(together)
        training, validation = _choose_stars(store, stage)
        torch.manual_seed(stage.seed)
        network = _starting_network(stage, model, training, start).to(device)
        request = _requests(network, stage).to(device)
        _freeze(network, stage.freeze)
        stars = to_device(training, network, request, stage.windows, device)
        judged = to_device(validation, network, request, stage.windows, device)

        run = Run(name, stage, network, request, stars, judged, together)
        kept = None
        if checkpoints is not None:
            options = {"stage": stage.model_dump(mode="json"), **saved.architecture(network)}
            data = (training.flux, training.label, *network.state_dict().values())
            kept = resume.resume(run, checkpoints, options, data)
        run.fit(kept)
        if together.first:
            _write(output, run, training, validation, start)
            if kept is not None:
                kept.remove()


def _write(
    output: Path, run: Run, training: StarSet, validation: StarSet, start_from: Path | None
) -> None:
    """Write the model's folder, whole or not at all."""
    with files.atomic_path(output) as folder:
        folder.mkdir()
        facts = _facts(run, training, validation, start_from)
        saved.save_pretrained(folder, run.network, facts)
        files.write_text(folder / "metrics.csv", pd.DataFrame(run.metrics).to_csv(index=False))
        files.write_text(folder / "README.md", model_card(facts))
        saved.write_checksums(folder)


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
    """Have torch refuse every algorithm that does not give the same bits each time, or allow it."""
    if deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def _choose_stars(store: Path, stage: Stage) -> tuple[StarSet, StarSet]:
    """Training and validation stars of a stage.

    Validation stars are of the same kind as the training stars (same condition, other split).
    ``selection: paper`` is the authors' choice instead: stars of the training split, half of them
    iron-poor.
    """
    everyone = load_stars(store, stage.spectra, "train", stage.windows)
    training = choose(everyone, stage.stars)
    if stage.selection == "paper":
        return training, balanced(everyone)
    validation = load_stars(store, stage.spectra, "validation", stage.windows)
    validation = subset(validation, meets(validation, stage.stars.where))
    if not len(validation.apogee_id):
        raise SpectraFMError(f"{store}: no validation star fulfils {stage.stars.where!r}")
    return training, validation


def _starting_network(
    stage: Stage, model: Model, stars: StarSet, start_from: Path | None
) -> nn.Module:
    if start_from is not None:
        network, _ = saved.from_pretrained(start_from)
        return network
    if stage.architecture == "fcnn":
        column = [LABELS.index(label) for label in stage.labels]
        network = FCNN(torch.from_numpy(stars.wavelength.copy()), stage.labels)
        network.learn_flux_mean(torch.from_numpy(stars.flux))
        label = torch.from_numpy(stars.label[:, column])
        network.label_centre.copy_(label.nanmean(dim=0))
        network.label_scale.copy_((label - label.nanmean(dim=0)).square().nanmean(dim=0).sqrt())
        return network
    network = SpectraFM(model, LABELS)
    centre, scale = label_scaling(stars.label)
    network.label_centre.copy_(torch.from_numpy(centre))
    network.label_scale.copy_(torch.from_numpy(scale))
    return network


def _requests(network: nn.Module, stage: Stage) -> Tensor:
    for label in stage.labels:
        if label not in network.labels:
            raise SpectraFMError(
                f"labels: the network does not know {label}; it knows {', '.join(network.labels)}"
            )
    return torch.tensor([network.labels.index(label) for label in stage.labels])


def _freeze(network: nn.Module, parts: list[str]) -> None:
    """Keep the named parts' weights as they are.

    Raises
    ------
    SpectraFMError
        When the network has no such part, or nothing would be left to train.
    """
    for part in parts:
        try:
            network.get_submodule(part).requires_grad_(False)
        except AttributeError:
            raise SpectraFMError(f"freeze: the network has no part {part!r}") from None
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SpectraFMError("freeze: nothing is left to train")


def _facts(
    run: Run, training: StarSet, validation: StarSet, start_from: Path | None
) -> dict[str, Any]:
    """What ``config.json`` says about how the model was made."""
    stage = run.stage
    facts = {
        "stage_name": run.name,
        "stage": stage.model_dump(mode="json"),
        "started_from": None if start_from is None else start_from.name,
        "tokens": stage.sampling.tokens,
        "epoch": run.best_epoch,
        "epochs_trained": run.epoch,
        "training_star_count": len(training.apogee_id),
        "validation_star_count": len(validation.apogee_id),
        "validation_loss": _loss_at(run.metrics, run.best_epoch),
        "mock": training.mock,
        "skipped_steps": run.skipped,
        "environments": run.environments,
        **files.provenance(),
    }
    if stage.stars.count is not None:
        facts["training_stars"] = training.apogee_id.tolist()
    return facts


def _loss_at(metrics: list[dict[str, float]], epoch: int) -> float | None:
    """Validation loss of an epoch, where one was measured."""
    return next((row["validation_loss"] for row in metrics if row["epoch"] == epoch), None)
