"""Parsing the lists of SHA-1 that archives publish: one line a file, as ``sha1sum`` writes it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_LINE = re.compile(r"([0-9a-fA-F]{40})\s+\*?(\S+)")


def listed(line: str) -> tuple[str, str] | None:
    """File name (without folder) and SHA-1 from a line of a checksum list; None if malformed."""
    found = _LINE.fullmatch(line.strip())
    return (PurePosixPath(found[2]).name, found[1].lower()) if found else None


def sha1s_in(content: bytes) -> dict[str, str]:
    """SHA-1 by file name from the bytes of a checksum list; malformed lines are skipped."""
    lines = content.decode("utf-8", errors="replace").splitlines()
    return dict(found for found in map(listed, lines) if found)
