"""Resuming a training from a checkpoint, where one fits."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from spectrafm.errors import SpectraFMError
from spectrafm.training.checkpoint import Checkpoints, key_of
from spectrafm.training.loop import Training

logger = logging.getLogger(__name__)

#: Options of a stage that change no step: a checkpoint stays valid, bit for bit, when they differ.
_NOT_IN_KEY = ("epochs", "resume")


def resume(
    run: Training, folder: Path, options: Mapping[str, Any], data: Iterable[Any]
) -> Checkpoints:
    """Resume from the newest checkpoint of the same training, if there is one.

    Parameters
    ----------
    run : Training
        A training at step 0; it is restored in place to the step of the checkpoint.
    folder : pathlib.Path
        ``checkpoints``, shared by all stages.
    options : mapping
        The stage's options, under ``"stage"``, and the network's.
    data : iterable of numpy.ndarray or Tensor
        Training data and starting weights.

    Returns
    -------
    Checkpoints
        The checkpoints of this training, where it writes further ones.

    Raises
    ------
    SpectraFMError
        When a checkpoint does not fit and ``resume`` is ``exact``, or when the checkpoint lies
        beyond the stage's last epoch.
    """
    exact = run.stage.resume == "exact"
    present = environment(run)
    key = key_of(_identity(options), *data)
    own = Checkpoints(folder / f"{run.name}-{key}")
    run.options = _identity(options)
    path = run.processes.first_ones(own.newest() if run.processes.first else None)
    if path is None:
        _tell_others(run, own, exact)
        return own
    state = own.read(path)
    epoch = state.facts["step"] // run.steps_per_epoch
    if state.facts["step"] > run.stage.epochs * run.steps_per_epoch:
        raise SpectraFMError(
            f"{path}: is in epoch {epoch + 1} already, but stage {run.name} has "
            f"{run.stage.epochs}: delete {own.folder} to start again"
        )
    differing = _differences(state.facts["environments"][-1], present)
    if differing and exact:
        raise SpectraFMError(
            f"{path}: was written with {differing}, so resuming would not give the same bits; "
            f"stages.{run.name}.resume: continue allows it"
        )
    run.restore(state)
    if differing:
        logger.warning(
            "%s: %s was written with %s: resuming nevertheless", run.name, path, differing
        )
        run.environments.append({"from_step": run.step, **present})
    logger.info("%s: resumed after step %d from %s", run.name, run.step, path)
    return own


def _tell_others(run: Training, own: Checkpoints, exact: bool) -> None:
    """Log each checkpoint of the stage that this training cannot resume from, and why.

    Raises
    ------
    SpectraFMError
        When there is one and ``resume`` is ``exact``.
    """
    for folder in sorted(own.folder.parent.glob(f"{run.name}-*")):
        others = Checkpoints(folder)
        ours = re.fullmatch(rf"{run.name}-[0-9a-f]{{16}}", folder.name) and folder != own.folder
        path = others.newest() if ours else None
        if path is None:
            continue
        then, now = (
            _flat(options) for options in (others.read(path).facts["options"], run.options)
        )
        what = _differences(then, now) or "other stars, fluxes or starting weights"
        if exact:
            raise SpectraFMError(
                f"{path}: belongs to a training with {what}; delete {folder} to start again"
            )
        logger.warning(
            "%s: starting from step 0; %s belongs to a training with %s", run.name, path, what
        )


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested options to dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat


def environment(run: Training) -> dict[str, Any]:
    """Device, torch, threads and processes, on which the bits of a result depend."""
    device = run.stars.flux.device
    cuda = device.type == "cuda"
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "processes": run.processes.count,
    }


def _processor() -> str:
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def _identity(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that identify a training: all but those in `_NOT_IN_KEY`."""
    stage = {name: value for name, value in options["stage"].items() if name not in _NOT_IN_KEY}
    return {**options, "stage": stage}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe what differs, as ``threads 2 (now 4), ...``; empty where nothing does."""
    return ", ".join(
        f"{name} {then.get(name)} (now {value})"
        for name, value in now.items()
        if then.get(name) != value
    )
