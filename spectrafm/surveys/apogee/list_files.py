"""Listing a run's files for rsync, which can fetch them as a mirror on a local disk.

``rsync -avL --files-from=files.txt rsync://dtn.sdss.org/dr17 SAS/dr17`` fetches the files that
`list_files` listed. With ``survey.source: file:///.../SAS`` a run reads this mirror in place, and
verifies it with the same checksum lists as files from a server.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from spectrafm import files
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Catalogue
from spectrafm.surveys.apogee.selected import read_selected

logger = logging.getLogger(__name__)


def list_files(*, selected: Path, alternates: Path, output: Path, catalogue: Catalogue) -> None:
    """List the files that a run may read, for rsync.

    Parameters
    ----------
    selected : pathlib.Path
        Table of the selected stars, written by `select_stars`; its metadata hold the release and
        the reduction.
    alternates : pathlib.Path
        Table of the other rows of the same stars, which replace a missing or damaged best file.
    output : pathlib.Path
        Text file to write, one path per line, relative to the release's folder: the two
        catalogues, then field by field the checksum list and the spectra. The first lines, which
        rsync ignores, explain how to use the file.
    catalogue : Catalogue
        Whether allStar or allStarLite is listed.

    Raises
    ------
    SpectraFMError
        When a table cannot be read.

    Examples
    --------
    $ spectrafm list-files --selected=selected.parquet --alternates=alternates.parquet
      --output=files.txt
    """
    best, of, _ = read_selected(selected)
    rows = pd.concat([best, read_selected(alternates)[0]])
    release = of.release
    listed = [
        paths.allstar_path(release, of.aspcap, catalogue.catalogue),
        paths.astronn_path(release),
    ]
    for (telescope, field), stars in rows.groupby(["telescope", "field"]):
        listed.append(paths.sha1sum_path(release, of.aspcap, telescope, field))
        listed += sorted(set(stars["path"]))
    lines = [
        f"# rsync -avL --files-from={output.name} rsync://dtn.sdss.org/{release} SAS/{release}",
        "# A few may be absent (rsync then ends with code 23). Then survey.source: file:///.../SAS",
        *(path.removeprefix(f"{release}/") for path in listed),
    ]
    files.write_text(output, "\n".join(lines) + "\n")
    logger.info("listed %d files of %d rows in %s", len(listed), len(rows), output)
