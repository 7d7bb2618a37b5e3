"""SHA-256 of files: ``SHA256SUMS`` in a folder of many files, as ``sha256sum -c`` reads it.

A Zarr store from which a chunk file is lost opens and reads as fill values, so a folder without its
list, or without a file that the list names, is not complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spectrafm import files
from spectrafm.errors import SpectraFMError
from spectrafm.manifest import MANIFEST, read_manifest

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """List the SHA-256 of every file of a folder; nothing of it may be written afterwards."""
    sums = {name: files.sha256_of_file(folder / name) for name in _names_in(folder)}
    files.write_text(folder / CHECKSUMS, as_text(sums))


def as_text(sums: dict[str, str]) -> str:
    """The lines of a list of checksums, from file names and their SHA-256."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def read_checksums(path: Path) -> dict[str, str]:
    """SHA-256 by file name, from a list of checksums.

    Raises
    ------
    SpectraFMError
        When the list is missing or a line of it is damaged.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise SpectraFMError(f"{path.parent}: no {path.name}, so not complete") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpectraFMError(f"{path}: damaged ({error})") from None
    sums = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            raise SpectraFMError(f"{path}: damaged (a line is no checksum and name)")
        sums[name] = digest
    return sums


def check_presence(folder: Path) -> None:
    """Check that every listed file is there, and the SHA-256 of the small metadata files.

    Raises
    ------
    SpectraFMError
        Naming the first file that is missing or damaged.
    """
    for name, digest in _sums_of(folder).items():
        if not (folder / name).is_file():
            raise SpectraFMError(f"{folder}: lacks its file {name}")
        if name.endswith("zarr.json") and files.sha256_of_file(folder / name) != digest:
            raise SpectraFMError(f"{folder}: is damaged (the SHA-256 of {name} differs)")


def faults_in(folder: Path) -> Iterator[str]:
    """Name every file of a folder that is missing, damaged or not listed, after reading them all.

    Raises
    ------
    SpectraFMError
        When the folder has no list of checksums.
    """
    sums = _sums_of(folder)
    for name, digest in sums.items():
        if not (folder / name).is_file():
            yield f"{folder}: lacks its file {name}"
        elif files.sha256_of_file(folder / name) != digest:
            yield f"{folder}: is damaged (the SHA-256 of {name} differs)"
    for name in _names_in(folder):
        if name not in sums and name != MANIFEST:
            yield f"{folder / name}: not listed in {CHECKSUMS}"


def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder's list of checksums."""
    if path.is_dir():
        listed = path / CHECKSUMS
        path = listed if listed.exists() else path / MANIFEST
    return files.sha256_of_file(path)


def _sums_of(folder: Path) -> dict[str, str]:
    if not (folder / CHECKSUMS).exists() and (folder / MANIFEST).exists():
        return {name: known["sha256"] for name, known in read_manifest(folder)["files"].items()}
    return read_checksums(folder / CHECKSUMS)


def _names_in(folder: Path) -> list[str]:
    """Files of a folder and of those in it; hidden ones (Snakemake's time stamps) are left out."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(n for n in names if n != CHECKSUMS and not n.rpartition("/")[2].startswith("."))
