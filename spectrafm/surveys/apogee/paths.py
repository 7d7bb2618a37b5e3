"""Paths of files on the SDSS Science Archive Server (SAS).

All paths are relative to the release folder's parent, as in
``https://data.sdss.org/sas/`` + ``dr17/apogee/spectro/aspcap/...``.
"""

from __future__ import annotations

import re

from spectrafm.errors import SpectraFMError

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
    """Folder of one ASPCAP reduction, such as ``dr17/apogee/spectro/aspcap/dr17/synspec_rev1``.

    The reduction of the spectra has the name of the release, as in DR17, unless ``aspcap`` names it
    before a slash, as ``r12/l33`` does for DR16.
    """
    return f"{release}/apogee/spectro/aspcap/{'/'.join(_reductions(release, aspcap))}"


def _reductions(release: str, aspcap: str) -> tuple[str, str]:
    """Names of the reduction of the spectra and of ASPCAP's."""
    of_spectra, _, of_aspcap = aspcap.rpartition("/")
    return of_spectra or release, of_aspcap


def allstar_path(release: str, aspcap: str, catalogue: str = "allStar") -> str:
    """Path of the allStar catalogue, or of allStarLite: the same rows without the large arrays."""
    name = "-".join([catalogue, *_reductions(release, aspcap)])
    return f"{aspcap_folder(release, aspcap)}/{name}.fits"


def landmarks(release: str, aspcap: str) -> tuple[str, ...]:
    """Paths of files of which every archive of a reduction has one: its catalogues."""
    return tuple(allstar_path(release, aspcap, name) for name in ("allStar", "allStarLite"))


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
    star = safe_component(apogee_id, "APOGEE_ID")
    return f"{folder}/aspcapStar-{_reductions(release, aspcap)[0]}-{star}.fits"


def sha1sum_path(release: str, aspcap: str, telescope: str, field: str) -> str:
    """Path of the checksum list in the folder of one field's aspcapStar files."""
    return sha1sum_of(field_folder(release, aspcap, telescope, field))


def sha1sum_of(folder: str) -> str:
    """Path of the checksum list in a folder that `field_folder` names.

    Revision 1 of DR17 changed only the LCO spectra, so that the lists of the other two telescopes
    keep the name of the first reduction.
    """
    try:
        *_, reduction, aspcap, telescope, field = folder.split("/")
    except ValueError:
        raise SpectraFMError(f"{folder!r} is not a folder of aspcapStar files") from None
    listed = aspcap if telescope == "lco25m" else aspcap.removesuffix("_rev1")
    return f"{folder}/{reduction}_{listed}_{telescope}_{field}.sha1sum"


def astronn_path(release: str) -> str:
    """Path of the astroNN value-added catalogue."""
    return f"{release}/apogee/vac/apogee-astronn/apogee_astroNN-{release.upper()}.fits"
