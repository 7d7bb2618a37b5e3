"""``SHA256SUMS`` of a run: every file that no folder's own list covers, and those lists."""

from __future__ import annotations

from pathlib import Path

from spectrafm.files import sha256_of_file, write_text
from spectrafm.integrity import CHECKSUMS, MANIFEST, checksum_list, read_checksums

#: Files of a run outside the folders with a list of their own. Run times (``benchmarks/``) are not
#: among them, since a repeated job takes another time though its result has the same bytes.
FILES = (
    "catalogue/*",
    "spectra/*.parquet",
    "predictions/*.parquet",
    "metrics.json",
    "tables/*",
    "figures/*",
    "report.html",
)

#: Folders with a checksum list of their own; the run's list covers only that list.
FOLDERS = ("store.zarr", "spectra/*.zarr", "models/*", "attention/*.zarr")


def write_run_checksums(run: Path) -> int:
    """Write ``SHA256SUMS`` of a run, for ``sha256sum -c`` in the run's folder.

    Returns
    -------
    int
        Number of files listed.
    """
    paths = [path for pattern in FILES for path in run.glob(pattern) if path.is_file()]
    for pattern in FOLDERS:
        for folder in run.glob(pattern):
            # Folders of version 0.1 have a manifest instead.
            lists = [folder / CHECKSUMS, folder / MANIFEST]
            paths += [path for path in lists if path.is_file()][:1]
    names = sorted(path.relative_to(run).as_posix() for path in paths if path.name[0] != ".")
    hashes = {name: sha256_of_file(run / name) for name in names}
    write_text(run / CHECKSUMS, checksum_list(hashes))
    return len(names)


def faults_of_run(sums: Path) -> tuple[int, list[str]]:
    """Find the files of a run that are missing or differ from its ``SHA256SUMS``.

    Parameters
    ----------
    sums : pathlib.Path
        ``results/<run>/SHA256SUMS``.

    Returns
    -------
    count : int
        Number of files listed.
    faults : list of str
        One line a missing or differing file.
    """
    run, faults, listed = sums.parent, [], read_checksums(sums.parent)
    for name, digest in listed.items():
        path = run / name
        if not path.is_file():
            faults.append(f"{path}: listed in {CHECKSUMS} but missing")
        elif sha256_of_file(path) != digest:
            faults.append(f"{path}: changed since the report was made (SHA-256 differs)")
    return len(listed), faults
