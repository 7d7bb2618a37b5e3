"""What fetching gives for a survey's files, as tests compare it."""

from __future__ import annotations

import hashlib

from spectrafm.archive.source import fetch
from spectrafm.surveys.apogee.options import Survey


def contents_of(paths, sha1s, survey: Survey) -> dict:
    """What `fetch` gives for each path: bytes or a failure."""
    files = list(fetch(paths, sha1s, survey, survey))
    for file in files:
        if isinstance(file.content, bytes):
            assert file.sha1 == hashlib.sha1(file.content).hexdigest()
    return {file.path: file.content for file in files}


def twice(survey: Survey) -> tuple[Survey, Survey]:
    """A survey's options as those of an archive and as limits."""
    return survey, survey
