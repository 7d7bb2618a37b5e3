"""Plugs: what people add. A registry names a thing and where its code is, and imports nothing."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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


def docstring_of(where: str) -> str:
    """Docstring of what a registry names, read from the source: nothing of it is imported.

    Parameters
    ----------
    where : str
        ``package.module:function``.
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
    """First paragraph of the docstring of what a registry names, on one line.

    Parameters
    ----------
    where : str
        ``package.module:function``.
    """
    return " ".join(docstring_of(where).partition("\n\n")[0].split())
