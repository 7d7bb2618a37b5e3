"""Reading of a model's folder for figures and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet

#: File that `train` writes where a stage learns from a number of drawn stars.
TRAINING_STARS = "training_stars.parquet"


def facts_of(model: Path) -> dict[str, Any]:
    """Read a model's ``config.json``, after checking the SHA-256 of the model's files.

    Raises
    ------
    SpectraFMError
        When the model is missing or damaged, or its ``config.json`` is invalid.
    """
    from spectrafm.networks.saved import CONFIG, check_checksums
    from spectrafm.networks.untrusted import read_facts

    if not model.is_dir():
        raise SpectraFMError(f"{model}: no such model")
    check_checksums(model)
    return read_facts(model / CONFIG)


def training_iron(model: Path) -> np.ndarray | None:
    """Read the [Fe/H] (dex) of a model's drawn training stars; None where none were drawn.

    The result is also None for models of version 0.1, which list the stars without labels.

    Raises
    ------
    SpectraFMError
        When the model is missing or damaged.
    """
    facts_of(model)
    path = model / TRAINING_STARS
    if not path.exists():
        return None
    stars = read_parquet(path)
    return stars["FE_H"].dropna().to_numpy() if "FE_H" in stars else None
