"""Writing the folder of a model whose weights a test sets by hand."""

from collections.abc import Sequence
from pathlib import Path

from spectrafm.integrity import write_checksums
from spectrafm.networks.base import Network
from spectrafm.networks.saved import save_pretrained


def write_model(
    folder: Path,
    network: Network,
    windows: Sequence[Sequence[float]],
    tokens: int = 64,
    labels: Sequence[str] | None = None,
) -> Path:
    """Write a network as ``train`` does, as if a stage had trained it in these windows, Angstrom.

    Parameters
    ----------
    folder : pathlib.Path
        Created here.
    network : spectrafm.networks.base.Network
    windows : sequence of (float, float), Angstrom
    tokens : int
        Pixels per star of the invented training.
    labels : sequence of str, optional
        Labels of the invented training; default: all that the network knows.
    """
    folder.mkdir(parents=True)
    stage = {
        "architecture": network.architecture,
        "start_from": None,
        "spectra": "observed",
        "windows": [list(window) for window in windows],
        "stars": {"where": None, "count": None},
        "labels": list(labels or network.labels),
        "selection": "validation",
        "flux_range": [0.05, 1.2],
    }
    facts = {
        "stage_name": folder.name,
        "stage": stage,
        "tokens": tokens,
        "training_star_count": 0,
        "mock": True,
    }
    save_pretrained(folder, network, facts)
    write_checksums(folder)
    return folder
