"""Paths below the root of an archive, and where a local archive has its root."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spectrafm.errors import SpectraFMError


def checked_path(path: str) -> str:
    """Return ``path`` when it stays below whatever root it is put behind.

    Raises
    ------
    SpectraFMError
        When it is absolute, has a component that is empty, ``.`` or ``..``, or a character that
        cannot be printed.
    """
    if not path.isprintable() or {"", ".", ".."} & set(path.split("/")):
        raise SpectraFMError(f"{path!r} is not a path below the root of the archive")
    return path


def local_root(source: str) -> Path | None:
    """Folder that a local source names; None for a server."""
    parts = urlsplit(source)
    if parts.scheme in ("http", "https"):
        return None
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(source)


def below(root: Path, path: str) -> Path:
    """A file of a local archive; whatever ``path`` says, it stays below the root."""
    return root / checked_path(path)
