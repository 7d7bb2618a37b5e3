"""The lists of SHA-1 that archives publish: whether bytes are a whole list, and what it says."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

#: How the names of such lists end.
SUFFIX = ".sha1sum"

#: One line a file, as ``sha1sum`` writes it; a backslash marks a name with escaped characters.
_LINE = re.compile(r"\\?([0-9a-fA-F]{40})\s+\*?(\S.*)")


def flaw_of_list(content: bytes) -> str | None:
    """Why bytes are not a whole list of checksums; None if they are one.

    A list names at least one file and ends with a whole line. Empty lines, comments and lines of
    files of any kind may stand anywhere; unreadable lines may not prevail.
    """
    if not content.strip():
        return "an empty list of checksums"
    lines = _lines(content)
    read = sum(_LINE.fullmatch(line) is not None for line in lines)
    if read <= len(lines) - read:
        return "not a list of checksums"
    last = content.rpartition(b"\n")[2].decode("utf-8", errors="replace").strip()
    if last and not (_LINE.fullmatch(last) and last.endswith(".fits")):
        # Without the line's end, only a file's whole name shows that it is not cut.
        return "not a whole list of checksums"
    return None


def sha1s_in(content: bytes, folder: str = "") -> dict[str, str]:
    """SHA-1 by file name from the bytes of the checksum list of a folder.

    Parameters
    ----------
    content : bytes
        A list without a flaw; see `flaw_of_list`.
    folder : str
        Folder of the list, relative to the root of the archive. A line may name a file as ``NAME``,
        ``./NAME`` or with the last parts of this folder; files of other folders are left out.
    """
    found = {}
    for line in filter(None, map(_LINE.fullmatch, _lines(content))):
        path = PurePosixPath(line[2])
        within = path.parent.parts
        if path.name and within == PurePosixPath(folder).parts[-len(within) :][: len(within)]:
            found[path.name] = line[1].lower()
    return found


def _lines(content: bytes) -> list[str]:
    """The lines that say something: neither empty nor a comment."""
    lines = (line.strip() for line in content.decode("utf-8", errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
