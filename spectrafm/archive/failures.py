"""Why a file could not be fetched, and what shows that bytes are not the whole published file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from spectrafm.archive.checksums import SUFFIX, flaw_of_list

_HTML = re.compile(rb"\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE)
_FITS_BLOCK = 2880

#: How a FITS file begins.
FITS = b"SIMPLE  ="


@dataclass(frozen=True)
class Failure:
    """Why a file could not be fetched.

    Attributes
    ----------
    reason : str
        Such as ``absent (404)``, ``wrong sha1`` or ``short body``.
    absent : bool
        Whether the source answered that it does not have the file, and no list names it.
    passing : bool
        Whether another try of the same run may succeed.
    wait : float
        Seconds to wait before the next try, as the server demands.
    settled : bool
        Whether no later run can succeed either, because what came is the published file.
    wrong_sha1 : bool
        Whether a whole file came with another SHA-1 than the published one.
    """

    reason: str
    absent: bool = False
    passing: bool = False
    wait: float = 0.0
    settled: bool = False
    wrong_sha1: bool = False


def absence(reason: str, sha1: str | None) -> Failure:
    """Failure of a file that the source does not have; a lie if its SHA-1 is published.

    A server under load may answer 404 for a file that its own checksum list names, and a mirror
    may be incomplete.
    """
    if sha1 is None:
        return Failure(f"absent ({reason})", absent=True)
    return Failure(f"absent ({reason}), although its list names it", passing=True)


def mismatch(found: str, sha1: str | None) -> Failure | None:
    """Failure if a file's SHA-1 differs from the published one; else None."""
    if sha1 is None or found == sha1:
        return None
    reason = f"wrong sha1 ({found}, published {sha1})"
    return Failure(reason, passing=True, wrong_sha1=True)


def flaw_in(path: str, content: BinaryIO, found: str, sha1: str | None) -> Failure | None:
    """Failure if a complete body is not the whole published file; else None.

    Parameters
    ----------
    path : str
        Path or URL of the file; its suffix says what it must be.
    content : BinaryIO
        The body, readable and seekable.
    found : str
        SHA-1 of the body.
    sha1 : str or None
        Published SHA-1; with one, nothing else is judged.
    """
    size = content.seek(0, 2)
    if not size:
        return Failure("empty body", passing=True)
    content.seek(0)
    first = content.read(512)
    flaw = mismatch(found, sha1)
    if sha1 is not None and flaw is None:
        return None
    if _HTML.match(first):
        return Failure("an HTML page in its place", passing=True)
    if flaw is not None:
        return flaw
    reason = None
    if path.endswith(".fits") and (not first.startswith(FITS) or size % _FITS_BLOCK):
        reason = "not a whole FITS file"
    elif path.endswith(SUFFIX):
        content.seek(0)
        reason = flaw_of_list(content.read())
    return None if reason is None else Failure(reason, passing=True)
