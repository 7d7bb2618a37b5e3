"""Checkpoints of a training: everything that is needed to resume it bit for bit.

Checkpoints live outside the outputs that the workflow declares, since Snakemake deletes those when
a job starts or fails. A folder of checkpoints belongs to one training: its name carries a hash of
options, data and starting weights, so that another configuration never resumes from it. The folder
keeps the last two checkpoints. Each holds the best weights so far beside the present ones, and a
SHA-256 of its content, since safetensors itself does not detect a flipped bit.
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

#: Number of checkpoints kept: the newest, and the previous one in case the newest is damaged.
KEPT = 2


class State(NamedTuple):
    """A training between two steps: named tensors, and plain values (step, metrics ...)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def key_of(options: Mapping[str, Any], *arrays) -> str:
    """Compute a short hash of a training's options, data and starting weights.

    Parameters
    ----------
    options : mapping
        Anything that JSON can write.
    *arrays : numpy.ndarray or Tensor
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
    folder : pathlib.Path
        ``checkpoints/<stage>-<key>``.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, state: State) -> Path:
        """Write a checkpoint atomically, delete all but the last two, return the path."""
        path = self.folder / f"step-{state.facts['step']:010d}.safetensors"
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
        facts = json.dumps(state.facts)
        metadata = {"facts": facts, "sha256": _digest(tensors, facts)}
        with files.atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        files.crash_point("pruning", path)
        for old in self._paths()[:-KEPT]:
            files.remove(old)
        return path

    def newest(self) -> Path | None:
        """Path of the newest readable checkpoint; None where there is none.

        A damaged checkpoint is logged and deleted; the previous one is used.
        """
        for path in reversed(self._paths()):
            try:
                self.read(path)
            except SpectraFMError as error:
                logger.warning("%s: deleted, the previous checkpoint is used", error)
                files.remove(path)
            else:
                return path
        return None

    def read(self, path: Path) -> State:
        """Read a checkpoint.

        Raises
        ------
        SpectraFMError
            When the checkpoint is unreadable or its SHA-256 differs.
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
        """Delete all checkpoints of the training, once its model is written."""
        files.crash_point("removing", self.folder)
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
    """Restore an optimizer's state from the result of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, moment = name.split(".")
            state.setdefault(int(number), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Prepend ``prefix.`` to the names of tensors."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors that `with_prefix` renamed, under their original names."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """Copy the network's present weights, so that further training does not change them."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
