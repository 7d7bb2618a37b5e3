"""Sampling scheme ``window``: every pixel of one window in order."""

from __future__ import annotations

from spectrafm.training.schemes.base import Scheme


class Window(Scheme):
    """All stars of a step show every pixel of the same window, missing ones included."""

    whole = True
