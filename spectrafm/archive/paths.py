"""Paths below the root of an archive, and the root folder of a local archive."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spectrafm.errors import SpectraFMError


def checked_path(path: str) -> str:
    """Return ``path`` if it leads to a place below the root that it is appended to.

    Raises
    ------
    SpectraFMError
        When the path is absolute, or has an empty component, a component ``.`` or ``..``, or an
        unprintable character.
    """
    if not path.isprintable() or {"", ".", ".."} & set(path.split("/")):
        raise SpectraFMError(f"{path!r} is not a path below the root of the archive")
    return path


def local_root(source: str) -> Path | None:
    """Root folder of a local source; None for a server."""
    parts = urlsplit(source)
    if parts.scheme in ("http", "https"):
        return None
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Path(source)


def below(root: Path, path: str) -> Path:
    """Path of a file of a local archive.

    Raises
    ------
    SpectraFMError
        When ``path`` leads out of the root; see `checked_path`.
    """
    return root / checked_path(path)
