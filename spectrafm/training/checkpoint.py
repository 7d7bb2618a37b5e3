"""Checkpoints of a training under way: what is needed to go on as if nothing had happened.

They live outside the outputs that the workflow declares, since Snakemake deletes those when a job
starts or fails; their folder carries a fingerprint of options, data and starting weights, so that
another configuration never resumes from them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spectrafm import files


class State(NamedTuple):
    """A checkpoint's content: named tensors, and plain facts (epoch, step, metrics ...)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def fingerprint(options: dict[str, Any], *arrays) -> str:
    """Short hash of a training's options, data and starting weights.

    Parameters
    ----------
    options : dict
        Anything that JSON can write.
    *arrays : ndarray or Tensor
    """
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for array in arrays:
        values = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
        digest.update(memoryview(values.copy(order="C")).cast("B"))
    return digest.hexdigest()[:16]


def save(path: Path, state: State) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.tensors.items()}
    with files.atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"facts": json.dumps(state.facts)})


def load(path: Path) -> State | None:
    """Read a checkpoint; None where there is none, or where it cannot be read."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return State(tensors, json.loads(opened.metadata()["facts"]))
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None


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


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names with ``prefix.`` before them."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those that `with_prefix` named, under their own names."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's present weights, safe from further training."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
