"""The five labels, in the one order used everywhere (paper section 3)."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Label(NamedTuple):
    """A stellar label: its allStar column and how people write it."""

    name: str  # allStar column
    unit: str
    symbol: str  # matplotlib mathtext


TABLE = (
    Label("TEFF", "K", r"$T_\mathrm{eff}$"),
    Label("LOGG", "log10(cm s-2)", r"$\log g$"),
    Label("O_FE", "dex", "[O/Fe]"),
    Label("MG_FE", "dex", "[Mg/Fe]"),
    Label("FE_H", "dex", "[Fe/H]"),
)

LabelName = Literal["TEFF", "LOGG", "O_FE", "MG_FE", "FE_H"]

LABELS = tuple(label.name for label in TABLE)
UNITS = {label.name: label.unit for label in TABLE}
SYMBOLS = {label.name: label.symbol for label in TABLE}

#: [Fe/H] below which a star counts as iron-poor (paper section 4.1).
IRON_POOR = -1.0


def error_column(label: str) -> str:
    """Name of the allStar column that holds a label's one-sigma error."""
    return f"{label}_ERR"
