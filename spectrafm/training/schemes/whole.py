"""Sampling scheme ``all``: every pixel of the windows in order, for networks bound to a grid."""

from __future__ import annotations

from spectrafm.training.schemes.base import Scheme


class Whole(Scheme):
    """A star shows every pixel of the windows, missing ones included."""

    every_window = True
    whole = True
