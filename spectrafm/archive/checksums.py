"""Lists of SHA-1 sums as archives publish them: one line a file, as ``sha1sum`` writes it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_LINE = re.compile(r"([0-9a-fA-F]{40})\s+\*?(\S+)")


def listed(line: str) -> tuple[str, str] | None:
    """Name (without its folder) and SHA-1 that a line of a list gives; None for any other line."""
    found = _LINE.fullmatch(line.strip())
    return (PurePosixPath(found[2]).name, found[1].lower()) if found else None


def sha1s_in(content: bytes) -> dict[str, str]:
    """SHA-1 by file name of a whole list; lines of another form are skipped."""
    lines = content.decode("utf-8", errors="replace").splitlines()
    return dict(found for found in map(listed, lines) if found)
