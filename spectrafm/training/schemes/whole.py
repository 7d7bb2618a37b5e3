"""Every pixel of the windows in order: what networks that are bound to a grid read."""

from __future__ import annotations

from spectrafm.training.schemes.base import Scheme


class Whole(Scheme):
    """No choice: a star shows every pixel, missing ones included."""

    every_window = True
    whole = True
