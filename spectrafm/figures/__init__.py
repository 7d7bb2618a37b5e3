"""The figures: one file each, and a line here, from which command, rule and report follow."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
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


def caption(name: str) -> str:
    """The first paragraph of a figure's docstring, read without importing what draws it.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    """
    module, _, function = FIGURES[name].where.partition(":")
    found = find_spec(module)
    tree = ast.parse(Path(found.origin).read_text())
    verb = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function
    )
    paragraph = (ast.get_docstring(verb) or "").split("\n\n")[0]
    return " ".join(paragraph.split())
