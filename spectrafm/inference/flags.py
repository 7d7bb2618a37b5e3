"""Flags of predictions by name: the reasons to distrust an answer.

A flag in a table is its name, where it has details followed by ``": "`` and these; several are
joined by ``"; "``.
"""

from __future__ import annotations

from collections.abc import Iterable

OUT_OF_LABEL_RANGE = "OUT_OF_LABEL_RANGE"
OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"
FEW_PIXELS = "FEW_PIXELS"
LOW_SNR = "LOW_SNR"
SHIFTED = "SHIFTED"
ASSUMED_UNITS = "ASSUMED_UNITS"
MOCK_TRAINED = "MOCK_TRAINED"
NO_ANSWER = "NO_ANSWER"

#: Meaning of each flag by its name.
FLAGS = {
    OUT_OF_LABEL_RANGE: "a predicted label, or two of them together, lie outside those of the "
    "stars that the model learned from",
    OUT_OF_DISTRIBUTION: "the spectrum is unlike those that the model learned from",
    FEW_PIXELS: "the good pixels cover much less of the model's wavelengths than in training",
    LOW_SNR: "the signal-to-noise ratio is lower than that of the training spectra",
    SHIFTED: "the lines are shifted: no radial velocity was removed, or wavelengths in air were "
    "taken for wavelengths in vacuum",
    ASSUMED_UNITS: "something about the spectrum, such as a unit, was assumed and not given",
    MOCK_TRAINED: "the model learned from simulated stars, and its answers for real ones mean "
    "nothing",
    NO_ANSWER: "there is no answer: no good pixel, or one so far outside the normal range that the "
    "network gives no number",
}

#: What separates the flags of a row.
BETWEEN = "; "


def flag(name: str, details: Iterable[str] = ()) -> str:
    """Write one flag: its name, then ``": "`` and its details, where it has some."""
    text = ", ".join(details)
    return f"{name}: {text}" if text else name


def names_in(flags: str) -> list[str]:
    """Names of the flags in a table's cell, in the order of `FLAGS`."""
    found = {text.partition(":")[0] for text in flags.split(BETWEEN)}
    return [name for name in FLAGS if name in found]
