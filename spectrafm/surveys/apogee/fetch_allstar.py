"""Fetching the allStar catalogue."""

from __future__ import annotations

from pathlib import Path

from spectrafm.archive.fits import opened_catalogue
from spectrafm.archive.options import Archive, CatalogueLimits
from spectrafm.archive.source import download, local_root
from spectrafm.errors import SpectraFMError
from spectrafm.files import atomic_path, naming_a_full_disk
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Catalogue, Release, joined


def fetch_allstar(
    *,
    output: Path,
    archive: Archive,
    limits: CatalogueLimits,
    release: Release,
    catalogue: Catalogue,
) -> None:
    """Bring the allStar catalogue to ``output``.

    Where its SHA-1 is given, a download that was killed continues where it was.

    Parameters
    ----------
    output : pathlib.Path
        FITS file to write, ``catalogue/allStar.fits``.

    Raises
    ------
    SpectraFMError
        When the source has no such file, its SHA-1 is another, or it is not a whole FITS table.
    """
    survey = joined(archive, limits, release, catalogue)
    path = paths.allstar_path(survey.release, survey.aspcap, survey.catalogue)
    name = f"{survey.source}/{path}"
    part = output.with_name(f".{output.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    whole = False
    try:
        with naming_a_full_disk(output, part):
            failure = download(path, part, survey, survey.allstar_sha1)
        if failure is not None:
            raise SpectraFMError(f"{name}: {failure.reason}")
        with opened_catalogue(part, name):
            whole = True
        with atomic_path(output) as temporary:
            part.rename(temporary)
    finally:
        # Without a published SHA-1 nothing could tell whether two parts belong together.
        if whole or survey.allstar_sha1 is None or local_root(survey.source) is not None:
            part.unlink(missing_ok=True)
