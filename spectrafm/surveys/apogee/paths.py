"""Paths of files on the SDSS Science Archive Server (SAS).

All paths are relative to the release folder's parent, as in
``https://data.sdss.org/sas/`` + ``dr17/apogee/spectro/aspcap/...``.
"""

from __future__ import annotations

import re

from spectrafm.errors import SpectraFMError

#: File at the root of a mock survey's tree, which marks its stars as simulated.
MOCK_MARKER = "MOCK_SURVEY"

#: Catalogue values that are safe as part of a path: no slash, no leading dot or dash.
_SAFE = re.compile(r"[A-Za-z0-9+_][A-Za-z0-9+\-_.]{0,63}")


def safe_component(value: str, column: str) -> str:
    """Return ``value`` if it is safe as one component of a path.

    Raises
    ------
    SpectraFMError
        When it holds anything but letters, digits and ``+ - _ .``, holds ``..``, starts with
        ``.`` or ``-``, or is longer than 64 characters.
    """
    if not _SAFE.fullmatch(value) or ".." in value:
        raise SpectraFMError(f"{column} {value!r} cannot be part of a path")
    return value


def aspcap_folder(release: str, aspcap: str) -> str:
    """Folder of one ASPCAP reduction, such as ``dr17/apogee/spectro/aspcap/dr17/synspec_rev1``."""
    return f"{release}/apogee/spectro/aspcap/{release}/{aspcap}"


def allstar_path(release: str, aspcap: str, catalogue: str = "allStar") -> str:
    """Path of the allStar catalogue, or of allStarLite: the same rows without the large arrays."""
    return f"{aspcap_folder(release, aspcap)}/{catalogue}-{release}-{aspcap}.fits"


def field_folder(release: str, aspcap: str, telescope: str, field: str) -> str:
    """Folder that holds the aspcapStar files of one telescope and field."""
    telescope = safe_component(telescope, "TELESCOPE")
    field = safe_component(field, "FIELD")
    return f"{aspcap_folder(release, aspcap)}/{telescope}/{field}"


def aspcapstar_path(release: str, aspcap: str, telescope: str, field: str, apogee_id: str) -> str:
    """Path of one star's aspcapStar file.

    The name is built from TELESCOPE, FIELD and APOGEE_ID: allStar's FILE column names the
    apStar file instead.
    """
    folder = field_folder(release, aspcap, telescope, field)
    return f"{folder}/aspcapStar-{release}-{safe_component(apogee_id, 'APOGEE_ID')}.fits"


def sha1sum_path(release: str, aspcap: str, telescope: str, field: str) -> str:
    """Path of the checksum list in the folder of one field's aspcapStar files.

    Revision 1 of DR17 changed only the LCO spectra, so that the lists of the other two telescopes
    keep the name of the first reduction.
    """
    folder = field_folder(release, aspcap, telescope, field)
    listed = aspcap if telescope == "lco25m" else aspcap.removesuffix("_rev1")
    return f"{folder}/{release}_{listed}_{telescope}_{field}.sha1sum"


def astronn_path(release: str) -> str:
    """Path of the astroNN value-added catalogue."""
    return f"{release}/apogee/vac/apogee-astronn/apogee_astroNN-{release.upper()}.fits"
