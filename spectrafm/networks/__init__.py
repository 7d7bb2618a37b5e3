"""Registry of the network architectures: each is one file of this package and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple


class Architecture(NamedTuple):
    """Properties of an architecture that can be read without importing its module."""

    where: str  # module:class, a `spectrafm.networks.base.Network`
    title: str  # name in figures and tables
    reads: Literal["tokens", "grid"]  # any pixels, by wavelength; only those of its first training
    parts: tuple[str, ...] = ()  # modules that a stage may freeze
    finetunes: bool = True  # whether a training may start from its weights
    # smallest number of stars that it can learn from, by its number of labels
    fewest: Callable[[int], int] = lambda labels: 1


NETWORKS = {
    "spectrafm": Architecture(
        "spectrafm.networks.transformer:SpectraFM",
        "SpectraFM",
        "tokens",
        parts=("embedding", "encoder", "decoder", "head"),
    ),
    "projection": Architecture(
        "spectrafm.networks.projection:Projection",
        "Projection network",
        "tokens",
        parts=("functions", "dense", "mean", "log_variance"),
    ),
    "fcnn": Architecture(
        "spectrafm.networks.fcnn:FCNN",
        "Neural network",
        "grid",
        parts=("dense", "mean", "log_variance"),
    ),
    "mlp": Architecture(
        "spectrafm.networks.mlp:MLP", "MLP", "grid", parts=("dense", "mean", "log_variance")
    ),
    "cnn": Architecture(
        "spectrafm.networks.cnn:CNN",
        "AstroNN's CNN",
        "grid",
        parts=("convolution", "dense", "mean", "log_variance"),
    ),
    "ridge": Architecture("spectrafm.networks.ridge:Ridge", "Ridge regression", "grid"),
    "cannon": Architecture(
        "spectrafm.networks.cannon:Cannon",
        "The Cannon",
        "grid",
        finetunes=False,
        # More than the terms of a quadratic polynomial of the labels.
        fewest=lambda labels: (labels + 1) * (labels + 2) // 2 + 1,
    ),
}
