"""How the stars of a selection came out: asked = verified + unverified + missing."""

from __future__ import annotations

import numpy as np
import pandas as pd


def account(asked: int, verified: np.ndarray, missing: pd.DataFrame) -> dict[str, int]:
    """How the stars asked for came out: asked = verified + unverified + missing.

    Parameters
    ----------
    asked : int
    verified : numpy.ndarray of bool
        Of each stored star, whether its file has the published SHA-1.
    missing : pandas.DataFrame
        Of `fetch_spectra`; stars that were replaced are stored.
    """
    counts = {
        "asked": asked,
        "verified": int(np.sum(verified)),
        "unverified": int(np.sum(~verified)),
        "missing": int(np.sum(~missing["replaced"])),
    }
    stored = counts["verified"] + counts["unverified"]
    assert asked == stored + counts["missing"], f"the stars do not add up: {counts}"
    return counts
