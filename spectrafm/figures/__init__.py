"""The figures: one file each, and a line here, from which command, rule and report follow."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Plot(NamedTuple):
    """A figure: where its function is, what the configuration names for it, and what by default."""

    where: str  # module:function
    shows: Literal["star", "models", "prediction", "predictions", "attention"]
    default: Any = None


FIGURES = {
    "figure1": Plot("spectrafm.figures.figure1:figure1", "star"),
    "figure2": Plot(
        "spectrafm.figures.figure2:figure2",
        "models",
        ("pretrain", "finetune_observed", "finetune_iron"),
    ),
    "figure3": Plot(
        "spectrafm.figures.figure3:figure3", "prediction", "finetune_observed--first_half"
    ),
    "figure4": Plot(
        "spectrafm.figures.figure4:figure4",
        "predictions",
        (
            "fcnn--iron_window",
            "pretrain--iron_window",
            "finetune_observed--iron_window",
            "finetune_iron--iron_window",
        ),
    ),
    "figure5": Plot("spectrafm.figures.figure5:figure5", "attention"),
}
