"""Looking up what a registry names (a network, survey or figure) by ``package.module:name``.

A registry maps names to such strings, so that reading it imports none of the code.
"""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def load(where: str) -> Any:
    """Import the object that a registry entry names.

    Parameters
    ----------
    where : str
        ``package.module:name``.
    """
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def docstring_of(where: str) -> str:
    """Read the docstring of a registry entry from the source file, without importing it.

    Parameters
    ----------
    where : str
        ``package.module:name`` of a function or class.

    Raises
    ------
    ModuleNotFoundError
        When the module does not exist.
    AttributeError
        When the module defines no such function or class.
    """
    module, _, name = where.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module}")
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or ""
    raise AttributeError(f"{spec.origin} defines no {name}")


def caption_of(where: str) -> str:
    """First paragraph of the docstring of a registry entry, joined into one line.

    Parameters
    ----------
    where : str
        ``package.module:name`` of a function or class.
    """
    return " ".join(docstring_of(where).partition("\n\n")[0].split())
