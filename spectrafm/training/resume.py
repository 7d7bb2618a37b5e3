"""Whether and how a training goes on from a checkpoint."""

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

#: Options of a stage that say how long and how to go on, not what a step does: a training goes on
#: exactly when they have changed.
_NOT_IN_KEY = ("epochs", "resume")


def resume(
    run: Training, folder: Path, options: Mapping[str, Any], data: Iterable[Any]
) -> Checkpoints:
    """Go on from the newest checkpoint of the same training, if there is one.

    Parameters
    ----------
    run : Training
        Not begun; afterwards where the checkpoint was.
    folder : Path
        ``checkpoints``, shared by all stages.
    options : mapping
        The stage's, under ``"stage"``, and the network's.
    data : iterable of ndarray or Tensor
        What is learned from, and the starting weights.

    Returns
    -------
    Checkpoints
        Where the training's own are written.

    Raises
    ------
    SpectraFMError
        When a checkpoint does not fit and the stage wants exactness, or has gone too far already.
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
            f"{path}: stands in epoch {epoch + 1} already, stage {run.name} is to have "
            f"{run.stage.epochs}: remove {own.folder} to start anew"
        )
    differing = _differences(state.facts["environments"][-1], present)
    if differing and exact:
        raise SpectraFMError(
            f"{path}: was written with {differing}, so going on would not give the same bits; "
            f"stages.{run.name}.resume: continue allows it"
        )
    run.restore(state)
    if differing:
        logger.warning(
            "%s: %s was written with %s: going on all the same", run.name, path, differing
        )
        run.environments.append({"from_step": run.step, **present})
    logger.info("%s: resumed after step %d from %s", run.name, run.step, path)
    return own


def _tell_others(run: Training, own: Checkpoints, exact: bool) -> None:
    """Say that the stage has checkpoints that this training cannot go on from, and why.

    Raises
    ------
    SpectraFMError
        Where the stage wants exactness.
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
                f"{path}: belongs to a training with {what}; remove {folder} to start anew"
            )
        logger.warning("%s: starting anew; %s belongs to a training with %s", run.name, path, what)


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat


def environment(run: Training) -> dict[str, Any]:
    """What the bits of a result depend on, besides options, data and seeds."""
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
    """The options that make it this training."""
    stage = {name: value for name, value in options["stage"].items() if name not in _NOT_IN_KEY}
    return {**options, "stage": stage}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """``threads 2 (now 4), ...``; empty where nothing differs."""
    return ", ".join(
        f"{name} {then.get(name)} (now {value})"
        for name, value in now.items()
        if then.get(name) != value
    )
