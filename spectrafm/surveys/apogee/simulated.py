"""What marks the simulated stars of the mock survey: the content of files, never their presence.

A server may answer 403 for a file that it has, and send a page with status 200 for one that it
lacks.
"""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits

from spectrafm.archive.fits import opened_fits
from spectrafm.archive.options import Archive, FileLimits
from spectrafm.archive.source import fetch_one

#: File at the root of a mock survey's tree, and how its text begins.
MARKER = "MOCK_SURVEY"
TEXT = "Simulated stars of SpectraFM's mock survey."

#: Value of VERSION in the primary header of each FITS file of a mock survey.
VERSION = "spectrafm mock survey"


def marks_its_tree(archive: Archive, limits: FileLimits) -> bool:
    """Whether the root of an archive holds the marker of a mock survey."""
    found = fetch_one(MARKER, archive, limits)
    return isinstance(found, bytes) and found.startswith(TEXT.encode())


def may_become_a_mock(folder: Path) -> bool:
    """Whether the mock survey may be written here: nothing is there yet, or an earlier one."""
    try:
        if not folder.is_dir():
            return not (folder.exists() or folder.is_symlink())
        if not any(folder.iterdir()):
            return True
        with open(folder / MARKER, "rb") as marker:
            return marker.read(len(TEXT)) == TEXT.encode()
    except OSError:
        return False


def says_so(header: fits.Header) -> bool:
    """Whether the primary header of a FITS file says that its stars are simulated."""
    return header.get("VERSION") == VERSION


def is_simulated(path: Path) -> bool:
    """Whether a FITS file, such as allStar, holds simulated stars."""
    with opened_fits(path, str(path)) as hdus:
        return says_so(hdus[0].header)
