"""``MANIFEST.json``: written last into a folder of many files, it says what the folder must hold.

A Zarr store from which a chunk file is lost opens and reads as fill values, and its metadata have
no checksum. The manifest has the size and SHA-256 of every file, and those of the files that the
folder was made from; a folder without one is not complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spectrafm.errors import SpectraFMError
from spectrafm.files import sha256_of_file

MANIFEST = "MANIFEST.json"
SCHEMA = 1


def write_manifest(folder: Path, **facts: Any) -> None:
    """Say what a folder holds; nothing of it may be written afterwards.

    Parameters
    ----------
    folder : Path
    **facts
        Counts, provenance, what it was made from (see `hashes_beside`).
    """
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": sha256_of_file(folder / name)}
        for name in names_in(folder)
    }
    (folder / MANIFEST).write_text(_rendered({"schema": SCHEMA, **facts, "files": files}))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises
    ------
    SpectraFMError
        When there is none, or a single bit of it is not as it was written.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes().decode()
        content = json.loads(text)
        content.pop("sha256")
    except (FileNotFoundError, NotADirectoryError):
        raise SpectraFMError(f"{folder}: no {MANIFEST}, so not complete") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpectraFMError(f"{path}: damaged ({error})") from None
    if text != _rendered(content):
        raise SpectraFMError(f"{path}: damaged (its own SHA-256 differs)")
    if content["schema"] != SCHEMA:
        raise SpectraFMError(f"{path}: of schema {content['schema']}, known is {SCHEMA}")
    return content


def _rendered(content: dict[str, Any]) -> str:
    """The text of a manifest, which ends with the SHA-256 of all that is before it."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}, indent=1) + "\n"


def names_in(folder: Path) -> list[str]:
    """Files of a folder and of those in it, as the manifest calls them.

    Hidden files are left out: Snakemake puts its time stamp into the folders it keeps track of.
    """
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths if path.name[0] != ".")
    return sorted(name for name in names if name != MANIFEST)


def check_presence(folder: Path, manifest: dict[str, Any]) -> None:
    """Check that every file is there with its size, and every bit of the metadata.

    That takes milliseconds, hence whenever a store is opened; the chunks have checksums of their
    own, which are verified as they are read.

    Raises
    ------
    SpectraFMError
        Naming the first file that is missing or damaged.
    """
    for name, known in manifest["files"].items():
        if fault := _fault_of(folder, name, known, hashed=name.endswith("zarr.json")):
            raise SpectraFMError(fault)


def faults_in(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Name every file that is missing, damaged or not of this folder, after reading them all."""
    for name, known in manifest["files"].items():
        if fault := _fault_of(folder, name, known, hashed=True):
            yield fault
    for name in names_in(folder):
        if name not in manifest["files"]:
            yield f"{folder / name}: not listed in {MANIFEST}"


def _fault_of(folder: Path, name: str, known: dict[str, Any], hashed: bool) -> str | None:
    """What is wrong with one file, if anything."""
    array, _, within = name.partition("/")
    owner = f"{folder}: array {array!r}" if within else f"{folder}:"
    path = folder / name
    if not path.is_file():
        return f"{owner} lacks its file {name}"
    size = path.stat().st_size
    if size != known["size"]:
        return f"{owner} is damaged ({name} has {size} bytes, {known['size']} were written)"
    if hashed and sha256_of_file(path) != known["sha256"]:
        return f"{owner} is damaged (the SHA-256 of {name} differs)"
    return None


def hashes_beside(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files outside a folder, by their paths relative to it.

    For a folder with a manifest, it is the manifest's.
    """
    return {
        Path(os.path.relpath(path, folder)).as_posix(): sha256_of_file(_hashed(path))
        for path in paths
    }


def faults_beside(folder: Path, hashes: dict[str, str]) -> Iterator[str]:
    """Name every file that is not what `hashes_beside` saw."""
    for name, digest in hashes.items():
        path = Path(os.path.normpath(folder / name))
        if not _hashed(path).is_file():
            yield f"{path}: missing, though {folder} was made with it"
        elif sha256_of_file(_hashed(path)) != digest:
            yield f"{path}: not the one that {folder} was made with (SHA-256 differs)"


def _hashed(path: Path) -> Path:
    return path / MANIFEST if path.is_dir() else path
