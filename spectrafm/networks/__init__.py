"""The architectures: one file each, and a line here."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Architecture(NamedTuple):
    """What the configuration, tables and figures know of an architecture without importing it."""

    where: str  # module:class, a `spectrafm.networks.base.Network`
    title: str  # as figures and tables name it
    reads: Literal["tokens", "grid"]  # any pixels by their wavelength, or the pixels it began with
    parts: tuple[str, ...] = ()  # what a stage may freeze
    finetunes: bool = True  # whether a training may start from its weights


NETWORKS = {
    "spectrafm": Architecture(
        "spectrafm.networks.transformer:SpectraFM",
        "SpectraFM",
        "tokens",
        parts=("embedding", "encoder", "decoder", "head"),
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
        "spectrafm.networks.cannon:Cannon", "The Cannon", "grid", finetunes=False
    ),
}
