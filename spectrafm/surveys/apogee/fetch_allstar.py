"""Fetching the allStar catalogue."""

from __future__ import annotations

import logging
from pathlib import Path

from spectrafm.archive.fits import opened_catalogue
from spectrafm.archive.options import Archive, CatalogueLimits
from spectrafm.archive.outage import require_answer
from spectrafm.archive.paths import local_root
from spectrafm.archive.source import download
from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, naming_a_full_disk, no_folder
from spectrafm.outputs import claims
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Catalogue, Release

logger = logging.getLogger(__name__)


@claims(output=no_folder)
def fetch_allstar(
    *,
    output: Path,
    archive: Archive,
    limits: CatalogueLimits,
    release: Release,
    catalogue: Catalogue,
) -> None:
    """Fetch the allStar catalogue.

    If the published SHA-1 is given, an interrupted download resumes from what it had received.

    Parameters
    ----------
    output : pathlib.Path
        FITS file to write.
    archive : Archive
        Source of the catalogue.
    limits : CatalogueLimits
        Deadline and largest size.
    release : Release
        Names of the data release and of the ASPCAP reduction.
    catalogue : Catalogue
        allStar or allStarLite, and its published SHA-1.

    Raises
    ------
    Unfinished
        When the source does not answer; the next run may succeed.
    SpectraFMError
        When the source has no such file, or the file has another SHA-1 or is not a whole FITS
        table.

    Examples
    --------
    $ spectrafm fetch-allstar --output=allStar.fits --catalogue=allStarLite
    """
    path = paths.allstar_path(release.release, release.aspcap, catalogue.catalogue)
    name = f"{archive.source}/{path}"
    part = output.with_name(f".{output.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    whole = False
    try:
        with naming_a_full_disk(output, part):
            failure = download(path, part, archive, limits, catalogue.allstar_sha1)
        require_answer(failure, name)
        if failure is not None:
            raise SpectraFMError(f"{name}: {failure.reason}")
        with opened_catalogue(part, name) as table:
            whole = True
            rows = len(table)
        with atomic_path(output) as temporary:
            part.rename(temporary)
    finally:
        # Without a published SHA-1, a resumed file could mix two versions unnoticed.
        if whole or catalogue.allstar_sha1 is None or local_root(archive.source) is not None:
            part.unlink(missing_ok=True)
    published = "its SHA-1 is the published one" if catalogue.allstar_sha1 else "no SHA-1 given"
    size = output.stat().st_size / 1e6
    logger.info("%s: %d rows, %.1f MB from %s, %s", output, rows, size, name, published)
