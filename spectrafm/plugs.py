"""Plugs: what people add. A registry names a thing and where its code is, and imports nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(where: str) -> Any:
    """Import what a registry names.

    Parameters
    ----------
    where : str
        ``package.module:name``.
    """
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
