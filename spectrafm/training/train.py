"""One training stage: from stars and starting weights to a model's folder."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.inference.model import TrainedModel
from spectrafm.integrity import hashes_beside
from spectrafm.networks import NETWORKS, saved
from spectrafm.networks.base import ClosedForm, Network
from spectrafm.networks.options import Model
from spectrafm.options import checked_name
from spectrafm.outputs import claimed
from spectrafm.plugs import load
from spectrafm.store.read import StarSet
from spectrafm.training import resume
from spectrafm.training.choice import stars_of
from spectrafm.training.extrapolation import extrapolation_of
from spectrafm.training.loop import Training
from spectrafm.training.model_folder import Start, write_model
from spectrafm.training.options import Stage
from spectrafm.training.processes import Processes, processes
from spectrafm.training.replay import replay_of
from spectrafm.training.schemes import SCHEMES
from spectrafm.training.stars import DeviceStars, column_of, to_device

logger = logging.getLogger(__name__)


def train(
    store: Path,
    *,
    name: str,
    output: Path,
    start: Path | None = None,
    teacher: Path | None = None,
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
    teacher : pathlib.Path, optional
        Folder of the model that labels the stars; required with ``--pseudo_labels.teacher``, and
        only then.
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
    if (stage.pseudo_labels.teacher is None) != (teacher is None):
        raise SpectraFMError("--teacher and --pseudo_labels.teacher go together")
    with processes() as together, _claims(together, output, checkpoints and checkpoints / name):
        if not together.first:
            logging.getLogger("spectrafm").setLevel(logging.WARNING)
        _make_deterministic(stage.deterministic)
        device = _device(together)
        network, begun = _loaded(start, stage)
        found = _network_class(stage)
        errors = found.reads_errors(model, stage.reads) if network is None else network.wants_errors
        labelling = None if teacher is None else _teacher(teacher, stage)
        replays_start = stage.replay.spectra == "start"
        remembering = TrainedModel.load(start) if replays_start else None
        chosen = stars_of(store, stage, errors, remembering, labelling)
        training, validation = chosen.training, chosen.validation
        made_with = hashes_beside(output, [store, *filter(None, (start, teacher))])
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

        simulated = [begun.name] if begun is not None and begun.facts.get("mock") else []
        simulated += [labelling.folder.name] if labelling is not None and labelling.mock else []
        if simulated and not training.mock:
            logger.warning(
                "%s: learns from %s, which learned from mock stars", name, " and ".join(simulated)
            )
        logger.info(
            "%s: %d training stars, %d validation stars, %d pixels, labels %s",
            name, len(stars), len(validation_stars), stars.flux.shape[1], ", ".join(labels),
        )  # fmt: skip
        replay = None
        if stage.replay.spectra is not None:
            gap = chosen.gap if stage.replay.spectra == "painted" else None
            replay = replay_of(chosen.replayed, gap, stage, network, request)
            logger.info(
                "%s: replays %d %s spectra, %g beside each star",
                name, len(replay.stars), stage.replay.spectra, stage.replay.ratio,
            )  # fmt: skip
        under_way = Training(
            name, stage, network, request, stars, validation_stars, together, replay
        )
        untrained = copy.deepcopy(network) if stage.extrapolate else None
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
            if untrained is not None:
                under_way.extrapolation = extrapolation_of(
                    under_way, untrained, training, validation_stars
                )
                if under_way.extrapolation is not None:
                    network.extrapolate(under_way.extrapolation)
        if together.first:
            mock = training.mock or bool(simulated)
            write_model(output, under_way, chosen, begun, made_with, mock)
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


def _teacher(folder: Path, stage: Stage) -> TrainedModel:
    """Load the model that labels the stars.

    Raises
    ------
    SpectraFMError
        When it is that of another stage, or does not know one of the stage's labels.
    """
    trained = TrainedModel.load(folder)
    found, wanted = trained.facts["stage_name"], stage.pseudo_labels.teacher
    if found != wanted:
        raise SpectraFMError(
            f"{folder}: holds the model of stage {found!r}, not of {wanted!r} "
            "(--pseudo_labels.teacher)"
        )
    unknown = [name for name in stage.labels or [] if name not in trained.labels]
    if unknown:
        raise SpectraFMError(f"{folder}: the teacher does not know {', '.join(unknown)}")
    return trained


def _network_class(stage: Stage) -> type[Network]:
    return load(NETWORKS[stage.architecture].where)


def _require_scheme(network: Network, stage: Stage) -> None:
    """Require a sampling scheme whose pixels the network, and smooth noise, can read.

    Raises
    ------
    SpectraFMError
        When a network whose tokens hold several pixels, or noise that is smooth along the pixels,
        would meet single pixels.
    """
    sampling = stage.sampling
    if load(SCHEMES[sampling.scheme]).whole:
        return
    whole = ", ".join(name for name, where in SCHEMES.items() if load(where).whole)
    for name in ("line_noise", "continuum_noise"):
        if getattr(sampling, name) > 0:
            raise SpectraFMError(
                f"sampling.{name}: scheme {sampling.scheme} shows single pixels: set "
                f"sampling.scheme to one of {whole}"
            )
    if network.reads_whole:
        raise SpectraFMError(
            f"sampling.scheme: {sampling.scheme}: this network reads whole windows: "
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
