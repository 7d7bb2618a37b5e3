"""``SHA256SUMS``: written last into a folder of many files, it lists what the folder must hold.

A Zarr store from which a chunk file is lost opens and reads as fill values, and its metadata have
no checksum. The list has the SHA-256 of every file, in the format of ``sha256sum``, so that
``sha256sum --check SHA256SUMS``, run inside the folder, verifies it; a folder without one is not
complete. Folders of older versions have ``MANIFEST.json`` with the same hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from spectrafm.errors import SpectraFMError
from spectrafm.files import sha256_of_file, write_text

CHECKSUMS = "SHA256SUMS"
#: The list of older versions.
MANIFEST = "MANIFEST.json"

_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")


def write_checksums(folder: Path, names: Iterable[str] | None = None) -> None:
    """List the SHA-256 of the files of a folder; none of them may be written afterwards.

    Parameters
    ----------
    folder : Path
    names : iterable of str, optional
        Paths relative to the folder. Default: every file of it and of the folders in it.
    """
    listed = sorted(names_in(folder) if names is None else names)
    hashes = {name: sha256_of_file(folder / name) for name in listed}
    write_text(folder / CHECKSUMS, checksum_list(hashes))


def checksum_list(hashes: dict[str, str]) -> str:
    """The text of a list, as ``sha256sum`` writes it."""
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def read_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files that a folder must hold.

    Raises
    ------
    SpectraFMError
        When there is no list, or it is not one.
    """
    path = folder / CHECKSUMS
    if not path.is_file() and (folder / MANIFEST).is_file():
        return _hashes_of_manifest(folder / MANIFEST)
    try:
        text = path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        raise SpectraFMError(f"{folder}: no {CHECKSUMS}, so not complete") from None
    except UnicodeDecodeError as error:
        raise SpectraFMError(f"{path}: damaged ({error})") from None
    hashes = {name: digest for digest, name in _LINE.findall(text)}
    if checksum_list(hashes) != text:
        raise SpectraFMError(f"{path}: damaged: not a list of SHA-256 as sha256sum writes it")
    return hashes


def _hashes_of_manifest(path: Path) -> dict[str, str]:
    """The same of a folder of an older version; its manifest ends with its own SHA-256."""
    try:
        text = path.read_bytes().decode()
        content = json.loads(text)
        own = content.pop("sha256")
        whole = hashlib.sha256(json.dumps(content).encode()).hexdigest() == own
        hashes = {name: file["sha256"] for name, file in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpectraFMError(f"{path}: damaged ({error})") from None
    if not whole:
        raise SpectraFMError(f"{path}: damaged (its own SHA-256 differs)")
    return hashes


def names_in(folder: Path) -> list[str]:
    """Files of a folder and of those in it, as the list calls them.

    Hidden files are left out: Snakemake puts its time stamp into the folders it keeps track of.
    """
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths if path.name[0] != ".")
    return sorted(name for name in names if name not in (CHECKSUMS, MANIFEST))


def check_presence(folder: Path) -> None:
    """Check that every listed file is there and no other is, and every bit of the metadata.

    That takes milliseconds, hence whenever a store is opened; the chunks have checksums of their
    own, which are verified as they are read.

    Raises
    ------
    SpectraFMError
        Naming the first file that is missing, damaged or not listed.
    """
    listed = read_checksums(folder)
    for name, digest in listed.items():
        if fault := _fault_of(folder, name, digest if name.endswith("zarr.json") else None):
            raise SpectraFMError(fault)
    for fault in _unlisted(folder, listed):
        raise SpectraFMError(fault)


def faults_in(folder: Path) -> Iterator[str]:
    """Name every file that is missing, damaged or not listed, after reading them all."""
    listed = read_checksums(folder)
    for name, digest in listed.items():
        if fault := _fault_of(folder, name, digest):
            yield fault
    yield from _unlisted(folder, listed)


def _unlisted(folder: Path, listed: dict[str, str]) -> Iterator[str]:
    own = CHECKSUMS if (folder / CHECKSUMS).is_file() else MANIFEST
    for name in names_in(folder):
        if name not in listed:
            yield f"{folder / name}: not listed in {own}"


def _fault_of(folder: Path, name: str, digest: str | None) -> str | None:
    """What is wrong with one file, if anything; without a digest only its presence is checked."""
    array, _, within = name.partition("/")
    owner = f"{folder}: array {array!r}" if within else f"{folder}:"
    path = folder / name
    if not path.is_file():
        return f"{owner} lacks its file {name}"
    if digest is not None and sha256_of_file(path) != digest:
        return f"{owner} is damaged (the SHA-256 of {name} differs)"
    return None


def hash_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its list of checksums."""
    return sha256_of_file(_hashed(path))


def hashes_beside(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """`hash_of` files and folders, by their paths relative to a folder."""
    return {Path(os.path.relpath(path, folder)).as_posix(): hash_of(path) for path in paths}


def faults_beside(folder: Path, hashes: dict[str, str]) -> Iterator[str]:
    """Name every file that is not what `hashes_beside` saw."""
    for name, digest in hashes.items():
        path = Path(os.path.normpath(folder / name))
        if not _hashed(path).is_file():
            yield f"{path}: missing, though {folder} was made with it"
        elif hash_of(path) != digest:
            yield f"{path}: not the one that {folder} was made with (SHA-256 differs)"


def _hashed(path: Path) -> Path:
    """The file whose SHA-256 stands for a file or folder."""
    if not path.is_dir():
        return path
    listed = path / CHECKSUMS
    return path / MANIFEST if not listed.is_file() and (path / MANIFEST).is_file() else listed
