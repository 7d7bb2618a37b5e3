"""Sampling scheme ``window``: every pixel of one window, or of all windows, in order."""

from __future__ import annotations

from spectrafm.training.schemes.base import Scheme


class Window(Scheme):
    """All stars of a step show every pixel of the same window, missing ones included.

    Every fourth step shows all windows together, so that the network can read either.
    """

    whole = True
    all_every = 4
