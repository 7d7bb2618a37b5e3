"""Reading ``selected.parquet`` with the release and labels in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet
from spectrafm.labels import PAPER_LABELS, Label
from spectrafm.surveys.apogee.options import Release


def read_selected(path: Path) -> tuple[pd.DataFrame, Release, tuple[Label, ...]]:
    """Read a table of selected or alternate stars, with its release and labels.

    Raises
    ------
    SpectraFMError
        When the table cannot be read, or its metadata do not name the release.
    """
    table = read_parquet(path)
    metadata: dict[str, Any] = table.attrs
    if not {"release", "aspcap"} <= set(metadata):
        raise SpectraFMError(f"{path}: does not name its release: not written by select-stars")
    release = Release(release=metadata["release"], aspcap=metadata["aspcap"])
    labels = tuple(
        Label(name, label["unit"], label["symbol"])
        for name, label in metadata.get("labels", {}).items()
    )
    # Older versions had only the paper's labels and did not record them.
    return table, release, labels or PAPER_LABELS
