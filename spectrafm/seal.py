"""The seal of a Parquet file: a SHA-256 of the whole file, inside the file.

Parquet has checksums of its pages of data, but none of its footer, which holds the columns' names
and types and all metadata. A sealed file names, among the metadata of its footer, the SHA-256 of
its own bytes with zeros in place of that SHA-256. A second entry says that the file is sealed, so
that damage to the one is noticed by the other.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from spectrafm.errors import SpectraFMError

_MARK = b"SHA-256 of this file with zeros instead: "
_ZEROS = b"0" * 64

#: Entries of the metadata of a Parquet file that is to be sealed.
UNSEALED = {b"spectrafm.sealed": b"yes", b"spectrafm.seal": _MARK + _ZEROS}

#: Bytes at the end of a file that hold its footer.
_TAIL = 1 << 24

_BLOCK = 1 << 20


def seal(path: str | os.PathLike) -> None:
    """Write the SHA-256 of a Parquet file, whose metadata hold `UNSEALED`, into the file.

    The file must not change afterwards.
    """
    place = _place_of(Path(path))
    assert place is not None, f"{path}: has no place for a seal"
    digest = _digest(Path(path), place)
    with open(path, "r+b") as handle:
        handle.seek(place)
        handle.write(digest)


def is_whole(path: str | os.PathLike) -> bool:
    """Compare a Parquet file with its seal.

    Returns
    -------
    bool
        Whether the file has a seal; False for files of other programs and of older versions.

    Raises
    ------
    SpectraFMError
        When the file differs from its seal.
    """
    path = Path(path)
    place = _place_of(path)
    if place is None:
        return False
    with open(path, "rb") as handle:
        handle.seek(place)
        recorded = handle.read(len(_ZEROS))
    if recorded != _digest(path, place):
        raise SpectraFMError(f"{path}: damaged (the SHA-256 that it names differs)")
    return True


def _place_of(path: Path) -> int | None:
    """Byte at which the digits of a file's seal begin; None where it has no seal."""
    with open(path, "rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        start = handle.seek(max(0, size - _TAIL))
        tail = handle.read()
    # The footer comes last, so that the same text in a column does not matter.
    found = list(re.finditer(re.escape(_MARK), tail))
    return start + found[-1].end() if found else None


def _digest(path: Path, place: int) -> bytes:
    """SHA-256 of a file with zeros in place of its seal, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        _update(digest, handle, place)
        digest.update(_ZEROS)
        handle.seek(place + len(_ZEROS))
        _update(digest, handle)
    return digest.hexdigest().encode()


def _update(digest, handle, count: int | None = None) -> None:
    """Hash ``count`` bytes of an open file, or the rest of it."""
    while count is None or count > 0:
        block = handle.read(_BLOCK if count is None else min(_BLOCK, count))
        if not block:
            return
        digest.update(block)
        count = None if count is None else count - len(block)
