"""Counting the selected stars: asked = verified + unverified + missing."""

from __future__ import annotations

import numpy as np
import pandas as pd


def account(asked: int, verified: np.ndarray, missing: pd.DataFrame) -> dict[str, int]:
    """Count the selected stars: asked = verified + unverified + missing.

    Parameters
    ----------
    asked : int
        Number of stars selected.
    verified : numpy.ndarray
        bool, shape (stars,): whether the file of each stored star has the published SHA-1.
    missing : pandas.DataFrame
        Table of missing files that `fetch_spectra` wrote; stars in it whose column ``replaced`` is
        true are stored, with another of their observations.

    Returns
    -------
    dict of str to int
        The four counts by name.
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
