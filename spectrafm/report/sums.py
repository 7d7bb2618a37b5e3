"""``SHA256SUMS`` of a run: what its page shows, and what no folder's own list covers."""

from __future__ import annotations

from pathlib import Path

from spectrafm.files import sha256_of_file, write_text
from spectrafm.integrity import CHECKSUMS, MANIFEST, checksum_list, read_checksums

#: Files of a run that stand in no folder with a list of its own. Run times (``benchmarks/``) are
#: left out: making a figure again, byte for byte the same, takes another time.
FILES = (
    "catalogue/*",
    "spectra/*.parquet",
    "predictions/*.parquet",
    "metrics.json",
    "tables/*",
    "figures/*",
    "report.html",
)

#: Folders that have a list of their own, of which only that list is listed here.
FOLDERS = ("store.zarr", "spectra/*.zarr", "models/*", "attention/*.zarr")


def write_run_checksums(run: Path) -> int:
    """Write ``SHA256SUMS`` of a run, for ``sha256sum -c`` in the run's folder.

    Returns
    -------
    int
        How many files it lists.
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
    """What in a run is not as its list says.

    Parameters
    ----------
    sums : pathlib.Path
        ``results/<run>/SHA256SUMS``.

    Returns
    -------
    count : int
        How many files it lists.
    faults : list of str
    """
    run, faults, listed = sums.parent, [], read_checksums(sums.parent)
    for name, digest in listed.items():
        path = run / name
        if not path.is_file():
            faults.append(f"{path}: listed in {CHECKSUMS} but missing")
        elif sha256_of_file(path) != digest:
            faults.append(f"{path}: not the one that the report was made with (SHA-256 differs)")
    return len(listed), faults
