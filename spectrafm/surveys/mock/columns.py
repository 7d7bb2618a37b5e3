"""A base class for tables: arrays of the same length, one for each quantity."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Columns:
    """Arrays that share their first axis, with one entry per star or per row of the catalogue."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: np.ndarray | slice) -> Self:
        """The entries at the given positions, in that order."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))
