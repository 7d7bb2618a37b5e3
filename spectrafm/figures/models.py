"""What figures read of a model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spectrafm.errors import SpectraFMError
from spectrafm.files import read_parquet

#: Written by `train` where a stage learns from a number of drawn stars.
TRAINING_STARS = "training_stars.parquet"


def facts_of(model: Path) -> dict[str, Any]:
    """The content of a model's ``config.json``, after its files' SHA-256 have been checked.

    Raises
    ------
    SpectraFMError
        When the model is missing or damaged, or the file is not what it must be.
    """
    from spectrafm.networks.saved import CONFIG, check_checksums
    from spectrafm.networks.untrusted import read_facts

    if not model.is_dir():
        raise SpectraFMError(f"{model}: no such model")
    check_checksums(model)
    return read_facts(model / CONFIG)


def training_iron(model: Path) -> np.ndarray | None:
    """[Fe/H] of the drawn stars that a model learned from; None where none were drawn.

    Models of version 0.1 list the stars without their labels: None, too.

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
