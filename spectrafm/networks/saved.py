"""Saving a network and loading it again: safetensors and JSON, which hold no code.

A model's folder is untrusted and checked before use: first that every file is a regular file with
the recorded SHA-256, then that ``config.json`` is well formed, then that the weights have the
names, shapes and types of that network. Only then is memory allocated for them.
"""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.integrity import CHECKSUMS, checksum_list
from spectrafm.networks import NETWORKS
from spectrafm.networks.base import Network, labels_of
from spectrafm.networks.untrusted import printable, read_facts, sizes_in
from spectrafm.outputs import ListedFolder
from spectrafm.plugs import load

WEIGHTS = "model.safetensors"
CONFIG = "config.json"

#: The kind of folder that a model is.
MODEL = ListedFolder("a model", (WEIGHTS, CONFIG))

#: Largest file of weights, bytes: 270 million parameters, 30 times the paper's network.
LARGEST_WEIGHTS = 1 << 30

#: Largest safetensors header, bytes: ten thousand tensors.
LARGEST_HEADER = 1 << 20

#: Largest other file, bytes: ``training_stars.parquet`` with the names of 300,000 training stars.
LARGEST_TEXT = 8 << 20

#: Names in safetensors of the types that SpectraFM's networks hold.
TYPE_NAMES = {torch.float32: "F32", torch.float64: "F64"}


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
    with _opened(path) as weights:
        return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """Open a safetensors file whose header is not larger than `LARGEST_HEADER` and consistent."""
    try:
        with open(path, "rb") as handle:
            header = int.from_bytes(handle.read(8), "little")
        if header > LARGEST_HEADER:
            raise SpectraFMError(
                f"{path}: not a readable safetensors file (a header of {header} bytes)"
            )
        with safe_open(path, framework="pt") as weights:
            yield weights
    except OSError as error:
        raise SpectraFMError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except SafetensorError as error:
        reason = printable(str(error))
        raise SpectraFMError(f"{path}: not a readable safetensors file ({reason})") from None


def save_pretrained(folder: Path, network: Network, facts: dict[str, Any]) -> None:
    """Write weights and ``config.json`` into an existing folder.

    Parameters
    ----------
    folder : pathlib.Path
    network : Network
    facts : dict
        Options and record of the training, written to ``config.json``.
    """
    write_weights(folder / WEIGHTS, network.state_dict())
    files.write_json(folder / CONFIG, {**architecture(network), **facts})


def architecture(network: Network) -> dict[str, Any]:
    """Architecture, sizes and labels of a network, as ``config.json`` records them."""
    return {
        "architecture": network.architecture,
        **network.sizes(),
        "labels": list(network.labels),
        "units": {label.name: label.unit for label in network.label_table},
        "symbols": {label.name: label.symbol for label in network.label_table},
    }


def build(facts: dict[str, Any]) -> Network:
    """Build the network that ``config.json`` describes, with fresh weights."""
    found = load(NETWORKS[facts["architecture"]].where)
    sizes = sizes_in(facts["architecture"]).validate_python(facts)
    return found.build(sizes, labels_of(facts))


def check_checksums(folder: Path) -> None:
    """Check every file of a model's folder against its ``SHA256SUMS``, and the list itself.

    The list must equal, byte for byte, what `spectrafm.integrity.write_checksums` writes. Names in
    the list are only compared, never opened.

    Raises
    ------
    SpectraFMError
        When a file differs, is missing, is not listed, or is no regular file; names the file.
    """
    listed = folder / CHECKSUMS
    if not listed.exists():
        raise SpectraFMError(f"{folder}: no {CHECKSUMS}, so not a complete model")
    found = _checksums(folder)
    recorded = listed.read_bytes().decode("ascii", errors="replace")
    entries = dict(line.partition("  ")[::-2] for line in recorded.split("\n") if line)
    for name, digest in found.items():
        if name not in entries:
            raise SpectraFMError(f"{folder / name}: not listed in {CHECKSUMS}")
        if entries[name] != digest:
            raise SpectraFMError(
                f"{folder / name}: SHA-256 differs from {CHECKSUMS}: the file is damaged"
            )
    for name in entries:
        if name not in found:
            raise SpectraFMError(f"{folder}/{printable(name)}: listed in {CHECKSUMS} but missing")
    for name in (WEIGHTS, CONFIG):
        if name not in found:
            raise SpectraFMError(f"{folder / name}: no such file")
    if recorded != checksum_list(found):
        raise SpectraFMError(f"{listed}: damaged")


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model's folder except ``SHA256SUMS``, by name.

    A link may lead anywhere and a pipe never ends, so only regular files within the size limits
    are read.
    """
    digests = {}
    for path in sorted(folder.iterdir()):
        name = path.name
        if name.startswith("."):
            continue
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
            raise SpectraFMError(f"{folder}: holds a file with an odd name, {name!a}")
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise SpectraFMError(f"{path}: not a plain file")
        if status.st_size > (LARGEST_WEIGHTS if name == WEIGHTS else LARGEST_TEXT):
            raise SpectraFMError(f"{path}: {status.st_size:,} bytes are more than a model has")
        if name != CHECKSUMS:
            digests[name] = files.sha256_of_file(path)
    return digests


def from_pretrained(folder: str | Path) -> tuple[Network, dict[str, Any]]:
    """Load a trained network.

    Parameters
    ----------
    folder : str or pathlib.Path
        ``results/<run>/models/<stage>``.

    Returns
    -------
    network : Network
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
    facts = read_facts(folder / CONFIG)
    weights = folder / WEIGHTS
    # On the meta device tensors have shapes but no memory.
    with torch.device("meta"):
        _require_fit(weights, build(facts).state_dict())
    tensors = read_weights(weights)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise SpectraFMError(f"{weights}: {name} is not finite")
    network = build(facts)
    network.load_state_dict(tensors)
    return network.eval(), facts


def _require_fit(path: Path, expected: dict[str, torch.Tensor]) -> None:
    """Check, from the header alone, that a file holds exactly the tensors of a network."""
    with _opened(path) as weights:
        names = set(weights.keys())
        for what, differing in (
            ("lacks", expected.keys() - names),
            ("has an unknown", names - expected.keys()),
        ):
            if differing:
                first = printable(min(differing))
                raise SpectraFMError(f"{path}: does not fit {CONFIG} ({what} {first})")
        for name, tensor in expected.items():
            found = weights.get_slice(name)
            kind = [TYPE_NAMES[tensor.dtype], *tensor.shape]
            found = [found.get_dtype(), *found.get_shape()]
            if found != kind:
                raise SpectraFMError(
                    f"{path}: does not fit {CONFIG} ({name} is {found}, not {kind})"
                )
