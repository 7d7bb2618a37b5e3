"""Labels: the catalogue columns that networks predict, as the configuration defines them."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from spectrafm.errors import SpectraFMError
from spectrafm.options import Section


class Label(NamedTuple):
    """A stellar label, as stores, networks and predictions describe it."""

    name: str  # name of the catalogue column
    unit: str  # in a form that `astropy.units.Unit` parses
    symbol: str  # matplotlib mathtext


def _unit(value: str) -> str:
    from astropy.units import Unit

    try:
        Unit(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no unit that astropy knows ({error})") from None
    return value


#: A unit in a form that `astropy.units.Unit` parses.
LabelUnit = Annotated[str, AfterValidator(_unit)]

#: Name of a catalogue column; it becomes part of output columns and of command lines.
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]


class LabelOptions(Section):
    """Unit, symbol and error column of one label."""

    unit: LabelUnit = Field(
        "dex", description="unit, as astropy.units.Unit parses it: K, dex, dex(cm s-2)"
    )
    symbol: str | None = Field(
        None, description="matplotlib mathtext for figures; null: the column's name"
    )
    error: LabelName | None = Field(
        None, description="catalogue column with the one-sigma error; null: the name with _ERR"
    )


#: The labels of the paper (section 3), in its order.
PAPER: Mapping[str, LabelOptions] = {
    "TEFF": LabelOptions(unit="K", symbol=r"$T_\mathrm{eff}$"),
    "LOGG": LabelOptions(unit="dex(cm s-2)", symbol=r"$\log g$"),
    "O_FE": LabelOptions(symbol="[O/Fe]"),
    "MG_FE": LabelOptions(symbol="[Mg/Fe]"),
    "FE_H": LabelOptions(symbol="[Fe/H]"),
}


class Labels(Section):
    """The labels of a run, in the order of the store and of the networks."""

    labels: dict[LabelName, LabelOptions] = Field(
        dict(PAPER),
        min_length=1,
        description="catalogue columns to learn, each with unit, symbol and error column",
    )

    def table(self) -> tuple[Label, ...]:
        """Name, unit and symbol of each label; the symbol defaults to the name."""
        return tuple(
            Label(name, label.unit, label.symbol or name) for name, label in self.labels.items()
        )

    def error_columns(self) -> tuple[str, ...]:
        """Catalogue column of each label's one-sigma error."""
        return tuple(label.error or error_column(name) for name, label in self.labels.items())


#: A condition such as ``FE_H > -1``: the name of a label or of a column of the store, a comparison
#: and a number; several are joined by ``and``.
_ONE = r"([A-Za-z][A-Za-z0-9_]*) *(<=|>=|<|>) *(-?[0-9]+(?:\.[0-9]+)?)"
CONDITION = rf"^{_ONE}(?: and {_ONE})*$"

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

#: The paper's labels as `Label`, and their names.
PAPER_LABELS = Labels().table()
LABELS = tuple(label.name for label in PAPER_LABELS)
SYMBOLS = {label.name: label.symbol for label in PAPER_LABELS}

#: [Fe/H] below which a star counts as iron-poor (paper section 4.1).
IRON_POOR = -1.0

#: A star with log g below 3.0 is a giant, one with log g above 4.0 a dwarf (paper section 4.2).
GIANT_BELOW = 3.0
DWARF_ABOVE = 4.0


def names_in(condition: str | None) -> list[str]:
    """Names of the labels and columns in a condition; none without one."""
    return [name for name, _, _ in re.findall(_ONE, condition or "")]


def fulfils(condition: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mask of the stars that fulfil a condition; a star without a value does not, shape (n,).

    Parameters
    ----------
    condition : str
        As `CONDITION`.
    values : mapping of str to numpy.ndarray, shape (n,)
        Labels and columns by name.

    Raises
    ------
    SpectraFMError
        When there is no such label or column.
    """
    found = True
    for name, comparison, bound in re.findall(_ONE, condition):
        if name not in values:
            raise SpectraFMError(f"the store has no label {name}; it has {', '.join(values)}")
        found = found & _COMPARE[comparison](values[name], float(bound))
    return found


def place_of(name: str, labels: Sequence[Label]) -> int:
    """Place of a label among others.

    Raises
    ------
    SpectraFMError
        When it is not among them.
    """
    names = [label.name for label in labels]
    if name not in names:
        raise SpectraFMError(f"the store has no label {name}; it has {', '.join(names)}")
    return names.index(name)


def error_column(label: str) -> str:
    """Name of a store's or table's column that holds a label's one-sigma error."""
    return f"{label}_ERR"
