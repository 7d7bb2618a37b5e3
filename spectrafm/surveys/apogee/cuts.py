"""Cuts on the catalogue: rows and stars left after each, and rows removed by each flag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.surveys.apogee import bitmasks, paths
from spectrafm.surveys.apogee.options import Selection


@dataclass(frozen=True)
class Cut:
    """One cut on the rows of the catalogue; one line of the funnel.

    Attributes
    ----------
    text : str
        Description of the cut in ``funnel.csv``.
    stays : callable
        Function of the rows that returns whether each row stays.
    bitmask : str
        Column whose flags remove rows; empty if the cut does not depend on flags.
    bits : mapping of str to int
        Name and bit of each flag that removes a row.
    """

    text: str
    stays: Callable[[pd.DataFrame], pd.Series]
    bitmask: str = ""
    bits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Funnel:
    """Result of applying the cuts.

    Attributes
    ----------
    rows : pandas.DataFrame
        The rows that passed all cuts.
    lines : list of (str, int, int)
        For each cut: its text, and the rows and distinct stars left after it.
    flags : list of (str, str, int, int)
        For each flag of each cut by flags: text of the cut, name of the flag, number of rows
        before the cut with the flag, and number of those with no other flag of the cut.
    """

    rows: pd.DataFrame
    lines: list[tuple[str, int, int]]
    flags: list[tuple[str, str, int, int]]


def apply_cuts(cuts: list[Cut], rows: pd.DataFrame) -> Funnel:
    """Apply the cuts one after the other, counting rows, stars and flags."""
    lines, flags = [], []
    for cut in cuts:
        if cut.bitmask:
            flags += [(cut.text, *counts) for counts in _counted(rows[cut.bitmask], cut.bits)]
        rows = rows[cut.stays(rows)]
        lines.append((cut.text, len(rows), rows["APOGEE_ID"].nunique()))
    return Funnel(rows, lines, flags)


def _counted(values: pd.Series, bits: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """For each flag that occurs, in order of bits: its name, rows with it, rows with it alone."""
    mask = np.bitwise_or.reduce([_bit(bit) for bit in bits.values()])
    cut_by = values.to_numpy(np.int64).view(np.uint64) & mask
    counts = []
    for name, bit in sorted(bits.items(), key=lambda flag: flag[1]):
        if found := np.count_nonzero(cut_by & _bit(bit)):
            counts.append((name, int(found), np.count_nonzero(cut_by == _bit(bit))))
    return counts


def _bit(number: int) -> np.uint64:
    return np.uint64(1) << np.uint64(number)


def cuts_of(selection: Selection) -> list[Cut]:
    """The cuts of a selection, applied before each star's best row is chosen.

    A comparison with NaN is false, so a row with unknown SNR or VSCATTER is dropped.
    """
    cuts = [
        Cut("all rows", lambda rows: pd.Series(True, index=rows.index)),
        Cut(f"SNR > {selection.snr_above:g}", lambda rows: rows["SNR"] > selection.snr_above),
    ]
    for bitmask, names in (("STARFLAG", selection.starflag), ("ASPCAPFLAG", selection.aspcapflag)):
        if names:
            cuts.append(_flag_cut(bitmask, names))
    if selection.vscatter_below is not None:
        text = f"VSCATTER < {selection.vscatter_below:g} km/s"
        cuts.append(Cut(text, lambda rows: rows["VSCATTER"] < selection.vscatter_below))
    cuts.append(Cut("no unsafe name (TELESCOPE FIELD APOGEE_ID)", _safe_names))
    return cuts


def _flag_cut(bitmask: str, names: str | list[str]) -> Cut:
    known = bitmasks.BITMASKS[bitmask]
    if names == "any":
        every = {f"BIT_{bit}": bit for bit in range(64) if bit not in known.values()} | known
        return Cut(f"{bitmask} == 0", lambda rows: rows[bitmask] == 0, bitmask, every)
    mask = bitmasks.mask_of(bitmask, names)
    return Cut(
        f"{bitmask} without {' '.join(names)}",
        lambda rows: (rows[bitmask] & mask) == 0,
        bitmask,
        {name: known[name] for name in names},
    )


def _safe_names(rows: pd.DataFrame) -> pd.Series:
    """Whether the names in each row can be components of a path."""
    kept = pd.Series(True, index=rows.index)
    for column in ("TELESCOPE", "FIELD", "APOGEE_ID"):
        safe = [value for value in rows[column].unique() if _is_safe(value, column)]
        kept &= rows[column].isin(safe)
    return kept


def _is_safe(value: str, column: str) -> bool:
    try:
        return bool(paths.safe_component(value, column))
    except SpectraFMError:
        return False
