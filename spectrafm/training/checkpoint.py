"""Checkpoints of a training under way: what is needed to go on as if nothing had happened.

They live outside the outputs that the workflow declares, since Snakemake deletes those when a job
starts or fails. A folder belongs to one training: its name carries a key of options, data and
starting weights, so that another configuration never goes on from them. It keeps the last two
checkpoints; each holds the best weights so far beside the present ones, and a SHA-256 of its
content, since safetensors itself notices no flipped bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.training.processes import digest_of

logger = logging.getLogger(__name__)

#: The one before the newest is there in case the newest is damaged.
KEPT = 2


class State(NamedTuple):
    """A training between two steps: named tensors, and plain facts (step, metrics ...)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def key_of(options: Mapping[str, Any], *arrays) -> str:
    """Short hash of a training's options, data and starting weights.

    Parameters
    ----------
    options : mapping
        Anything that JSON can write.
    *arrays : ndarray or Tensor
    """
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for array in arrays:
        values = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
        digest.update(memoryview(values.copy(order="C")).cast("B"))
    return digest.hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training.

    Parameters
    ----------
    folder : Path
        ``checkpoints/<stage>-<key>``.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, state: State) -> Path:
        """Write a checkpoint, whole or not at all, then drop the oldest; returns its path."""
        path = self.folder / f"step-{state.facts['step']:010d}.safetensors"
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
        facts = json.dumps(state.facts)
        metadata = {"facts": facts, "sha256": _digest(tensors, facts)}
        # A job that a dead Snakemake has left behind may be writing the same.
        with files.atomic_path(path, shared=True) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        for old in self._paths()[:-KEPT]:
            files.remove(old)
        return path

    def newest(self) -> Path | None:
        """The newest checkpoint that is whole; None where there is none.

        A damaged one is told and removed, and the one before it is taken.
        """
        for path in reversed(self._paths()):
            try:
                self.read(path)
            except SpectraFMError as error:
                logger.warning("%s: taking what was before it", error)
                files.remove(path)
            else:
                return path
        return None

    def read(self, path: Path) -> State:
        """Read a checkpoint.

        Raises
        ------
        SpectraFMError
            When one bit of it is not as it was written.
        """
        try:
            with safe_open(path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                metadata = opened.metadata() or {}
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise SpectraFMError(f"{path}: not a readable checkpoint ({error})") from None
        facts = metadata.get("facts", "")
        if metadata.get("sha256") != _digest(tensors, facts):
            raise SpectraFMError(f"{path}: damaged, its SHA-256 differs")
        return State(tensors, json.loads(facts))

    def remove(self) -> None:
        """Drop them all: the training has come to its end."""
        files.remove(self.folder)

    def _paths(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*.safetensors"))


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    return hashlib.sha256(f"{digest_of(tensors)} {facts}".encode()).hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and step counts, by parameter number."""
    return {
        f"optimizer.{number}.{name}": value
        for number, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, moment = name.split(".")
            state.setdefault(int(number), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names with ``prefix.`` before them."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that `with_prefix` named, under their own names."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's present weights, safe from further training."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
