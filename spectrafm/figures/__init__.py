"""Registry of the figures: each is one file of this package and a line here.

The command line, the workflow's rules and the report take their figures from this registry.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Plot(NamedTuple):
    """A figure: its function, the kind of its inputs, and their names by default."""

    where: str  # module:function
    shows: Literal[
        "star",
        "models",
        "prediction",
        "predictions",
        "calibration",
        "learning_curve",
        "draws",
        "attention",
    ]
    default: Any = None
    alone: bool = False  # made by its own target only
    optional: bool = False  # made where the configuration names what it shows


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
    "residuals": Plot("spectrafm.figures.residuals:residuals", "prediction", optional=True),
    "figure5": Plot("spectrafm.figures.figure5:figure5", "attention"),
    # Drawn from the table of the predictions that the configuration names.
    "calibration": Plot("spectrafm.figures.calibration:calibration", "calibration"),
    # Drawn from the tables of the stages in the sections of their names.
    "fewshot": Plot("spectrafm.figures.fewshot:fewshot", "draws", alone=True),
    "learning_curve": Plot(
        "spectrafm.figures.learning_curve:learning_curve", "learning_curve", alone=True
    ),
}
