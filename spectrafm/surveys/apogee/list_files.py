"""Lists of files for rsync, the third way to have the survey: as a mirror on one's own disk.

``rsync -avL --files-from=files.txt rsync://dtn.sdss.org/dr17 SAS/dr17`` brings what
`list_files` wrote; then ``survey.source: file:///.../SAS`` reads it in place, and holds it
against the same checksum lists as files from a server.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from spectrafm import files
from spectrafm.surveys.apogee import paths
from spectrafm.surveys.apogee.options import Catalogue, Release, joined


def list_files(
    *, selected: Path, alternates: Path, output: Path, release: Release, catalogue: Catalogue
) -> None:
    """Write the paths of all files that a run may read, relative to the release's folder.

    Parameters
    ----------
    selected, alternates : pathlib.Path
        What ``select_stars`` wrote. The alternates stand in for stars
        whose best file turns out missing or broken.
    output : pathlib.Path
        Text, one path a line: the two catalogues, then field by field the checksum list and the
        spectra. The first lines, which rsync ignores, say how to use it.

    Raises
    ------
    SpectraFMError
        When a table cannot be read.
    """
    rows = pd.concat([files.read_parquet(selected), files.read_parquet(alternates)])
    survey = joined(release, catalogue)
    release = survey.release
    listed = [
        paths.allstar_path(release, survey.aspcap, survey.catalogue),
        paths.astronn_path(release),
    ]
    for (telescope, field), stars in rows.groupby(["telescope", "field"]):
        listed.append(paths.sha1sum_path(release, survey.aspcap, telescope, field))
        listed += sorted(set(stars["path"]))
    lines = [
        f"# rsync -avL --files-from={output.name} rsync://dtn.sdss.org/{release} SAS/{release}",
        "# A few may be absent (rsync then ends with code 23). Then survey.source: file:///.../SAS",
        *(path.removeprefix(f"{release}/") for path in listed),
    ]
    files.write_text(output, "\n".join(lines) + "\n")
