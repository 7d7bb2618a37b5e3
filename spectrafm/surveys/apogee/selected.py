"""What ``selected.parquet`` says of itself, for the verbs that read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.labels import PAPER_LABELS, Label
from spectrafm.surveys.apogee.options import Release


def read_selected(path: Path) -> tuple[pd.DataFrame, Release, tuple[Label, ...]]:
    """Read selected or alternate stars, the release that they are of, and their labels.

    Raises
    ------
    SpectraFMError
        When the table cannot be read, or does not say its release.
    """
    table = read_parquet(path)
    facts: dict[str, Any] = table.attrs
    if not {"release", "aspcap"} <= set(facts):
        raise SpectraFMError(f"{path}: does not say its release: not written by select-stars")
    release = Release(release=facts["release"], aspcap=facts["aspcap"])
    labels = tuple(
        Label(name, label["unit"], label["symbol"])
        for name, label in facts.get("labels", {}).items()
    )
    # Tables of versions without configured labels have the paper's.
    return table, release, labels or PAPER_LABELS
