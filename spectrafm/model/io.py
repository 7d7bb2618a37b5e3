"""Saving a network and loading it again: safetensors and JSON, which hold no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from spectrafm import config, files
from spectrafm.baselines.fcnn import FCNN
from spectrafm.files import SpectraFMError
from spectrafm.model.spectrafm import SpectraFM

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CHECKSUMS = "SHA256SUMS"


def write_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write named tensors as safetensors, whole or not at all."""
    with files.atomic_path(path) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises
    ------
    SpectraFMError
        When it is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise SpectraFMError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise SpectraFMError(f"{path}: not a readable safetensors file ({error})") from None


def save_pretrained(folder: Path, network: nn.Module, facts: dict[str, Any]) -> None:
    """Write weights and ``config.json`` into an existing folder.

    Parameters
    ----------
    folder : Path
    network : SpectraFM or FCNN
    facts : dict
        What made the network; becomes part of ``config.json``.
    """
    write_weights(folder / WEIGHTS, network.state_dict())
    files.write_json(folder / CONFIG, {**architecture(network), **facts})


def architecture(network: nn.Module) -> dict[str, Any]:
    """What is needed to build the network anew."""
    if isinstance(network, SpectraFM):
        sizes = {"architecture": "spectrafm", "model": network.options.model_dump(mode="json")}
    else:
        sizes = {"architecture": "fcnn", "pixels": len(network.wavelength)}
    return {**sizes, "labels": list(network.labels)}


def build(facts: dict[str, Any]) -> nn.Module:
    """Build the network that ``config.json`` describes, with fresh weights."""
    if facts["architecture"] == "fcnn":
        return FCNN(torch.zeros(facts["pixels"]), facts["labels"])
    options = config.validated(config.Model, facts["model"], "model")
    return SpectraFM(options, facts["labels"])


def write_checksums(folder: Path) -> None:
    """List the SHA-256 of every file of a model's folder, as ``sha256sum`` writes it."""
    lines = [
        f"{files.sha256_of_file(path)}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != CHECKSUMS and not path.name.startswith(".")
    ]
    files.write_text(folder / CHECKSUMS, "".join(lines))


def check_checksums(folder: Path) -> None:
    """Compare a model's files with their recorded SHA-256.

    Raises
    ------
    SpectraFMError
        Naming the file that differs or is missing.
    """
    listed = folder / CHECKSUMS
    if not listed.exists():
        raise SpectraFMError(f"{folder}: no {CHECKSUMS}, so not a complete model")
    names = []
    for line in listed.read_text(errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        path = folder / Path(name).name
        if not path.is_file():
            raise SpectraFMError(f"{path}: listed in {CHECKSUMS} but missing")
        if files.sha256_of_file(path) != expected:
            raise SpectraFMError(f"{path}: SHA-256 differs from {CHECKSUMS}: the file is damaged")
        names.append(name)
    for needed in (WEIGHTS, CONFIG):
        if needed not in names:
            raise SpectraFMError(f"{listed}: does not list {needed}")


def from_pretrained(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a trained network.

    Parameters
    ----------
    folder : path-like
        ``results/<run>/models/<stage>``.

    Returns
    -------
    network : SpectraFM or FCNN
        In evaluation mode, on the CPU.
    facts : dict
        The content of ``config.json``.

    Raises
    ------
    SpectraFMError
        When a file is missing, damaged or of another architecture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpectraFMError(f"{folder}: no such model")
    check_checksums(folder)
    facts = files.read_json(folder / CONFIG)
    network = build(facts)
    try:
        network.load_state_dict(read_weights(folder / WEIGHTS))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise SpectraFMError(f"{folder / WEIGHTS}: does not fit {CONFIG} ({reason})") from None
    return network.eval(), facts
