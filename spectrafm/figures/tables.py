"""Tables of the evaluation as figures read them: rows, and groups of stars with a panel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.reading import read_columns

#: Groups of test stars with a panel, and its title.
PANELS = {"poor": "Iron-poor test stars", "rich": "Iron-rich test stars"}


def read_rows(
    table: Path,
    command: str,
    text: Sequence[str],
    numbers: Sequence[str],
    at_least: tuple[str, float],
    further: str | None = None,
) -> pd.DataFrame:
    """Read a CSV table that a command of the evaluation has written.

    Parameters
    ----------
    table : pathlib.Path
    command : str
        Command that writes such tables.
    text, numbers : sequence of str
        Columns with text, and with a number in every row.
    at_least : (str, float)
        A column and the smallest number that it can hold.
    further : str, optional
        Start of the names of further columns with numbers, some of them missing.

    Raises
    ------
    SpectraFMError
        When the file is missing or damaged.
    """
    rows = read_columns(table, f"table of {command}", text, numbers, further)
    column, smallest = at_least
    if not len(rows):
        raise SpectraFMError(f"{table}: not what {command} writes (it has no row)")
    if not (rows[column] >= smallest).all():
        raise SpectraFMError(f"{table}: not what {command} writes ({column} below {smallest:g})")
    return rows


def stars_of(rows: pd.DataFrame) -> str:
    """How many test stars each panel is of, for the figure's note."""
    counts = " and ".join(f"{rows[f'n_{group}'].max():,.0f} {group}" for group in PANELS)
    return f"{counts} test stars"
